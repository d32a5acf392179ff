"""Keras 3: LSTM, RNN(LSTMCell), Bidirectional of them, and a Sequential of LSTMs.

go_backwards becomes direction="reverse", whose outputs are in the order of time. return_sequences, return_state and
unroll say nothing of the LSTM; initializers, unit_forget_bias among them, have acted already; seed is that of masks
which unilstm draws itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ..errors import PortError
from ..weights import Weights
from .objects import kind_of, refuse
from .stack import stacked

_METHODS = ("call", "inner_loop", "step", "get_initial_state")
_NAMES = ("kernel", "recurrent_kernel", "bias")
_OF_LOSS = ("kernel", "recurrent", "bias", "activity")


def recognise(layer: Any) -> Weights | None:
    """The weights of a Keras layer, or of a Sequential of such layers."""
    if kind_of(layer, "keras", ("Sequential",), _METHODS):
        return stacked([_of_model(layer, part) for part in layer.layers])
    return _one(layer)


def _one(layer: Any) -> Weights | None:
    kind = kind_of(layer, "keras.layers", ("LSTM", "RNN", "Bidirectional"), _METHODS)
    if kind is None:
        return None
    sides = (layer.forward_layer, layer.backward_layer) if kind == "Bidirectional" else (layer,)
    if not all(_is_lstm(side) for side in sides):
        return None
    if not layer.built:
        raise PortError(f"{layer.name!r} has no weights yet. Call it once, or layer.build((None, None, features)).")
    for side in sides:
        _check(side)
    own = {"module": "keras.layers", "class_name": kind, "config": layer.get_config()}
    if kind == "Bidirectional" and layer.merge_mode is None:
        rule = "gives two outputs, unilstm one. Set layer.merge_mode = 'concat', and split what the ported layer gives."
        raise refuse(layer, "merge_mode", None, rule)
    arrays: dict[str, Any] = {}
    for place, side in zip(("forward_lstm/lstm_cell/", "backward_lstm/lstm_cell/"), sides, strict=False):
        before = place if len(sides) == 2 else ""
        arrays |= {before + name: value for name, value in zip(_NAMES, side.get_weights(), strict=False)}
    return _weights(layer, own, arrays)


def _weights(layer: Any, own: Mapping[str, Any], arrays: Mapping[str, Any]) -> Weights:
    """What the configuration says, in the terms of the files' reader, and the arrays."""
    from ..checkpoints import keras_config

    (told,) = keras_config.lstms({"config": {"layers": [own]}}, sys.modules["keras"].__version__)
    if told.problem is not None:
        raise PortError(f"{layer.name!r} cannot be ported: {told.problem}.")
    if told.lost is not None:
        raise PortError(
            f"{layer.name!r}: {told.lost}. Build the layer with one of the two, or pass layer.get_weights() to "
            "unilstm.Weights.from_layout('keras', …), which takes it without."
        )
    weights = Weights.from_layout(told.layout, arrays, **told.config)
    return Weights(weights.spec.replace(**told.fields), weights) if told.fields else weights


def _is_lstm(layer: Any) -> bool:
    """Is it an LSTM, or an RNN around one cell of it?"""
    if kind_of(layer, "keras.layers", ("LSTM", "RNN"), _METHODS) is None:
        return False
    return kind_of(layer.cell, "keras.layers", ("LSTMCell",), _METHODS) is not None


def _check(layer: Any) -> None:
    """Raise PortError for what a spec has no place for, and an LSTM's configuration does not always say."""
    cell = layer.cell
    if layer.stateful:
        rule = "keeps the state from call to call. Set layer.stateful = False, and pass the state to the ported layer."
        raise refuse(layer, "stateful", True, rule)
    for name in _OF_LOSS:
        for what in ("regularizer", "constraint"):
            value = getattr(layer if name == "activity" else cell, f"{name}_{what}", None)
            if value is not None:
                raise refuse(
                    layer,
                    f"{name}_{what}",
                    value,
                    "acts in training, and is no part of an LSTM. Set it to None, and add it to the loss or optimizer "
                    "that trains the ported layer.",
                )
    if cell.dropout and not cell.recurrent_dropout and cell.implementation == 1:
        raise refuse(layer, "implementation", 1, "has a mask a gate for dropout, unilstm one. Build it with 2.")
    if layer.compute_dtype != layer.variable_dtype:
        rule = f"computes in another dtype than that of its weights, {layer.variable_dtype}. Set it to that."
        raise refuse(layer, "dtype", layer.compute_dtype, rule)


def _of_model(model: Any, layer: Any) -> Weights:
    weights = _one(layer)
    if weights is None:
        raise PortError(
            f"{model.name!r} has a layer {layer.name!r}, a {type(layer).__name__}, which is no LSTM. Port a list of "
            "those that are: [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]."
        )
    return weights
