"""The kernel is given addresses: what lies there must be what the framework says of it, or the kernel is not asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import close, require, require_kernel
from unilstm import InputError, LSTMSpec, Weights

SPEC = LSTMSpec(4, 6, num_layers=2)
X = np.random.default_rng(0).standard_normal((3, 5, 4)).astype("float32")


def layer(path: str = "kernel", backend: str = "numpy", spec: LSTMSpec = SPEC, **fields: Any) -> Any:
    return unilstm.LSTM(spec, backend=backend, path=path, seed=0, **fields)


def field_of_records() -> Any:
    """Rows whose distance is no multiple of a number's size."""
    records = np.zeros((3, 5), [("flag", "u1"), ("x", "f4", (4,))])
    records["x"] = X
    return records["x"]


def unaligned() -> Any:
    found = np.frombuffer(bytearray(b"." + X.tobytes()), "u1")[1:].view("f4").reshape(X.shape)
    assert not found.flags.aligned
    return found


LAID: dict[str, Callable[[], Any]] = {
    "records": field_of_records,
    "unaligned": unaligned,
    "backwards": lambda: X[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
    "one for all": lambda: np.broadcast_to(X[:1, :1], X.shape),
}


@pytest.mark.parametrize("how", LAID)
def test_numpys_x_and_gradients_may_lie_in_any_way(how: str) -> None:
    require_kernel()
    one, x = layer(), LAID[how]()
    d_y = np.pad(x, ((0, 0), (0, 0), (0, 2)))
    (y, _), pull = one.vjp(x)
    (want, _), pull_dense = one.vjp(np.array(x, order="C"))
    assert y.tobytes() == want.tobytes()
    close(pull(d_y)["x"], pull_dense(np.array(d_y))["x"], 0)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_a_half_is_not_for_the_kernel_and_explain_says_so(backend: str) -> None:
    require(backend), require_kernel()
    one, exact = layer("auto", backend, dtype="float16"), layer("composed", dtype="float64")
    assert "(not kernel: the kernel computes in float32 and float64, not in float16" in str(one.explain())
    y, _ = one(require(backend).tensor(X.astype("float16")))
    close(require(backend).array(y), exact(X.astype("float64"))[0], 2e-3)
    with pytest.raises(unilstm.PathError, match="not in float16"):
        layer("kernel", backend, dtype="float16")(require(backend).tensor(X.astype("float16")))


def test_numpy_has_no_derivative_of_a_half() -> None:
    require_kernel()
    with pytest.raises(unilstm.PathError, match="not in float16"):
        layer("auto", dtype="float16").vjp(X.astype("float16"))


def test_weights_of_the_other_byte_order_are_turned() -> None:
    plain = Weights.initial(SPEC, seed=0)
    turned = Weights(SPEC, {name: array.astype(">f4") for name, array in plain.items()})
    assert all(array.dtype.isnative and not array.flags.writeable for array in turned.values())
    assert turned == plain
    with pytest.raises(InputError, match="x is >f4 but the layer is float32"):
        unilstm.LSTM(turned, path="composed")(X.astype(">f4"))


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        ((np.ones((3, 5, 1)),), r"d_y has shape \[3, 5, 1\], but must have \[3, 5, 6\]"),
        ((np.ones((5, 3, 6)),), r"d_y has shape \[5, 3, 6\], but must have \[3, 5, 6\]"),
        ((None, (np.ones((3, 2, 6)), None)), r"d_h_n has shape \[3, 2, 6\], but must have \[2, 3, 6\]"),
        ((None, (None, np.ones((2, 3, 7)))), r"d_c_n has shape \[2, 3, 7\], but must have \[2, 3, 6\]"),
        ((None, None, np.ones((1, 5, 6))), r"d_c has shape \[1, 5, 6\], but must have \[3, 5, 6\]"),
    ],
)
def test_a_gradient_of_another_shape_is_named(gradients: Any, words: str) -> None:
    require_kernel()
    _, pull = layer().vjp(X, return_cell_sequence=True)
    with pytest.raises(InputError, match=words):
        pull(*gradients)


