"""The Paddle layer is a real paddle.nn.Layer: state_dict with its aliases, to_static, save and load, gradients."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
import unilstm.compat.allennlp
import unilstm.compat.paddle
import unilstm.models
from conftest import close, numbers, require, require_kernel
from unilstm import InputError

require("paddle")
import paddle  # noqa: E402


def layer(path: str = "auto", dtype: str = "float64", **fields: Any) -> Any:
    return unilstm.LSTM(4, 6, backend="paddle", seed=1, path=path, dtype=dtype, **fields)


def tensor(*shape: int, stream: int = 0, dtype: str = "float64") -> Any:
    return paddle.to_tensor(numbers(*shape, stream=stream, dtype=dtype))


@pytest.fixture
def own() -> Any:
    """Paddle's own LSTM: 2 layers, both directions, float64."""
    paddle.seed(0)
    paddle.set_default_dtype("float64")
    yield paddle.nn.LSTM(4, 6, 2, direction="bidirect")
    paddle.set_default_dtype("float32")


def test_state_dict_is_paddles_own_names_order_and_shapes(own: Any) -> None:
    ours = layer(num_layers=2, direction="bidirectional")
    names = [(name, value.shape) for name, value in own.state_dict().items()]
    assert [(name, value.shape) for name, value in ours.state_dict().items()] == names
    x = tensor(3, 5, 4)
    for loaded in (ours, unilstm.port(own, "paddle")):
        loaded.set_state_dict(own.state_dict())
        for path in ("native", "composed"):
            loaded.path = path
            y, (h, c) = loaded(x)
            expected, (h_n, c_n) = own(x)
            close(y, expected, 0.0 if path == "native" else 1e-15)
            close(h, h_n, 1e-15)
            close(c, c_n, 1e-15)
    own.set_state_dict(layer(num_layers=2, direction="bidirectional").state_dict())


@pytest.mark.parametrize("kept", ["cells", "aliases"])
def test_either_set_of_names_loads_alone(own: Any, kept: str) -> None:
    state = {k: v for k, v in own.state_dict().items() if (".cell" in k) == (kept == "cells")}
    ours = layer(num_layers=2, direction="bidirectional")
    assert ours.set_state_dict(state) == ([], [])
    close(ours.weight_hh_l1_reverse, own.weight_hh_l1_reverse, 0.0)


def test_a_state_dict_that_does_not_fit_is_reported_by_name() -> None:
    state = layer().state_dict()
    short = {k: v for k, v in state.items() if "bias_hh" not in k}
    with pytest.warns(UserWarning, match="bias_hh"):
        missing, unexpected = layer().set_state_dict({**short, "other": state["bias_ih_l0"]})
    assert sorted(missing) == ["0.cell.bias_hh", "bias_hh_l0"]
    assert unexpected == ["other"]
    with pytest.raises(unilstm.LayoutError, match="bias_hh"):
        unilstm.Weights.from_layout("paddle", short)


def test_a_projection_works_where_paddles_own_aliases_do_not() -> None:
    paddle.set_default_dtype("float64")
    own = paddle.nn.LSTM(4, 6, num_layers=2, proj_size=3)
    paddle.set_default_dtype("float32")
    x = tensor(3, 5, 4)
    for ours in (unilstm.port(own, "paddle"), layer(num_layers=2, proj_size=3)):
        ours.set_state_dict({k: v for k, v in own.state_dict().items() if ".cell" in k})
        close(ours(x)[0], own(x)[0], 1e-14)
        assert ours.state_dict()["0.cell.weight_ho"].shape == [6, 3]
        assert ours.weights()["weight_hr_l0"].shape == (3, 6)


def test_to_static_computes_the_same(tmp_path: Path) -> None:
    ours, x = layer(dtype="float32", peephole=True), tensor(3, 5, 4, dtype="float32")
    ours.eval()
    expected = ours(x)[0]
    static = paddle.jit.to_static(ours, input_spec=[paddle.static.InputSpec([3, 5, 4], "float32")], full_graph=True)
    close(static(x)[0], expected, 1e-6)
    paddle.jit.save(static, str(tmp_path / "model"))
    close(paddle.jit.load(str(tmp_path / "model"))(x)[0], expected, 1e-6)


class Head(paddle.nn.Layer):
    """A user's model around a layer."""

    def __init__(self, lstm: Any) -> None:
        super().__init__()
        self.lstm, self.out = lstm, paddle.nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.lstm(x)[0] * 2.0)


