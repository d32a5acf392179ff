"""layer.stream(): the numbers of step(), on weights that are read once."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import unilstm.compat.allennlp
import unilstm.compat.keras
import unilstm.compat.lmp
import unilstm.compat.paddle
import unilstm.compat.torch
from conftest import require, require_kernel
from test_kernel_streaming import FORWARD, ORDINARY, SPECS
from unilstm_kernels import library

BACKENDS = ["numpy", "torch", "paddle", "jax"]
VANILLA = unilstm.LSTMSpec(5, 8)


class Streamed:
    """A layer, and what a test gives it."""

    def __init__(self, name: str, spec: unilstm.LSTMSpec, dtype: str = "float32", path: str = "auto") -> None:
        self.backend, self.spec, self.dtype = require(name), spec, dtype
        self.layer = unilstm.LSTM(spec, backend=name, seed=0, dtype=dtype, path=path)
        if name in ("torch", "paddle"):
            self.layer.eval()

    def x(self, seed: int, *rows: int) -> Any:
        drawn = np.random.default_rng(seed).standard_normal((*rows, self.spec.input_size))
        return self.backend.tensor(drawn.astype(self.dtype))

    def step(self, x: Any, state: Any = None) -> Any:
        """Without gradients, as a stream: with them torch's own operator, where that serves, has other last bits."""
        with self.layer._without_gradients():
            return self.layer.step(x, state)

    def bits(self, *arrays: Any) -> list[tuple[Any, bytes]]:
        return [(a.shape, a.tobytes()) for a in map(self.backend.array, arrays)]


@pytest.mark.parametrize("rows", [(), (1,), (3,), (50,)], ids=str)
@pytest.mark.parametrize("spec", FORWARD)
@pytest.mark.parametrize("name", BACKENDS)
def test_a_stream_has_the_bits_of_its_steps(name: str, spec: str, rows: tuple[int, ...]) -> None:
    """Of 50 rows, too: more than the kernel takes at once."""
    one = Streamed(name, SPECS[spec], "float32" if name == "jax" or rows == (3,) else "float64")
    stream = one.layer.stream(batch_size=rows[0] if rows else None)
    serves = spec not in ORDINARY or (name == "jax" and spec == "residual")
    assert (stream._steps is not None) == (serves and library.missing() is None)
    state, found, kept = None, [], []
    for seed in range(4):
        y, state = one.step(one.x(seed, *rows), state)
        kept.append(y)
        found.append(stream(one.x(seed, *rows)))
    assert one.bits(*found) == one.bits(*kept)  # none was written over by a later step
    before = stream.state
    assert one.bits(*before) == one.bits(*state)

    going_on = one.layer.stream(state)
    assert one.bits(stream(one.x(9, *rows)), *stream.state) == one.bits(going_on(one.x(9, *rows)), *going_on.state)
    assert one.bits(*before) == one.bits(*state)  # what it gave is a copy
    stream.reset()
    assert one.bits(stream(one.x(0, *rows))) == one.bits(found[0])
    stream.reset(state)
    assert one.bits(*stream.state) == one.bits(*state)
    assert one.bits(stream(one.x(9, *rows)), *stream.state)[1:] == one.bits(*going_on.state)


@pytest.mark.parametrize("name", BACKENDS)
def test_other_paths_stream_too(name: str) -> None:
    one = Streamed(name, VANILLA, path="composed")
    stream, (y, state) = one.layer.stream(batch_size=2), one.step(one.x(0, 2))
    assert one.bits(stream(one.x(0, 2)), *stream.state) == one.bits(y, *state)
    stream.reset()
    assert one.bits(stream(one.x(0, 2))) == one.bits(y)


