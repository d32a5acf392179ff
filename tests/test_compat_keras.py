"""compat.keras beside Keras itself (on torch): outputs, states, gradients, masks, states kept, weights."""

from __future__ import annotations

import os
from typing import Any

# Keras runs on one framework in a process; here on torch, whose tensors and gradients can be compared.
os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import unilstm
from compat_cases import Golden, original
from conftest import BACKENDS, close, numbers, require
from unilstm.compat.keras import LSTM, Bidirectional

require("torch")
import torch  # noqa: E402

keras = original("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

B, T, F, H = 3, 5, 4, 6
OF_KERAS = 2**-22  # where Keras runs step by step, its sigmoid and tanh have float32's accuracy, in float64, too
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1]], bool)  # whole, right-padded, with holes
CONFIGS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True, "return_state": True},
    {"return_sequences": True, "go_backwards": True, "return_state": True},
    {"use_bias": False, "return_state": True},
    {"activation": "relu", "recurrent_activation": "hard_sigmoid", "return_sequences": True},
]
MERGES = ("concat", "sum", "mul", "ave", None)


def flat(found: Any) -> list[Any]:
    if isinstance(found, (tuple, list)):
        return [leaf for part in found for leaf in flat(part)]
    return [found]


def values(found: Any) -> list[Any]:
    return [part.detach().numpy() for part in flat(found)]


def pair(config: dict[str, Any], merge_mode: Any = "none") -> tuple[Any, Any]:
    """Keras's layer and the drop-in with its weights; float64."""
    theirs = keras.layers.LSTM(H, dtype="float64", **config)
    ours = LSTM(H, dtype="float64", input_size=F, **config)
    if merge_mode != "none":
        theirs = keras.layers.Bidirectional(theirs, merge_mode=merge_mode, dtype="float64")
        ours = Bidirectional(ours, merge_mode=merge_mode)
    theirs.build((B, T, F))
    ours.set_weights(theirs.get_weights())
    return theirs, ours


def on(backend: str, ours: Any) -> Any:
    """The same layer with the same weights on another backend."""
    config = {**ours.get_config(), "dtype": "float64"}
    merge_mode = config.pop("merge_mode", "none")
    name = config.pop("name", None)
    layer = LSTM(**config, name=name if merge_mode == "none" else None, backend=backend)
    layer = layer if merge_mode == "none" else Bidirectional(layer, merge_mode=merge_mode)
    layer.set_weights(ours.get_weights())
    return layer


def call(backend: str, layer: Any, x: Any, **kwargs: Any) -> list[Any]:
    found = require(backend)
    state = kwargs.pop("initial_state", None)
    state = None if state is None else [found.tensor(s) for s in state]
    return [np.array(found.array(part)) for part in flat(layer(found.tensor(x), initial_state=state, **kwargs))]


EXAMPLE = """
inputs = np.random.random((32, 10, 8))
lstm = LSTM(4)
output = lstm(inputs)
first = tuple(output.shape)
lstm = LSTM(4, return_sequences=True, return_state=True)
whole_seq_output, final_memory_state, final_carry_state = lstm(inputs)
rest = tuple(whole_seq_output.shape), tuple(final_memory_state.shape), tuple(final_carry_state.shape)
"""


def test_the_documented_example_has_the_same_shapes_and_numbers() -> None:
    found = []
    for lstm in (keras.layers.LSTM, LSTM):
        scope: dict[str, Any] = {"np": np, "LSTM": lstm}
        exec(EXAMPLE, scope)
        found.append(scope)
    for scope in found:
        assert scope["first"] == (32, 4)
        assert scope["rest"] == ((32, 10, 4), (32, 4), (32, 4))
    found[1]["lstm"].set_weights(found[0]["lstm"].get_weights())
    x = found[0]["inputs"]
    for got, want in zip(values(found[1]["lstm"](x)), values(found[0]["lstm"](x)), strict=True):
        close(got, want, 1e-6)


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_outputs_states_and_gradients_are_kerass(config: dict[str, Any], given: bool) -> None:
    theirs, ours = pair(config)
    found = []
    for layer in (theirs, ours):
        x = torch.tensor(numbers(B, T, F)).requires_grad_()
        state = [torch.tensor(numbers(B, H, stream=n)).requires_grad_() for n in (1, 2)] if given else None
        outputs = flat(layer(x, initial_state=state))
        total = sum((out * torch.tensor(numbers(*out.shape, stream=9))).sum() for out in outputs)
        parameters = [w.value for w in theirs.weights] if layer is theirs else list(ours.parameters())
        grads = torch.autograd.grad(total, [x, *(state or []), *parameters])
        found.append(([out.detach() for out in outputs], grads))
    assert len(found[0][0]) == len(found[1][0])
    for part in (0, 1):
        for got, want in zip(found[1][part], found[0][part], strict=True):
            close(got, want, 8 * OF_KERAS)