class Own(type(layer())):  # type: ignore[misc]
    """A user's subclass."""


MADE: dict[str, Any] = {
    "vanilla": lambda: layer(dtype="float32"),
    "both directions": lambda: layer(dtype="float32", peephole=True, direction="bidirectional", merge="sum"),
    "subclass": lambda: Own(layer(dtype="float32").weights()),
    "compat.paddle": lambda: unilstm.compat.paddle.LSTM(4, 6, seed=1),
    "compat.allennlp": lambda: unilstm.compat.allennlp.AugmentedLstm(4, 6, seed=1, backend="paddle"),
}


@pytest.mark.parametrize("within", [False, True], ids=["alone", "within a model"])
@pytest.mark.parametrize("kind", MADE)
def test_to_static_by_default_computes_the_same(kind: str, within: bool) -> None:
    """Without full_graph=True, in which Paddle translates bytecode."""
    ours, x = MADE[kind](), tensor(3, 5, 4, dtype="float32")
    ours = Head(ours) if within else ours
    found = []
    for one in (ours, paddle.jit.to_static(ours)):
        for _ in range(2):  # translated, and found translated
            given = x.clone()
            given.stop_gradient = False
            y = paddle.utils.flatten(one(given))[0]
            y.square().sum().backward()
            found.append((y.numpy(), given.grad.numpy()))
    for y, gradient in found[1:]:
        close(y, found[0][0], 1e-6)
        close(gradient, found[0][1], 1e-5)


@pytest.mark.parametrize("fields", [{}, {"peephole": True, "proj_size": 3}], ids=str)
def test_saves_and_loads(tmp_path: Path, fields: dict[str, Any]) -> None:
    ours, x = layer(**fields), tensor(3, 5, 4)
    paddle.save(ours.state_dict(), str(tmp_path / "lstm.pdparams"))
    other = unilstm.LSTM(ours.spec, backend="paddle", seed=9, dtype="float64")
    assert other.set_state_dict(paddle.load(str(tmp_path / "lstm.pdparams"))) == ([], [])
    close(other(x)[0], ours(x)[0], 0.0)
    close(copy.deepcopy(ours)(x)[0], ours(x)[0], 0.0)


@pytest.mark.parametrize("fields", [{}, {"peephole": True}], ids=str)
def test_trains_with_an_optimiser(fields: dict[str, Any]) -> None:
    paddle.seed(0)
    ours = layer(dtype="float32", num_layers=2, dropout=0.1, **fields)
    x, target = tensor(16, 8, 4, dtype="float32"), tensor(16, 6, stream=1, dtype="float32")
    optimiser = paddle.optimizer.Adam(0.01, parameters=ours.parameters())
    assert len(ours.parameters()) == len(ours.weights())
    losses = []
    for _ in range(40):
        loss = paddle.nn.functional.mse_loss(ours(x)[1][0][-1], target)
        loss.backward()
        optimiser.step()
        optimiser.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("path", ["native", "kernel"])
@pytest.mark.parametrize("wanted", ["x", "weight", "frozen bias", "frozen weights"])
def test_part_of_the_gradients_is_given_where_paddles_own_fails(path: str, wanted: str) -> None:
    """Paddle's LSTM asks for all gradients or none, and a PyLayer of several inputs does, too."""
    if path == "kernel":
        require_kernel()
    found = []
    for one in (path, "composed"):
        ours, x = layer(one), tensor(3, 5, 4)
        x.stop_gradient = False
        for name, p in ours.named_parameters():
            p.stop_gradient = "frozen" in wanted and wanted.removeprefix("frozen ").rstrip("s") in name
        of = ours.weight_ih_l0 if wanted == "weight" else x
        found.append(paddle.grad(ours(x)[0].square().sum(), [of])[0].numpy())
    close(found[0], found[1], 1e-14)


def test_the_gradients_of_the_two_biases_are_two_tensors() -> None:
    """They have the same values; an optimiser or a clip that changes the one in place must not change the other."""
    require_kernel()
    ours = layer("kernel")
    ours(tensor(3, 5, 4))[0].sum().backward()
    one, other = ours.bias_ih_l0.grad, ours.bias_hh_l0.grad
    before = other.numpy().copy()
    assert np.array_equal(one.numpy(), before)
    one.scale_(2.0)
    assert np.array_equal(other.numpy(), before)


