"""Models that Keras itself saves, of LSTMs in other layers and beside them: read as Keras runs them, or refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Keras runs on one framework in a process.
os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import unilstm
from compat_cases import original
from conftest import close, numbers, require
from unilstm import CheckpointError
from unilstm_conformance.tolerances import PAIR_FACTOR, eps, output_units

require("torch")
keras = original("keras")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own
    pytest.mark.parametrize("suffix", [".keras", ".h5"]),
]

B, T, H = 2, 5, 4
X = numbers(B, T, H, dtype="float32")
RELU = {"activation": "relu"}


def lstm(**config: Any) -> Any:
    return keras.layers.LSTM(H, **{"return_sequences": True, **config})


def cell(**config: Any) -> Any:
    return keras.layers.RNN(keras.layers.LSTMCell(H, **RELU), return_sequences=True, **config)


def sequential(*layers: Any, shape: tuple[Any, ...] = (None, H)) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


def saved(model: Any, folder: Path, suffix: str) -> Path:
    model.save(folder / f"m{suffix}")
    return folder / f"m{suffix}"


def agree(path: Path, y: Any, x: Any, **given: Any) -> None:
    weights = unilstm.load(path, **given)
    want = keras.ops.convert_to_numpy(y)
    got = unilstm.LSTM(weights)(x)[0]
    close(got, want, PAIR_FACTOR * output_units(weights.spec, T) * eps("float32") * np.abs(want).max())


def both(ahead: Any, back: Any = None) -> Any:
    return keras.layers.Bidirectional(ahead, backward_layer=back, merge_mode="sum")


BIDIRECTIONAL = {
    "one layer": lambda: both(lstm(**RELU)),
    "a layer each": lambda: both(lstm(**RELU), lstm(go_backwards=True, **RELU)),
    "a layer each, by name": lambda: both(lstm(name="there"), lstm(go_backwards=True, name="back")),
    "a cell each": lambda: both(cell(), cell(go_backwards=True)),
}


@pytest.mark.parametrize("case", BIDIRECTIONAL)
def test_a_bidirectional_layer_is_one_lstm(tmp_path: Path, suffix: str, case: str) -> None:
    """Keras keeps the name of a backward layer that it was given: those were read as two LSTMs, both forward."""
    model = sequential(BIDIRECTIONAL[case]())
    path = saved(model, tmp_path, suffix)
    (found,) = unilstm.inspect(path)
    assert (found.uncertain, found.said["merge_mode"]) == (None, "sum")
    agree(path, model(X), X)


def test_two_directions_that_differ_are_refused(tmp_path: Path, suffix: str) -> None:
    """The example in Keras's documentation."""
    path = saved(sequential(both(lstm(), lstm(go_backwards=True, **RELU))), tmp_path, suffix)
    with pytest.raises(CheckpointError, match="its two directions differ in their arguments"):
        unilstm.load(path)


INNER = {
    "LSTM": lambda: lstm(**RELU),
    "Bidirectional": lambda: both(lstm(), lstm(go_backwards=True)),
    "Sequential": lambda: sequential(lstm(**RELU)),
    "TimeDistributed": lambda: keras.layers.TimeDistributed(lstm(**RELU)),
}


@pytest.mark.parametrize("case", INNER)
def test_what_runs_at_each_step_is_described_too(tmp_path: Path, suffix: str, case: str) -> None:
    shape = (1, 1, T, H) if case == "TimeDistributed" else (1, T, H)
    model = sequential(keras.layers.TimeDistributed(INNER[case]()), shape=shape)
    agree(saved(model, tmp_path, suffix), keras.ops.reshape(model(X.reshape(B, *shape)), (B, T, H)), X)


def test_one_layer_named_as_the_first_of_a_stack_is_itself(tmp_path: Path, suffix: str) -> None:
    model = sequential(lstm(name="layer_0", **RELU))
    agree(saved(model, tmp_path, suffix), model(X), X)


def chain(between: Any) -> Any:
    x = keras.Input((None, H))
    return keras.Model(x, lstm(name="layer_1")(between(x, lstm(name="layer_0")(x))))


def test_layers_that_feed_each_other_are_one_lstm(tmp_path: Path, suffix: str) -> None:
    model = sequential(keras.layers.Dropout(0.1), sequential(lstm(name="layer_0"), lstm(name="layer_1")))
    agree(saved(model, tmp_path, suffix), model(X), X)
    model = chain(lambda x, y: y)
    agree(saved(model, tmp_path, suffix), model(X), X)