@pytest.mark.parametrize("path", ["auto", "composed"])
@pytest.mark.parametrize("name", BACKENDS)
def test_what_does_not_fit_is_named(name: str, path: str) -> None:
    one = Streamed(name, VANILLA, path=path)
    stream = one.layer.stream(batch_size=2)
    before = one.bits(*stream.state)
    wide = "float64" if name != "jax" else "float16"
    for x, message in (
        (one.x(0, 3), r"x has shape \[3, 5\], but this stream takes .* \[2, 5\]"),
        (one.x(0), r"x has shape \[5\]"),
        ([[0.0] * 5] * 2, "x is a list"),
        (one.backend.tensor(np.ones((2, 5), wide)), f"x is {wide} but the layer is float32"),
    ):
        with pytest.raises(unilstm.InputError, match=message):
            stream(x)
    h, c = one.step(one.x(0, 2))[1]
    for state, message in (
        ((h, c[:, :1]), "c_0 has shape"),
        ((h,), "state must be a pair"),
        (h, "state must be a pair"),
    ):
        with pytest.raises(unilstm.InputError, match=message):
            stream.reset(state)
        with pytest.raises(unilstm.InputError):
            one.layer.stream(state)
    for size in (0, -1, 1.5, "2"):
        with pytest.raises(unilstm.InputError, match="batch_size="):
            one.layer.stream(batch_size=size)
    with pytest.raises(unilstm.InputError, match=r"batch_size=3 .* as the state given has it: 2"):
        one.layer.stream((h, c), batch_size=3)
    assert one.bits(*stream.state) == before
    with pytest.raises(unilstm.InputError, match="streams forward in time"):
        unilstm.LSTM(5, 8, direction="bidirectional", backend=name).stream()


@pytest.mark.parametrize("name", BACKENDS)
def test_x_may_lie_in_memory_in_any_way(name: str) -> None:
    one = Streamed(name, VANILLA)
    x, stream = one.x(0, 2), one.layer.stream(batch_size=2)
    strided = one.backend.tensor(np.repeat(one.backend.array(x), 2, 1))[:, ::2]
    want = one.bits(stream(x))
    stream.reset()
    assert one.bits(stream(strided)) == want


@pytest.mark.parametrize("name", ["torch", "paddle"])
def test_a_stream_records_nothing_and_drops_nothing(name: str) -> None:
    for path in ("auto", "composed"):
        one = Streamed(name, unilstm.LSTMSpec(5, 8, num_layers=2, dropout=0.5, zoneout_hidden=0.5), path=path)
        want = one.bits(one.step(one.x(0, 2))[0])
        one.layer.train()
        x = one.x(0, 2)
        x.stop_gradient = False
        if name == "torch":
            x.requires_grad_()
        stream = one.layer.stream(batch_size=2)
        y = stream(x)
        recorded = [t.requires_grad if name == "torch" else not t.stop_gradient for t in (y, *stream.state)]
        assert not any(recorded)
        assert one.bits(y) == want


def test_changed_weights_are_noticed() -> None:
    one = Streamed("torch", VANILLA)
    import torch

    def train(layer: Any) -> None:
        layer(one.x(0, 2, 3))[0].sum().backward()
        torch.optim.SGD(layer.parameters(), 0.1).step()

    def replace(layer: Any) -> None:
        layer.weight_ih_l0.data = layer.weight_ih_l0.data * 2

    def load(layer: Any) -> None:
        layer.load_state_dict(unilstm.LSTM(VANILLA, backend="torch", seed=1).state_dict())

    for change in (train, replace, load):
        stream = one.layer.stream(batch_size=2)
        stream(one.x(0, 2))
        change(one.layer)
        with pytest.raises(unilstm.InputError, match=r"weights have changed .* layer\.stream\(stream\.state\)"):
            stream(one.x(0, 2))
        y, _ = one.step(one.x(1, 2), stream.state)
        assert one.bits(one.layer.stream(stream.state)(one.x(1, 2))) == one.bits(y)


def test_changed_weights_are_noticed_by_paddle_and_jax() -> None:
    paddle = Streamed("paddle", VANILLA)
    stream = paddle.layer.stream(batch_size=2)
    parameter = paddle.layer.parameters()[0]
    import paddle as framework

    with framework.no_grad():
        parameter.add_(framework.ones_like(parameter))
    with pytest.raises(unilstm.InputError, match="weights have changed"):
        stream(paddle.x(0, 2))
    jax = Streamed("jax", VANILLA)
    stream = jax.layer.stream(batch_size=2)
    jax.layer.params["weight_ih_l0"] = jax.layer.params["weight_ih_l0"] * 2
    with pytest.raises(unilstm.InputError, match="weights have changed"):
        stream(jax.x(0, 2))