TWICE = """
import paddle

class Doubled(paddle.autograd.PyLayer):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, dy):
        return dy * 2

x = paddle.ones([2])
x.stop_gradient = False
total = Doubled.apply(x).sum()
total.backward(retain_graph=True)
total.backward()
"""


def test_paddle_crashes_over_a_second_backward_through_a_pylayer() -> None:
    """If this fails, Paddle has mended it: say so in docs/layers.md."""
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True)
    assert done.returncode == -signal.SIGSEGV


def test_paddles_own_gradient_is_wrong_for_ragged_bidirectional_input_and_so_not_used(own: Any) -> None:
    """If this fails, Paddle has mended its operator: let the native path serve this, and say so in SYSTEMS notes."""
    ours = unilstm.port(own, "paddle")
    x, lengths = tensor(3, 5, 4), paddle.to_tensor([1, 5, 2])
    state = tensor(4, 3, 6, stream=1), tensor(4, 3, 6, stream=2)
    own(x, state, lengths)[0].square().sum().backward()
    ours(x, state, lengths=lengths)[0].square().sum().backward()
    of_own, of_ours = own.weight_hh_l0_reverse.grad.numpy(), ours.weight_hh_l0_reverse.grad.numpy()
    # The judge is a difference quotient of Paddle's own forward pass, in one entry.
    weight, step, quotient = own.weight_hh_l0_reverse, 1e-6, []
    start = weight.numpy().copy()
    for sign in (1, -1):
        moved = start.copy()
        moved[0, 0] += sign * step
        weight.set_value(moved)
        quotient.append(float(own(x, state, lengths)[0].square().sum()))
    numeric = (quotient[0] - quotient[1]) / (2 * step)
    close(of_ours[0, 0], numeric, 1e-6)
    assert abs(of_own[0, 0] - numeric) > 0.1 * abs(numeric)
    with pytest.raises(unilstm.PathError, match="gradient of the reverse weight_hh is wrong"):
        layer("native", direction="bidirectional")(x, lengths=lengths)


def test_higher_derivatives_on_the_composed_path() -> None:
    ours, x = layer("composed", peephole=True), tensor(2, 3, 4)
    x.stop_gradient = False
    (first,) = paddle.grad(ours(x)[0].square().sum(), [x], create_graph=True)
    (second,) = paddle.grad(first.square().sum(), [x])
    step, numeric = 1e-5, []
    for sign in (1, -1):
        moved = x.numpy().copy()
        moved[0, 0, 0] += sign * step
        other = paddle.to_tensor(moved, stop_gradient=False)
        (g,) = paddle.grad(ours(other)[0].square().sum(), [other])
        numeric.append(float(g.square().sum()))
    close(float(second[0, 0, 0]), (numeric[0] - numeric[1]) / (2 * step), 1e-7)


def test_higher_derivatives_on_the_kernel_path_are_refused_by_name() -> None:
    require_kernel()
    ours, x = layer("kernel"), tensor(2, 3, 4)
    x.stop_gradient = False
    # Paddle makes an OSError of what a PyLayer raises, with all of its text.
    with pytest.raises(OSError, match=r"create_graph=True: path 'kernel' has first derivatives only"):
        paddle.grad(ours(x)[0].square().sum(), [x], create_graph=True)


def test_it_goes_to_another_dtype() -> None:
    ours = layer(dtype="float32")
    ours.to(dtype="float64")
    assert ours(tensor(3, 5, 4))[0].dtype == paddle.float64
    assert np.isfinite(ours.weights()["weight_hh_l0"]).all()


@pytest.mark.parametrize("device", [None, "cpu", paddle.CPUPlace()], ids=["Paddle's own", "by name", "by place"])
def test_a_dtype_that_paddle_does_not_compute_in_on_the_cpu_is_refused(device: Any) -> None:
    """Its error would come at the first call, on every path, and name a kernel of its own."""
    place = {} if device is None else {"device": device}
    if device is None and paddle.get_device() != "cpu":
        pytest.skip("Paddle's own device computes in float16")
    fields = {"backend": "paddle", "dtype": "float16", **place}
    for make in (
        lambda: unilstm.LSTM(4, 6, **fields),
        lambda: unilstm.compat.paddle.LSTM(4, 6, **fields),
        lambda: unilstm.models.SequenceClassifier(11, 7, 6, 2, **fields),
        lambda: unilstm.port(unilstm.LSTM(4, 6, dtype="float16"), to="paddle", **place),
    ):
        with pytest.raises(InputError, match=r"dtype='float16': on the CPU .*Use dtype='float32'"):
            make()
