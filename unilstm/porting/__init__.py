"""Layers of frameworks that are no backend of unilstm, as they are: one small file a system.

Each has recognise(layer), which gives the weights of a layer of that system and None for anything else. None of them
imports its framework: an object of it can only exist where that has been imported, so its classes are looked up there.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from ..weights import Weights

# What must have been imported for there to be such a layer → the file that knows it.
SYSTEMS = {"keras": "keras", "flax.linen": "flax", "flax.nnx": "nnx", "equinox": "equinox"}
LAYOUTS = ("torch", "paddle", *SYSTEMS.values(), "haiku")  # of all that is ported as it is, by a backend or here
TITLES = (
    "keras.layers.LSTM, a Bidirectional or RNN of it, a Sequential of them; flax.linen's and flax.nnx's LSTMCell, RNN "
    "and Bidirectional; equinox.nn.LSTMCell; haiku's parameters of one LSTM; a list of one-layer LSTMs"
)


def recognise(layer: Any) -> Weights | None:
    """The weights of a layer of another system; None if it is of none of those here.

    Raises PortError for one that has something unilstm cannot say, naming it, and LayoutError for such arrays.
    """
    from . import haiku, stack

    for package, name in SYSTEMS.items():
        if package in sys.modules:
            found: Weights | None = import_module(f".{name}", __package__).recognise(layer)
            if found is not None:
                return found
    return haiku.recognise(layer) if haiku.is_mapping(layer) else stack.recognise(layer)