@pytest.mark.parametrize("batched", [True, False])
def test_numpys_gradients_come_in_the_forms_of_the_results(batched: bool) -> None:
    """Also where c has slots, and without a batch."""
    require_kernel()
    spec = LSTMSpec(4, 6, cell="slstm", direction="bidirectional")
    x = X if batched else X[0]
    (y, state, cells), pull = layer(spec=spec).vjp(x, return_cell_sequence=True)
    found = pull(y, state, cells)
    assert found["x"].shape == x.shape
    if not batched:
        (y, state, cells), pull = layer(spec=spec).vjp(x[None], return_cell_sequence=True)
        close(found["x"], pull(y, state, cells)["x"][0], 0)


@pytest.mark.parametrize("backend", ["numpy", "torch", "paddle"])
def test_the_gradients_of_two_biases_are_two_arrays(backend: str) -> None:
    """What a clip or an optimizer does to one in place is not done to the other."""
    require(backend), require_kernel()
    one = layer(backend=backend)
    if backend == "numpy":
        (y, _), pull = one.vjp(X)
        gradients = pull(np.ones_like(y))
    else:
        framework = __import__(backend)
        y, _ = one(require(backend).tensor(X))
        names = ["bias_ih_l0", "bias_hh_l0"]
        grad = framework.autograd.grad if backend == "torch" else framework.grad
        gradients = dict(zip(names, grad(y.sum(), [getattr(one, name) for name in names]), strict=True))
    array = require(backend).array
    before = array(gradients["bias_ih_l0"]).copy()
    gradients["bias_hh_l0"] *= 0
    assert array(gradients["bias_ih_l0"]).tobytes() == before.tobytes()
    assert before.any()


def negated(array: Any) -> Any:
    """The same values in a tensor that is negated by a flag, over memory of the opposite sign."""
    import torch

    found = torch._neg_view(-torch.tensor(array))
    assert found.is_neg()
    return found


def test_torchs_lazy_negation_is_done_first() -> None:
    require("torch"), require_kernel()
    import torch

    one = layer(backend="torch")
    y, state = one(torch.tensor(X))
    got, _ = one(negated(X))
    assert torch.equal(got, y)
    (want,) = torch.autograd.grad(y, one.weight_ih_l0, y.detach())
    (found,) = torch.autograd.grad(got, one.weight_ih_l0, negated(y.detach().numpy()))
    assert torch.equal(found, want)
    with torch.no_grad():
        state = tuple(part.detach() for part in state)
        x = X[:, 0]
        assert torch.equal(one.step(negated(x), state)[0], one.step(torch.tensor(x), state)[0])
        assert torch.equal(one.stream(state)(negated(x)), one.stream(state)(torch.tensor(x)))


def test_a_torch_parameter_elsewhere_is_not_for_the_kernel() -> None:
    require("torch"), require_kernel()
    import torch

    one = layer(backend="torch")
    one.weight_hh_l1 = torch.nn.Parameter(torch.empty((24, 6), device="meta"))
    with pytest.raises(unilstm.PathError, match="x is on cpu, and not all of the parameters"):
        one(torch.tensor(X))


@pytest.mark.parametrize("what", ["x", "y", "weight_hh_l1"])
def test_paddle_finds_that_what_a_gradient_needs_was_written_into(what: str) -> None:
    require("paddle"), require_kernel()
    import paddle

    one, x = layer(backend="paddle"), paddle.to_tensor(X)
    y, _ = one(x)
    with paddle.no_grad():
        {"x": x, "y": y}.get(what, one.weight_hh_l1).scale_(0.5)
    with pytest.raises(
        OSError, match=f"InputError: {what.removesuffix('_l1')} was written into after the call"
    ):  # Paddle's own
        y.sum().backward()
