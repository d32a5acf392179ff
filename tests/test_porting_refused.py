"""What unilstm.port cannot say of another system's layer it refuses by name, each time with the next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import unilstm
from conftest import numbers
from porting_layers import (
    F,
    H,
    Layer,
    X,
    built,
    jax,
    jnp,
    keras,
    keras_lstm,
    nn,
    nnx,
    nnx_cell,
    of_equinox,
    sequential,
)
from unilstm import UnilstmError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


class Own(keras.layers.LSTM):  # type: ignore[misc, name-defined]
    def call(self, *args: Any, **kwargs: Any) -> Any:
        return super().call(*args, **kwargs)


def linen(module: Layer) -> Layer:
    return module.bind({"params": {}})


def keras_both(**config: Any) -> Layer:
    return built(keras.layers.Bidirectional(keras_lstm(), **config))


def with_dense() -> Layer:
    return keras.Sequential([keras.Input((None, F)), keras_lstm(), keras.layers.Dense(2, name="head")])


def unlike() -> Layer:
    return keras_both(backward_layer=keras_lstm(go_backwards=True, activation="relu"))


def mixed() -> Layer:
    return built(keras_lstm(dtype="mixed_bfloat16"))


def two_dropouts() -> Layer:
    return built(keras_lstm(dropout=0.1, recurrent_dropout=0.2))


def stateful() -> Layer:
    layer = built(keras_lstm())
    layer.stateful = True  # built so, it wants the size of the batch
    return layer


def directions() -> Layer:
    return nnx.Bidirectional(nnx.RNN(nnx_cell()), nnx.RNN(nnx_cell(gate_fn=nnx.relu)))


REFUSED: dict[str, tuple[Callable[[], Layer], str]] = {
    "nothing": (object, r"cannot port a builtins\.object\. Give a unilstm layer; torch\.nn\.LSTM"),
    "keras-gru": (lambda: built(keras.layers.GRU(H)), r"cannot port a keras\.\S*\.GRU\. Give"),
    "keras-unbuilt": (lambda: keras_lstm(name="rnn"), r"'rnn' has no weights yet. Call it once, or layer\.build\("),
    "keras-own-call": (lambda: built(Own(H)), r"Own is a keras\.layers\.LSTM with a call\(\) of its own"),
    "keras-two-dropouts": (two_dropouts, r"dropout=0\.1 and recurrent_dropout=0\.2 have a mask a gate .*Build the"),
    "keras-a-mask-a-gate": (lambda: built(keras_lstm(dropout=0.1, implementation=1)), r"implementation=1 .*Build it"),
    "keras-stateful": (stateful, r"stateful=True .*Set layer\.stateful = False"),
    "keras-regularizer": (lambda: built(keras_lstm(kernel_regularizer="l2")), r"kernel_regularizer=.*Set it to None"),
    "keras-constraint": (lambda: built(keras_lstm(bias_constraint="max_norm")), r"bias_constraint=.*Set it to None"),
    "keras-dtype": (mixed, r"dtype='bfloat16' computes in another dtype than that of its weights, float32\. Set it"),
    "keras-activation": (lambda: built(keras_lstm(activation="gelu")), r"activation='gelu' is none of those .*'tanh'"),
    "keras-merge": (lambda: keras_both(merge_mode=None), r"merge_mode=None gives two .*Set layer\.merge_mode"),
    "keras-directions": (unlike, r"two directions differ in their arguments"),
    "keras-other-layer": (with_dense, r"has a layer 'head', a Dense, which is no LSTM\. Port a list"),
    "linen-unbound": (lambda: nn.RNN(nn.LSTMCell(H)), r"this RNN has no parameters.*Give module\.bind\(variables\)"),
    "linen-gru": (lambda: linen(nn.RNN(nn.GRUCell(H))), r"cannot port a flax\.linen\.recurrent\.RNN"),
    "linen-activation": (
        lambda: linen(nn.RNN(nn.LSTMCell(H, activation_fn=lambda x: x))),
        r"activation_fn=<function .*is none of the functions of jax\.nn that unilstm has: tanh, .*Give one of these",
    ),
    "linen-dtype": (lambda: linen(nn.RNN(nn.LSTMCell(H, dtype=jnp.bfloat16))), r"dtype='bfloat16' .*Leave it out"),
    "linen-merge": (
        lambda: linen(nn.Bidirectional(*(nn.RNN(nn.LSTMCell(H)) for _ in range(2)), merge_fn=lambda a, b: a + b)),
        r"merge_fn=<function .*Leave it out",
    ),
    "nnx-carry": (
        lambda: nnx.RNN(nnx_cell(carry_init=jax.nn.initializers.ones)),
        r"carry_init=<function ones.*is not 0\. Leave it out",
    ),
    "nnx-promote": (lambda: nnx_cell(promote_dtype=lambda *a, **k: a), r"promote_dtype=<function .*Leave it out"),
    "nnx-directions": (directions, r"two directions of a Bidirectional differ, .*'sigmoid'.*'relu'"),
    "mapping": (
        lambda: {"kernel": X},
        r"a mapping of arrays says nothing.*Read them with unilstm\.",
    ),
    "haiku-two": (
        lambda: {f"lstm{n}/linear": {"w": numbers(F + H, 4 * H), "b": numbers(4 * H)} for n in ("", "_1")},
        r"hold 2 LSTMs, at 'lstm/', 'lstm_1/'\. Port one",
    ),
    "stack-sizes": (lambda: [of_equinox()[0], of_equinox()[0]], r"layer 1 takes 4 features, .* gives 3\. Give the"),
    "stack-reverse": (
        lambda: [built(keras_lstm(go_backwards=True), size) for size in (F, H)],
        r"layer 0 has direction='reverse': .*Port it by itself",
    ),
    "stack-of-stacks": (lambda: [sequential(), of_equinox()[0]], r"layer 0 is itself a stack of 2\. Port it by itself"),
}


@pytest.mark.filterwarnings("ignore:carry_init is provided:UserWarning")  # flax's own
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_by_name(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(UnilstmError, match=message):
        unilstm.port(make(), to="numpy")
