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


def test_weights_come_in_kerass_order_and_a_layer_builds_when_called() -> None:
    layer = LSTM(H, seed=1)
    assert layer.get_weights() == []
    with pytest.raises(unilstm.InputError, match=r"the layer has 0\. It has none before it is built"):
        layer.set_weights([np.zeros((F, 4 * H))])
    layer(np.zeros((B, T, F)))
    assert [w.shape for w in layer.get_weights()] == [(F, 4 * H), (H, 4 * H), (4 * H,)]
    assert list(layer.state_dict()) == ["kernel", "recurrent_kernel", "bias"]
    assert layer.spec.input_size == F
    assert layer.cell.kernel is layer.kernel
    assert LSTM(H, use_bias=False, input_size=F).cell.bias is None
    both = Bidirectional(layer)
    assert [w.shape for w in both.get_weights()] == [(F, 4 * H), (H, 4 * H), (4 * H,)] * 2
    assert both.forward_layer.cell.kernel.shape == (F, 4 * H)
    assert not np.array_equal(both.get_weights()[0], both.get_weights()[3])
    again = Bidirectional(LSTM(H), weights=both.get_weights())
    for got, want in zip(again.get_weights(), both.get_weights(), strict=True):
        close(got, want, 0.0)
    with pytest.raises(unilstm.InputError, match=r"recurrent_kernel has shape \[1, 1\]"):
        layer.set_weights([np.zeros((F, 4 * H)), np.zeros((1, 1)), np.zeros(4 * H)])


@pytest.mark.parametrize("name", ["glorot_uniform", "HeUniform", "lecun_uniform", "random_uniform", "normal"])
def test_initializers_have_kerass_spread(name: str) -> None:
    ours = LSTM(50, kernel_initializer=name, seed=1, input_size=40).get_weights()[0]
    theirs = np.array(keras.initializers.get(name)((40, 200)))
    close(ours.std(), theirs.std(), 0.05 * theirs.std())
    if "uniform" in name.lower():
        close(np.abs(ours).max(), np.abs(theirs).max(), 0.01 * np.abs(theirs).max())


def test_initial_values_by_default_by_keras_objects_and_by_functions() -> None:
    kernel, recurrent, bias = LSTM(H, seed=1, input_size=F).get_weights()
    close(recurrent @ recurrent.T, np.eye(H), 1e-6)
    assert bias.tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H
    assert np.abs(kernel).max() <= (6 / (F + 4 * H)) ** 0.5
    layer = LSTM(
        H,
        input_size=F,
        kernel_initializer=keras.initializers.Constant(0.5),
        recurrent_initializer=lambda shape: np.full(shape, 0.25),
        bias_initializer="ones",
        unit_forget_bias=False,
    )
    assert (
        [float(w.min()) for w in layer.get_weights()]
        == [0.5, 0.25, 1.0]
        == [float(w.max()) for w in layer.get_weights()]
    )
    assert LSTM(H, input_size=F, activation=keras.activations.relu).spec.cell_activation.name == "relu"
    frozen = LSTM(H, input_size=F, trainable=False)
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(H, kernel_regularizer="l2"), "kernel_regularizer='l2' has no place"),
        (lambda: LSTM(H, unroll=True), "unroll=True changes no number"),
        (lambda: LSTM(H, use_cudnn="yes"), "use_cudnn='yes' must be"),
        (lambda: LSTM(H, kernel_initializer="he_normal"), "kernel_initializer='he_normal' is unknown"),
        (lambda: LSTM(H, activation="swish", input_size=F), "activation='swish' is none of those"),
        (lambda: LSTM(H, kernel_initializer=lambda s: np.zeros(3), input_size=F), r"gave shape \[3\]"),
        (lambda: LSTM(H)(np.zeros((T, F))), r"must have 3 axes"),
        (lambda: LSTM(H)(np.zeros((B, T, F)), mask=MASK[:, :2]), r"mask must have shape \[3, 5\]"),
        (lambda: LSTM(H)(np.zeros((B, T, F)), initial_state=[np.zeros((B, H))]), "initial_state has 1 tensors"),
        (lambda: Bidirectional(LSTM(H, go_backwards=True)), "that runs forward"),
        (lambda: Bidirectional(LSTM(H), merge_mode="max"), "merge_mode='max' must be one of"),
        (lambda: Bidirectional(LSTM(H), backward_layer=LSTM(H)), "with go_backwards=True"),
        (
            lambda: Bidirectional(LSTM(H), backward_layer=LSTM(H + 1, go_backwards=True)),
            "backward_layer has units=7, but layer has 6",
        ),
    ],
    ids=lambda v: v.split()[0] if isinstance(v, str) else "",
)
def test_what_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(unilstm.UnilstmError, match=message):
        make()


def test_an_equal_backward_layer_is_taken() -> None:
    both = Bidirectional(LSTM(H, input_size=F), backward_layer=LSTM(H, go_backwards=True))
    assert both.spec.direction == "bidirectional"


def test_use_cudnn_chooses_the_path() -> None:
    paths = {use: LSTM(H, input_size=F, use_cudnn=use).explain()[0].path for use in ("auto", True, False)}
    assert paths == {"auto": "native", True: "native", False: "composed"}
    with pytest.raises(unilstm.PathError, match="path='native' cannot serve"):
        LSTM(H, input_size=F, use_cudnn=True, activation="relu")(np.zeros((B, T, F)))