@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequences"])
@pytest.mark.parametrize("merge_mode", MERGES)
def test_bidirectional_is_kerass(merge_mode: Any, sequences: bool) -> None:
    theirs, ours = pair({"return_sequences": sequences, "return_state": True}, merge_mode)
    x = torch.tensor(numbers(B, T, F))
    state = [torch.tensor(numbers(B, H, stream=n)) for n in (1, 2, 3, 4)]
    for kwargs in ({}, {"initial_state": state}, {"mask": torch.tensor(MASK)}):
        for got, want in zip(values(ours(x, **kwargs)), values(theirs(x, **kwargs)), strict=True):
            close(got, want, OF_KERAS)


@pytest.mark.parametrize("config", CONFIGS[:3], ids=str)
def test_masks_of_any_shape_are_kerass_but_for_the_outputs_they_mask(config: dict[str, Any]) -> None:
    theirs, ours = pair(config)
    x = torch.tensor(numbers(B, T, F))
    got, want = values(ours(x, mask=MASK)), values(theirs(x, mask=torch.tensor(MASK)))
    if config.get("return_sequences"):
        counts = MASK[:, ::-1] if config.get("go_backwards") else MASK
        close(got[0][counts], want[0][counts], OF_KERAS)
        assert not np.any(got[0][~counts])
        assert np.any(want[0][~counts])  # the last output, repeated; if this fails, Keras gives 0 now
        got, want = got[1:], want[1:]
    for a, b in zip(got, want, strict=True):
        close(a, b, OF_KERAS)


@pytest.mark.parametrize("merge_mode", ["none", "sum", None])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_backend_gives_kerass_numbers(backend: str, merge_mode: Any) -> None:
    config = {"return_sequences": True, "return_state": True}
    config |= {"go_backwards": True} if merge_mode == "none" else {}
    theirs, ours = pair(config, merge_mode)
    with require(backend).scope("float64"):
        layer = on(backend, ours)
        x = numbers(B, T, F)
        state = [numbers(B, H, stream=n) for n in range(2 if merge_mode == "none" else 4)]
        want = values(theirs(torch.tensor(x), initial_state=[torch.tensor(s) for s in state]))
        for got, expected in zip(call(backend, layer, x, initial_state=state), want, strict=True):
            close(got, expected, 1e-12)
        for got, expected in zip(call(backend, layer, x, mask=MASK), values(ours(x, mask=MASK)), strict=True):
            close(got, expected, 1e-12)
    assert layer.units == H if merge_mode == "none" else layer.merge_mode == merge_mode


