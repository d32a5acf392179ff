"""compat.keras beside Keras itself: building, weights, initializers, and the arguments that are refused."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import unilstm
from compat_cases import original
from conftest import close, require
from unilstm.compat.keras import LSTM, Bidirectional

require("torch")
keras = original("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

B, T, F, H = 3, 5, 4, 6
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1]], bool)


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
