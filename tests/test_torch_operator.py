"""The kernel as an operator of torch's graphs: exported, compiled or recorded, and what such a graph cannot do."""

from __future__ import annotations

from typing import Any

import pytest

import unilstm
from conftest import close, require, require_kernel

require("torch")
import torch  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

from unilstm_kernels import job  # noqa: E402


@pytest.fixture(autouse=True)
def kernel() -> Any:
    require_kernel()
    from unilstm_torch import kernel

    return kernel


def layer(**fields: Any) -> Any:
    return unilstm.LSTM(4, 6, num_layers=2, backend="torch", path="kernel", seed=0, **fields)


def test_a_graph_exported_without_gradients_says_that_it_has_none() -> None:
    x = torch.randn(2, 5, 4)
    with torch.no_grad():
        exported = torch.export.export(layer(), (x,)).module()
    assert torch.equal(exported(x)[0], layer()(x)[0])
    with pytest.raises(unilstm.PathError, match="exported or compiled without gradients"):
        exported(x)[0].sum().backward()


def test_a_graph_has_no_second_derivatives_and_says_so() -> None:
    x = torch.randn(2, 5, 4, requires_grad=True)
    exported = torch.export.export(layer(), (x,)).module()
    (first,) = torch.autograd.grad(exported(x)[0].square().sum(), x, create_graph=True)
    (want,) = torch.autograd.grad(layer()(x)[0].square().sum(), x)
    close(first.detach(), want, 1e-6)
    with pytest.raises(unilstm.PathError, match="first derivatives only in an exported or compiled graph"):
        first.square().sum().backward()


@pytest.mark.parametrize("gradients", [True, False])
def test_what_make_fx_records_computes_anew(gradients: bool) -> None:
    one, x, other = layer(), torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    with torch.set_grad_enabled(gradients):
        graph = make_fx(lambda x: one(x)[0])(x)
    assert torch.equal(graph(other), one(other)[0])


def test_masks_are_drawn_where_the_layer_is_whatever_device_others_are_made_on() -> None:
    one, x = layer(recurrent_dropout=0.5), torch.randn(2, 5, 4)
    want = one(x, key=5)[0]
    with torch.device("meta"):
        assert torch.equal(one(x, key=5)[0], want)


def test_the_operators_name_follows_from_what_compiled_code_knows_of_it(
    kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a cache of compiled code on the disk would serve a version with other shapes."""
    before = kernel._name()
    assert kernel._name() == before
    monkeypatch.setattr(job, "GRADIENTS", job.GRADIENTS[::-1])
    assert kernel._name() != before
    monkeypatch.undo()
    monkeypatch.setattr(job.Equations, "kept_shapes", job.Equations.made_shapes)
    assert kernel._name() != before
