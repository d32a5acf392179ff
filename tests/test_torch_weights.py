"""Weights of a torch layer that are not its own parameters: reparametrized, tied, buffers, plain tensors, replicas."""

from __future__ import annotations

from typing import Any

import pytest

import unilstm
from conftest import close, has_compiler, numbers, require

require("torch")
import torch  # noqa: E402
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm  # noqa: E402

import unilstm.compat.torch  # noqa: E402

NAME = "weight_hh_l0"


def tensor(*shape: int, stream: int = 0) -> torch.Tensor:
    return torch.tensor(numbers(*shape, stream=stream, dtype="float32"))


def as_buffer(module: Any) -> Any:
    value = getattr(module, NAME).detach()
    delattr(module, NAME)
    module.register_buffer(NAME, value)


def as_tensors(module: Any) -> Any:
    """As MAML does, whose inner steps make weights that are functions of the outer ones."""
    for name, value in list(module.named_parameters()):
        delattr(module, name)
        setattr(module, name, value * 1.0)


def replica(module: Any) -> Any:
    """As torch.nn.DataParallel makes them, from copies that are no leaves."""
    made = module._replicate_for_data_parallel()
    for name, value in module.named_parameters():
        setattr(made, name, value * 1.0)
    return made


KINDS: dict[str, Any] = {
    "weight_norm": lambda module: parametrizations.weight_norm(module, NAME),
    "spectral_norm": lambda module: parametrizations.spectral_norm(module, NAME),
    "old spectral_norm": lambda module: spectral_norm(module, NAME),
    "prune": lambda module: prune.l1_unstructured(module, NAME, 0.3),
    "buffer": as_buffer,
    "tensors": as_tensors,
    "replica": replica,
}


def made(kind: str, drop_in: bool = False) -> Any:
    one = unilstm.compat.torch.LSTM(4, 6, seed=1) if drop_in else unilstm.LSTM(4, 6, backend="torch", seed=1)
    return (KINDS[kind](one) or one).eval()


@pytest.mark.parametrize("drop_in", [False, True], ids=["layer", "drop-in"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_layer_computes_with_the_weights_it_has(kind: str, drop_in: bool) -> None:
    one = made(kind, drop_in)
    x = tensor(3, 5, 4)
    y = one(x)[0]
    plain = unilstm.port(one, "torch")
    assert len(plain.weights()) == 4
    with torch.no_grad():
        close(y.detach(), plain(x)[0], 1e-6)
        _, state = plain.step(x[:, 0])
        want = plain.step(x[:, 1], state)[0]
        close(one.step(x[:, 1], state)[0], want, 1e-6)
        close(one.stream(one.step(x[:, 0])[1])(x[:, 1]), want, 1e-6)
    y.sum().backward()
    gradients = [p.grad for p in one.parameters() if p.grad is not None]
    assert gradients or kind in ("tensors", "replica")  # whose leaves are elsewhere


def test_the_first_weight_may_be_parametrized_and_the_old_weight_norm_is_served() -> None:
    one, x = unilstm.LSTM(4, 6, backend="torch", seed=1), tensor(3, 5, 4)
    want = one(x)[0].detach()
    parametrizations.weight_norm(one, "weight_ih_l0")
    close(one(x)[0].detach(), want, 1e-6)
    assert "parametrizations.weight_ih_l0.original0" in one.state_dict()
    with pytest.warns(FutureWarning, match="deprecated"):
        weight_norm(one, NAME)
    close(one(x)[0].detach(), want, 1e-6)


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "buffer", "tensors"])
def test_a_stream_notices_a_change_of_what_the_weight_is_made_of(kind: str) -> None:
    one = made(kind)
    stream, x = one.stream(batch_size=3), tensor(3, 4)
    stream(x)
    stream(x)
    with torch.no_grad():
        held = {"weight_norm": "parametrizations.weight_hh_l0.original0",
                "spectral_norm": "parametrizations.weight_hh_l0.original"}  # fmt: skip
        of = one.get_parameter(held[kind]) if kind in held else getattr(one, NAME)
        of.mul_(2.0)
    with pytest.raises(unilstm.InputError, match="weights have changed"):
        stream(x)


def test_a_layer_that_was_made_in_inference_mode_streams() -> None:
    with torch.inference_mode():
        one = unilstm.LSTM(4, 6, backend="torch", seed=1)
    stream, x = one.stream(batch_size=3), tensor(3, 4)
    with torch.no_grad():
        close(stream(x), one.step(x)[0], 1e-6)
    setattr(one, NAME, torch.nn.Parameter(torch.zeros(24, 6)))
    with pytest.raises(unilstm.InputError, match="weights have changed"):
        stream(x)


def test_a_parametrized_layer_compiles_as_one_graph() -> None:
    one, x = made("weight_norm"), tensor(3, 5, 4)
    compiled = torch.compile(one, backend="inductor" if has_compiler() else "aot_eager", fullgraph=True)
    close(compiled(x)[0].detach(), one(x)[0].detach(), 1e-6)


def test_tied_weights_are_saved_under_both_names() -> None:
    one = unilstm.LSTM(4, 4, num_layers=2, backend="torch", seed=1)
    one.weight_hh_l1 = one.weight_hh_l0
    found = one.weights()
    assert (found["weight_hh_l1"] == found["weight_hh_l0"]).all()
    x = tensor(3, 5, 4)
    close(unilstm.port(one, "numpy")(x.numpy())[0], one(x)[0].detach(), 1e-6)


def test_a_subclass_may_have_parameters_of_its_own() -> None:
    base: Any = type(unilstm.LSTM(4, 6, backend="torch"))

    class Scaled(base):
        def __init__(self, weights: Any) -> None:
            super().__init__(weights)
            self.scale = torch.nn.Parameter(torch.ones(6))

    one = Scaled(unilstm.LSTM(4, 6, backend="torch", seed=1).weights())
    assert "scale" not in one.weights()
    stream = one.stream()
    stream(tensor(4))
    with torch.no_grad():
        one.scale.mul_(2.0)
    stream(tensor(4))  # it is none of the LSTM's weights
