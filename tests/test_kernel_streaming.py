"""A step of a stream outside of autograd goes straight into the kernel (each backend's streaming.py): the same bits.

On JAX a plain call outside of jit is compiled as a whole (eager.py), a step and a sequence.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import close, require, require_kernel
from unilstm.presets import PRESETS

SIZES, NEEDS = {"input_size": 5, "hidden_size": 8}, {"proj_size": 3, "lanes": 2, "num_blocks": 2}
SPECS = {
    name: unilstm.preset(name, **SIZES, **{need: NEEDS[need] for need in preset.needs})
    for name, preset in PRESETS.items()
}
SPECS |= {
    "stacked": unilstm.LSTMSpec(5, 8, num_layers=3, peephole=True, proj_size=3, bias="single"),
    "stacked lanes": unilstm.LSTMSpec(5, 8, num_layers=2, lanes=3, learned_state=True, batch_first=False),
    "residual": unilstm.LSTMSpec(5, 8, num_layers=2, residual=True),
}
FORWARD = [name for name, spec in SPECS.items() if spec.direction == "forward"]
ORDINARY = ("residual",)  # which the ordinary call serves


class Stream:
    """A layer in evaluation, a step's x and the state before it."""

    def __init__(self, name: str, spec: unilstm.LSTMSpec, dtype: str = "float32") -> None:
        require_kernel()
        self.backend = require(name)
        self.module = importlib.import_module(f"unilstm_{name}.{'eager' if name == 'jax' else 'streaming'}")
        self.layer = unilstm.LSTM(spec, backend=name, seed=0, dtype=dtype)
        if name in ("torch", "paddle"):
            self.layer.eval()
        rng = np.random.default_rng(0)
        self.x = self.tensor(rng.standard_normal((3, spec.input_size)).astype(dtype))
        with self.inference():
            self.state = self.layer.step(self.tensor(rng.standard_normal((3, spec.input_size)).astype(dtype)))[1]

    def tensor(self, array: Any) -> Any:
        return self.backend.tensor(array)

    def inference(self) -> Any:
        return self.backend.inference() if hasattr(self.backend, "inference") else contextlib.nullcontext()

    def bits(self, found: Any) -> list[tuple[Any, bytes]]:
        y, (h, c) = found
        return [(a.shape, a.tobytes()) for a in map(self.backend.array, (y, h, c))]


@pytest.mark.parametrize("spec", FORWARD)
@pytest.mark.parametrize("name", ["numpy", "torch", "paddle"])
def test_a_step_has_the_bits_of_the_call(name: str, spec: str) -> None:
    for dtype in ("float32", "float64"):
        one = Stream(name, SPECS[spec], dtype)
        with one.inference():
            direct = one.module.step(one.layer, one.x, one.state)
            assert (direct is None) == (spec in ORDINARY)
            want = one.bits(one.layer._run_step(one.x, one.state, None))
            assert one.bits(one.layer.step(one.x, one.state)) == want
            assert direct is None or one.bits(direct) == want


@pytest.mark.parametrize("name", ["numpy", "torch", "paddle"])
def test_what_is_not_plain_is_the_calls(name: str) -> None:
    """With its errors, and its numbers: a state or an x of another form, and other paths."""
    one = Stream(name, SPECS["vanilla"])
    x, (h, c), array = one.x, one.state, one.backend.array
    with one.inference():
        for state, message in (
            ((h[:, :2], c), r"h_0 has shape \[1, 2, 8\]"),
            ((h, c[:, :, :4]), r"c_0 has shape \[1, 3, 4\]"),
            ((h, one.tensor(array(c).astype("float64"))), "c_0 is float64 but the layer is float32"),
            ((h,), "state must be a pair"),
            (h, "state must be a pair"),
        ):
            with pytest.raises(unilstm.InputError, match=message):
                one.layer.step(x, state)
        for wrong, message in (
            (one.tensor(np.ones((3, 4), "float32")), "input_size=5"),
            (one.tensor(np.ones((3, 5), "float64")), "x is float64"),
            (one.tensor(np.ones((0, 5), "float32")), "the batch is empty"),
            ([[0.0] * 5] * 3, "x is a list"),
        ):
            with pytest.raises(unilstm.InputError, match=message):
                one.layer.step(wrong, (h, c))
        want = one.bits(one.layer.step(x, (h, c)))
        strided = one.tensor(np.repeat(array(x), 2, 1))[:, ::2]
        assert one.bits(one.layer.step(strided, [h, c])) == want
        assert one.layer.step(x[0], (h[:, 0], c[:, 0]))[0].shape[0] == 8  # unbatched
        one.layer.path = "composed"
        assert one.module.step(one.layer, x, (h, c)) is None