@pytest.mark.parametrize(
    "case", ["vanilla", "no_bias", "activations", "bidirectional", "bidirectional_sum", "masked", "go_backwards"]
)
def test_the_golden_vectors_are_met(case: str) -> None:
    g = Golden(f"keras/{case}")
    config = {name: value for name, value in g.config.items() if name != "merge_mode"}
    layer: Any = LSTM(**config, return_sequences=True, return_state=True, dtype="float64")
    merge_mode = g.config["merge_mode"]
    layer = layer if merge_mode is None else Bidirectional(layer, merge_mode=merge_mode)
    layer.load_state_dict({name: torch.tensor(value) for name, value in g.weights.items()})  # by Keras's paths
    y, *states = values(layer(g.inputs["x"], mask=g.inputs.get("mask")))
    counts = g.inputs.get("mask", np.ones(y.shape[:2], bool))
    close(y[counts], g.outputs["y"][counts], OF_KERAS)
    close(np.stack(states[0::2]), g.outputs["h_n"], OF_KERAS)
    close(np.stack(states[1::2]), g.outputs["c_n"], OF_KERAS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stateful_layer_carries_its_state_until_reset(backend: str) -> None:
    theirs, ours = pair({"return_state": True, "stateful": True})
    with require(backend).scope("float64"):
        layer = on(backend, ours)
        first, second = numbers(B, T, F), numbers(B, T, F, stream=1)
        for x in (first, second):
            want = values(theirs(torch.tensor(x)))
            for got, expected in zip(call(backend, layer, x), want, strict=True):
                close(got, expected, 1e-12)
        for got, expected in zip(layer.states, theirs.states, strict=True):
            close(np.array(require(backend).array(got)), expected.numpy(), 1e-12)
        with pytest.raises(unilstm.InputError, match=r"sequences has 1 rows, but the state .* is of 3"):
            call(backend, layer, first[:1])
        layer.reset_states()
        theirs.reset_states()
        want = values(theirs(torch.tensor(second)))
        for got, expected in zip(call(backend, layer, second), want, strict=True):
            close(got, expected, 1e-12)
    with pytest.raises(AttributeError, match="stateful=True"):
        LSTM(H).reset_states()


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_acts_when_training_by_masks_that_follow_from_the_seed(backend: str) -> None:
    found = require(backend)
    config = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 5, "return_sequences": True, "input_size": F}
    with found.scope("float64"):
        layers = [LSTM(H, dtype="float64", backend=b, **config) for b in (backend, backend, "numpy")]
        x = found.tensor(numbers(B, T, F))
        close(found.array(layers[0](x)), found.array(layers[0](x)), 0.0)
        runs = [found.array(layers[n](x, training=True)) for n in (0, 1)]
        close(runs[0], runs[1], 0.0)
        close(runs[0], layers[2](numbers(B, T, F), training=True), 1e-12)
        assert np.abs(runs[0] - found.array(layers[0](x))).max() > 1e-2
        assert np.abs(runs[0] - found.array(layers[0](x, training=True))).max() > 1e-2  # the next call's masks
        with pytest.raises(unilstm.InputError, match="evaluation mode"):
            layers[0](x, key=1)


def test_dropout_multiplies_where_kerass_does() -> None:
    """Keras's own masks, put into both."""
    theirs, ours = pair({"dropout": 0.4, "return_sequences": True})
    x = torch.tensor(numbers(B, T, F))
    of_x = np.where(numbers(B, F, stream=4) > 0, 1 / 0.6, 0.0)
    theirs.cell.get_dropout_mask = lambda step: torch.tensor(of_x)
    want = theirs(x, training=True).detach()
    close(ours(x, training=True, masks={"input_l0": torch.tensor(of_x)}).detach(), want, OF_KERAS)
    theirs, ours = pair({"recurrent_dropout": 0.3, "return_sequences": True})
    of_h = np.where(numbers(4, B, H, stream=5) > 0, 1 / 0.7, 0.0)
    theirs.cell.get_recurrent_dropout_mask = lambda step: [torch.tensor(mask) for mask in of_h]
    want = theirs(x, training=True).detach()
    close(ours(x, training=True, masks={"recurrent_l0": torch.tensor(of_h)}).detach(), want, OF_KERAS)


def test_jax_traces_a_built_layer_and_refuses_what_would_be_lost() -> None:
    require("jax")
    import jax

    x = numbers(B, T, F, dtype="float32")
    layer = LSTM(H, backend="jax", seed=1, input_size=F, dropout=0.5)
    close(jax.jit(lambda layer, x: layer(x))(layer, x), layer(x), 1e-6)
    key = jax.random.key(3)
    close(
        jax.jit(lambda layer, x, key: layer(x, training=True, key=key))(layer, x, key),
        layer(x, training=True, key=key),
        1e-6,
    )
    with pytest.raises(unilstm.InputError, match="dropout inside jit would drop the same units"):
        jax.jit(lambda layer, x: layer(x, training=True))(layer, x)
    with pytest.raises(unilstm.InputError, match="no weights yet"):
        jax.jit(lambda x: LSTM(H, backend="jax")(x))(x)
    with pytest.raises(unilstm.InputError, match="stateful=True keeps its state in the layer"):
        jax.jit(lambda layer, x: layer(x))(LSTM(H, backend="jax", input_size=F, stateful=True), x)
    grads = jax.jit(jax.grad(lambda layer: (layer(x) ** 2).sum()))(layer)
    home = LSTM(H, seed=1, input_size=F)
    (home(x) ** 2).sum().backward()
    for name, p in home.named_parameters():
        close(grads.params[name], p.grad, 1e-5)