def made(kind: str, name: str) -> Any:
    """A drop-in class whose tensors are under other names, or of other shapes, or lie deeper than the layer's own."""
    if kind == "keras":
        one = unilstm.compat.keras.LSTM(8, backend=name, seed=1)
        one.build((2, 3, 5))
        return one
    if kind == "lmp":
        return unilstm.compat.lmp.LSTM2000Layer(in_feat=5, n_blk=2, d_blk=4, backend=name, seed=1)
    of = {
        "torch": unilstm.compat.torch.LSTM,
        "paddle": unilstm.compat.paddle.LSTM,
        "allennlp": unilstm.compat.allennlp.AugmentedLstm,
    }
    return of[kind](5, 8, backend=name, seed=1)


def change(name: str, layer: Any) -> None:
    """All weights, in a way that the framework tells of."""
    if name in ("numpy", "jax"):
        layer.load_state_dict({key: value * 2 for key, value in layer.state_dict().items()})
        return
    with layer._without_gradients():
        for parameter in layer.parameters():
            parameter.add_(parameter)


@pytest.mark.parametrize("kind", ["torch", "keras", "paddle", "allennlp", "lmp"])
@pytest.mark.parametrize("name", BACKENDS)
def test_changed_weights_of_drop_in_classes_are_noticed(name: str, kind: str) -> None:
    backend, layer = require(name), made(kind, name)
    stream, x = layer.stream(batch_size=2), backend.tensor(np.ones((2, 5), "float32"))
    stream(x)
    stream(x)
    change(name, layer)
    with pytest.raises(unilstm.InputError, match="weights have changed"):
        stream(x)


def test_no_other_array_takes_the_place_of_one_that_a_stream_has_read() -> None:
    """By ids alone a new array in the memory of the old one would be taken for it."""
    for name in ("numpy", "jax"):
        require(name)
        layer = made("torch", name)
        old = weakref.ref(layer.params["weight_ih_l0"])
        stream = layer.stream(batch_size=2)
        change(name, layer)
        gc.collect()
        assert old() is not None
        del stream


def test_a_stream_of_jax_is_not_traced() -> None:
    one = Streamed("jax", VANILLA)
    import jax

    for path in ("auto", "composed"):
        stream = Streamed("jax", VANILLA, path=path).layer.stream(batch_size=2)
        with pytest.raises(unilstm.InputError, match="cannot be traced"):
            jax.jit(stream)(one.x(0, 2))
        stream(one.x(0, 2))  # the state holds no tracer


@pytest.mark.parametrize("spec", ["vanilla", "layer-norm", "stacked lanes", "projected"])
def test_an_instruction_set_may_change_between(spec: str) -> None:
    """Weights packed for one are packed anew."""
    require_kernel()
    one = Streamed("numpy", SPECS[spec])
    stream, before, state = one.layer.stream(batch_size=2), library.instruction_set(), None
    try:
        for seed, name in enumerate((before, "v2", before, "v3", "v4")):
            try:
                library.use_instruction_set(name)
            except ValueError:
                continue
            y, state = one.step(one.x(seed, 2), state)
            assert one.bits(stream(one.x(seed, 2)), *stream.state) == one.bits(y, *state)
    finally:
        library.use_instruction_set(before)


def test_streams_run_side_by_side() -> None:
    one = Streamed("numpy", unilstm.LSTMSpec(40, 96))
    want = one.layer.stream(batch_size=1)
    expected = [one.bits(want(one.x(seed, 1))) for seed in range(50)]
    found: list[list[Any]] = [[] for _ in range(4)]

    def run(mine: list[Any]) -> None:
        stream = one.layer.stream(batch_size=1)
        mine += [one.bits(stream(one.x(seed, 1))) for seed in range(50)]

    threads = [threading.Thread(target=run, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == expected for mine in found)


def test_the_default_device_of_torch_is_not_asked() -> None:
    one = Streamed("torch", VANILLA)
    import torch

    stream, x = one.layer.stream(batch_size=2), one.x(0, 2)
    with torch.device("meta"):
        y = stream(x)
    assert one.bits(y) == one.bits(one.step(x)[0])
