"""Bad calls and bad weights, each with its own words, the same on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import Driver, numbers, require
from unilstm import InputError, LayoutError, LSTMSpec, Weights

X = numbers(3, 5, 4)
H, C = numbers(2, 3, 6), numbers(2, 3, 6, stream=1)

CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "wrong rank": ((numbers(3, 5, 4, 1),), {}, r"x has shape \[3, 5, 4, 1\], 4 axes, but must have 3"),
    "a vector": ((numbers(4),), {}, r"x has shape \[4\], 1 axes"),
    "wrong feature size": ((numbers(3, 5, 3),), {}, r"its last axis is 3, but input_size=4"),
    "empty batch": ((numbers(0, 5, 4),), {}, "the batch is empty. Give at least one row"),
    "no steps": ((numbers(3, 0, 4),), {}, r"there is no step \(T = 0\)"),
    "dtype mix": ((X.astype("float32"),), {}, "x is float32 but the layer is float64. Convert x, or build"),
    "wrong h_0": ((X, (H[:1], C)), {}, r"h_0 has shape \[1, 3, 6\], but must have \[2, 3, 6\]"),
    "wrong c_0": ((X, (H, C[:, :2])), {}, r"c_0 has shape \[2, 2, 6\], but must have \[2, 3, 6\]"),
    "state dtype": ((X, (H, C.astype("float32"))), {}, "c_0 is float32 but the layer is float64. Convert c_0"),
    "unbatched state": ((X[0], (H, C)), {}, r"h_0 has shape \[2, 3, 6\], but must have \[2, 6\]"),
    "lengths too long": ((X,), {"lengths": [5, 6, 1]}, r"lengths\[1\]=6 is longer than x, which has 5 steps"),
    "negative length": ((X,), {"lengths": [5, 2, -1]}, r"lengths\[2\]=-1 is negative. Give lengths from 0 to 5"),
    "too few lengths": ((X,), {"lengths": [5, 2]}, r"lengths has shape \[2\], but must have \[3\]"),
    "lengths of rank 2": ((X,), {"lengths": [[5], [2], [1]]}, r"lengths has shape \[3, 1\]"),
    "float lengths": ((X,), {"lengths": [5.0, 2.0, 1.0]}, "must be whole numbers"),
    "lengths unbatched": ((X[0],), {"lengths": [5]}, "lengths were given with an unbatched x"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_is_refused_by_name(backend: Any, name: str) -> None:
    args, kwargs, words = CALLS[name]
    driver = Driver(backend, LSTMSpec(4, 6, num_layers=2))
    with pytest.raises(InputError, match=words):
        driver(*args, **kwargs)


def test_float_lengths_as_a_tensor_are_refused(framework: Any) -> None:
    driver = Driver(framework, LSTMSpec(4, 6))
    with pytest.raises(InputError, match="lengths is .*float"):
        driver(X, lengths=framework.tensor(np.array([5.0, 2.0, 1.0], "float32")))


@pytest.mark.parametrize("given", ["int32", "float16"])
def test_a_layer_of_xs_dtype_is_advised_only_where_there_can_be_one(backend: Any, given: str) -> None:
    layer = unilstm.LSTM(4, 6, backend=backend.name, seed=0)
    with pytest.raises(InputError, match=f"x is {given} but the layer is float32. Convert x") as raised:
        layer(backend.tensor(np.ones((3, 5, 4), given)))
    assert ("or build the layer with dtype=" in str(raised.value)) == (given == "float16")


@pytest.mark.parametrize("name", ["numpy", "jax"])
def test_the_mask_of_a_masked_array_is_not_dropped_in_silence(name: str) -> None:
    require(name)
    layer, x = unilstm.LSTM(4, 6, backend=name, seed=0), np.ma.masked_array(X.astype("float32"), X > 0)
    with pytest.raises(InputError, match=r"x is a masked array, .* Give x.filled\(0\), and lengths="):
        layer(x)
    for call in (layer.step, layer.stream(batch_size=3)):
        with pytest.raises(InputError, match="x is a MaskedArray"):
            call(x[:, 0])
    with pytest.raises(InputError, match="state must be a pair"):
        layer(x.filled(0), (x[:1, :3, :1], x[:1, :3, :1]))


@pytest.mark.parametrize("state", [3, (1, 2), "hc"])
def test_a_state_that_is_no_pair_of_tensors_is_refused(backend: Any, state: Any) -> None:
    layer = unilstm.LSTM(4, 6, backend=backend.name, seed=0)
    with pytest.raises(InputError, match=r"state must be a pair \(h_0, c_0\) of"):
        layer(backend.tensor(X.astype("float32")), state)


@pytest.mark.parametrize("x", [None, [[1.0]], "x"])
def test_an_x_that_is_no_tensor_is_refused(backend: Any, x: Any) -> None:
    layer = unilstm.LSTM(4, 6, backend=backend.name, seed=0)
    with pytest.raises(InputError, match="x must be a .*, not"):
        layer(x)
    with pytest.raises(InputError, match=r"but step\(\) takes one step"):
        layer.step(x)


def test_a_step_of_a_whole_sequence_is_refused(backend: Any) -> None:
    driver = Driver(backend, LSTMSpec(4, 6))
    with pytest.raises(InputError, match=r"x has shape \[3, 5, 4\], but step\(\) takes one step"):
        driver(X, method="step")


def test_a_tensor_of_another_framework_is_refused() -> None:
    require("torch")
    layer = unilstm.LSTM(4, 6, backend="torch", seed=0)
    with pytest.raises(InputError, match="x must be a torch.Tensor, not ndarray. Convert it first"):
        layer(X)


GOOD = {name: np.array(a) for name, a in Weights.initial(LSTMSpec(4, 6), 0).items()}
ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({k: v for k, v in GOOD.items() if k != "bias_hh_l0"}, "'bias_hh_l0' is missing"),
    "extra": ({**GOOD, "weight_ih_l1": GOOD["weight_ih_l0"]}, "'weight_ih_l1' is not a parameter of LSTMSpec"),
    "misshapen": ({**GOOD, "weight_hh_l0": np.zeros((24, 5), "f4")}, r"has shape \[24, 5\], but must have \[24, 6\]"),
    "mixed": ({**GOOD, "weight_hh_l0": np.zeros((24, 6))}, "the arrays mix dtypes"),
    "whole numbers": ({**GOOD, "weight_hh_l0": np.zeros((24, 6), int)}, "has dtype int64. Convert it to one of"),
    "objects": ({**GOOD, "weight_hh_l0": np.array([[object()]])}, "has dtype object"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_weights_that_do_not_fit_are_refused_by_name(name: str) -> None:
    arrays, words = ARRAYS[name]
    with pytest.raises(LayoutError, match=words):
        Weights(LSTMSpec(4, 6), arrays)


def test_weights_are_a_copy_and_cannot_be_written() -> None:
    arrays = {k: v.copy() for k, v in GOOD.items()}
    weights = Weights(LSTMSpec(4, 6), arrays)
    arrays["bias_hh_l0"][:] = 9
    assert not (weights["bias_hh_l0"] == 9).any()
    with pytest.raises(ValueError, match="read-only"):
        weights["bias_hh_l0"][:] = 9


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "double", 32])
def test_an_unknown_dtype_lists_those_there_are(dtype: Any) -> None:
    with pytest.raises(LayoutError, match="is not supported. Choose one of: float16, float32, float64"):
        unilstm.LSTM(4, 6, dtype=dtype)


@pytest.mark.parametrize("seed", [1.5, "a", -1, 2**64, True, np.float32(1.0)])
def test_a_seed_that_is_none_is_named(seed: Any) -> None:
    with pytest.raises(InputError, match=r"seed=.* must be a whole number in \[0, 2\*\*64\)"):
        unilstm.LSTM(4, 6, seed=seed)


def test_a_seed_of_numpy_is_that_number() -> None:
    assert Weights.initial(LSTMSpec(4, 6), np.int64(3)) == Weights.initial(LSTMSpec(4, 6), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extra", "words"),
    [({"seed": 1}, "seed=1 was given beside weights"), ({"peephole": True}, "peephole=True was given beside weights")],
)
def test_arguments_that_weights_already_settle_are_refused(extra: Any, words: str) -> None:
    with pytest.raises(unilstm.SpecError, match=words):
        unilstm.LSTM(Weights.initial(LSTMSpec(4, 6), 0), **extra)


def test_float64_on_jax_without_x64_says_how_to_turn_it_on() -> None:
    require("jax")
    with pytest.raises(InputError, match=r"jax.config.update\('jax_enable_x64', True\)"):
        unilstm.LSTM(4, 6, backend="jax", dtype="float64", seed=0)


def test_numpy_has_no_other_device() -> None:
    with pytest.raises(InputError, match="device='cuda': NumPy computes on the CPU"):
        unilstm.LSTM(4, 6, device="cuda", seed=0)


def put_in_place_of_weight_hh_l1(name: str, layer: Any, wrong: Any) -> None:
    """As a user can, past what the layer itself looks at. On Paddle a parameter of the same shape and dtype."""
    if name == "torch":
        layer.weight_hh_l1.data = wrong
    elif name == "paddle":
        import paddle

        layer.weight_hh_l1 = paddle.create_parameter(wrong.shape, wrong.dtype)
    else:
        layer.params["weight_hh_l1"] = wrong


@pytest.mark.parametrize("name", ["torch", "paddle", "jax"])
def test_a_parameter_of_another_shape_is_named(name: str) -> None:
    """Before a path that works on memory reads beyond it."""
    backend = require(name)
    layer = unilstm.LSTM(4, 6, num_layers=2, backend=name, seed=0)
    if name != "jax":
        layer.eval()
    wrong, x, step = (backend.tensor(np.ones(shape, "float32")) for shape in ((3, 3), (2, 5, 4), (2, 4)))
    stream, (_, state) = layer.stream(batch_size=2), layer(x)
    put_in_place_of_weight_hh_l1(name, layer, wrong)
    message = r"parameter weight_hh_l1 has shape \[3, 3\], but its spec says \[24, 6\]"
    with layer._without_gradients():
        for call in (lambda: layer(x), lambda: layer.step(step, state), lambda: layer.stream(batch_size=2)):
            with pytest.raises(unilstm.InputError, match=message):
                call()
        with pytest.raises(unilstm.InputError, match="weights have changed"):
            stream(step)


@pytest.mark.parametrize("name", ["torch", "paddle", "jax"])
def test_a_parameter_of_another_dtype_is_named(name: str) -> None:
    """Before a path that works on memory takes it for what it is not."""
    backend = require(name)
    layer = unilstm.LSTM(4, 6, num_layers=2, backend=name, seed=0)
    wrong, x = backend.tensor(np.ones((24, 6), "float16")), backend.tensor(np.ones((2, 5, 4), "float32"))
    put_in_place_of_weight_hh_l1(name, layer, wrong)
    with pytest.raises(
        InputError, match=r"parameter weight_hh_l1 has dtype .*float16, but the first one has .*float32"
    ):
        layer(x)


@pytest.mark.parametrize("dtype", ["float16", "bool"])
@pytest.mark.parametrize("kind", ["recurrent", "zoneout_cell", "input", "weight"])
def test_a_mask_of_another_dtype_is_named(backend: Any, kind: str, dtype: str) -> None:
    shape = {"recurrent": (3, 6), "zoneout_cell": (5, 3, 6), "input": (3, 4), "weight": (24, 6)}[kind]
    field = kind if kind == "zoneout_cell" else f"{kind}_dropout"
    layer = unilstm.LSTM(LSTMSpec(4, 6, **{field: 0.5}), backend=backend.name, seed=0)
    masks = {f"{kind}_l0": backend.tensor(np.ones(shape, dtype))}
    with pytest.raises(InputError, match=rf"masks\['{kind}_l0'\] has dtype .*{dtype}, but must have .*float32"):
        layer(backend.tensor(X.astype("float32")), masks=masks)