def test_a_stack_that_is_called_twice_is_one_lstm(tmp_path: Path, suffix: str) -> None:
    first, second = lstm(name="layer_0"), lstm(name="layer_1")
    ends = [keras.Input((None, H)) for _ in range(2)]
    model = keras.Model(ends, [second(first(x)) for x in ends])
    agree(saved(model, tmp_path, suffix), model([X, X])[1], X)


def towers() -> Any:
    x = keras.Input((None, H))
    return keras.Model(x, keras.layers.Concatenate()([lstm(name=f"layer_{n}")(x) for n in range(2)]))


def from_a_state() -> Any:
    x = keras.Input((None, H))
    y, *state = lstm(name="layer_0", return_state=True)(x)
    return keras.Model(x, lstm(name="layer_1")(y, initial_state=state))


def of_a_state() -> Any:
    x = keras.Input((None, H))
    _, h, _ = lstm(name="layer_0", return_state=True)(x)
    return keras.Model(x, lstm(name="layer_1")(keras.layers.RepeatVector(3)(h)))


NO_STACKS = {
    "a norm between": lambda: sequential(lstm(name="layer_0"), keras.layers.LayerNormalization(), lstm(name="layer_1")),
    "a sum between": lambda: chain(lambda x, y: keras.layers.Add()([x, y])),
    "beside each other": towers,
    "the first one's state": from_a_state,
    "of a state": of_a_state,
}


@pytest.mark.parametrize("case", NO_STACKS)
def test_layers_that_do_not_feed_each_other_are_read_one_by_one(tmp_path: Path, suffix: str, case: str) -> None:
    """They were read as one LSTM, because of their names."""
    model = NO_STACKS[case]()
    path = saved(model, tmp_path, suffix)
    assert [found.prefix for found in unilstm.inspect(path)] == ["layer_0/", "layer_1/"]
    agree(path, model.get_layer("layer_1")(X), X, prefix="layer_1/")


@keras.saving.register_keras_serializable("unilstm_tests")
class Own(keras.layers.Layer):  # type: ignore[misc]
    """A layer of somebody's own, whose configuration says nothing of what is inside."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.rnn = lstm(name="rnn", **RELU)

    def build(self, shape: Any) -> None:
        self.rnn.build(shape)

    def call(self, x: Any) -> Any:
        return self.rnn(x)


@keras.saving.register_keras_serializable("unilstm_tests")
class OwnModel(keras.Model):  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.rnn = lstm(name="rnn", **RELU)

    def call(self, x: Any) -> Any:
        return self.rnn(x)


def subclassed() -> Any:
    model = OwnModel()
    model(X)
    return model


UNDESCRIBED = {"layer": lambda: sequential(Own(name="own")), "model": subclassed}


@pytest.mark.parametrize("case", UNDESCRIBED)
def test_an_lstm_that_the_configuration_does_not_describe_needs_a_config(
    tmp_path: Path, suffix: str, case: str
) -> None:
    """It was read with Keras's defaults."""
    if (case, suffix) == ("model", ".h5"):
        pytest.skip("Keras saves no such model")
    model = UNDESCRIBED[case]()
    path = saved(model, tmp_path, suffix)
    with pytest.raises(CheckpointError, match=r"the configuration does not describe it.*config= \(--config\)"):
        unilstm.load(path)
    with pytest.raises(CheckpointError, match="the configuration does not describe it"):
        unilstm.convert(path, tmp_path / "m.safetensors")
    assert "the configuration does not describe it" in str(unilstm.inspect(path)[0].uncertain)
    agree(path, model(X), X, config=RELU)
    assert unilstm.load(path, layout="keras") == unilstm.load(path, config={})


def test_what_is_said_of_one_layer_is_not_said_of_another_of_its_name(tmp_path: Path, suffix: str) -> None:
    model = sequential(lstm(name="rnn", activation="softsign"), Own(name="own"))
    path = saved(model, tmp_path, suffix)
    found = {lstm.prefix: lstm for lstm in unilstm.inspect(path)}
    assert {prefix: lstm.uncertain is None for prefix, lstm in found.items()} == {"rnn/": True, "own/rnn/": False}
    agree(path, model.layers[0](X), X, prefix="rnn/")