def trained(layer: Any, x: Any, optimizer: Any) -> None:
    layer(x)[0].sum().backward()
    optimizer.step()


def torch_trained(layer: Any, x: Any) -> None:
    trained(layer, x, importlib.import_module("torch").optim.SGD(layer.parameters(), lr=0.5))


def paddle_trained(layer: Any, x: Any) -> None:
    module = importlib.import_module("paddle")
    trained(layer, x, module.optimizer.SGD(learning_rate=0.5, parameters=layer.parameters()))


def paddle_add(layer: Any, x: Any) -> None:
    with importlib.import_module("paddle").no_grad():
        for p in layer.parameters():
            p.add_(p * 0.5 + 0.25)


# How users change weights: by the framework's optimizer, and in place.
CHANGES = [
    ("torch", torch_trained),
    ("torch", lambda layer, x: [p.data.add_(0.5) for p in layer.parameters()]),
    ("torch", lambda layer, x: [p.detach().numpy().__imul__(0.5) for p in layer.parameters()]),
    ("torch", lambda layer, x: [setattr(p, "data", p.data - 0.25) for p in layer.parameters()]),
    ("paddle", paddle_trained),
    ("paddle", paddle_add),
    ("paddle", lambda layer, x: [p.set_value(p.numpy() * 0.5) for p in layer.parameters()]),
]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_the_kernel_sees_a_weight_that_changed_in_any_way(name: str, change: Any, layers: int) -> None:
    """Nothing of a weight is kept from one call to the next, nor from one step to the next."""
    one = Stream(name, unilstm.LSTMSpec(5, 8, num_layers=layers))
    layer, array, x = one.layer, one.backend.array, one.tensor(np.ones((3, 6, 5), "float32"))

    def found() -> list[Any]:
        with one.inference():
            assert one.module.step(layer, one.x, one.state) is not None
            calls = [layer(x[:, :steps])[0] for steps in (1, 6)]
            return [array(y) for y in (*calls, layer.step(one.x, one.state)[0])]

    before = found()
    change(layer, x)
    reference = unilstm.port(layer, to="numpy", path="composed")
    state = tuple(array(s) for s in one.state)
    want = [*(reference(array(x)[:, :steps])[0] for steps in (1, 6)), reference.step(array(one.x), state)[0]]
    for got, expected, old in zip(found(), want, before, strict=True):
        close(got, expected, 1e-6)
        assert np.abs(got - old).max() > 1e-3


@pytest.mark.parametrize("name", ["torch", "paddle"])
def test_a_step_that_autograd_records_is_differentiable(name: str) -> None:
    one = Stream(name, SPECS["vanilla"])
    assert one.module.step(one.layer, one.x, one.state) is None
    one.layer.step(one.x, one.state)[0].sum().backward()
    assert all(p.grad is not None for p in one.layer.parameters())


@pytest.mark.parametrize("spec", ["stacked", "stacked lanes"])
def test_a_call_outside_of_jit_has_the_bits_of_its_operations(spec: str) -> None:
    one = Stream("jax", SPECS[spec])
    layer, x, state = one.layer, one.x, one.state
    assert one.module.serves(layer, x, state)
    assert one.bits(layer.step(x, state)) == one.bits(layer._run_step(x, state, None))
    sequence = one.tensor(np.random.default_rng(1).standard_normal((4, 3, 5)).astype("float32"))
    *found, cells = layer(sequence, return_cell_sequence=True)
    *want, want_cells = layer._run(sequence, None, None, None, True)
    assert one.bits(found) == one.bits(want)
    assert np.array_equal(cells, want_cells)
    assert not one.module.serves(layer, np.asarray(x), state)
    with pytest.raises(unilstm.InputError, match="h_0 has shape"):
        layer.step(x, (state[0][:, :2], state[1]))
    traced = []
    importlib.import_module("jax").vmap(lambda row: traced.append(one.module.serves(layer, row, None)))(sequence)
    assert traced == [False]
