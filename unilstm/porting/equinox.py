"""equinox.nn.LSTMCell: one cell, of one sample, which unilstm runs over steps and batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..weights import Weights
from .objects import kind_of


def recognise(module: Any) -> Weights | None:
    """The weights of a cell of equinox."""
    if kind_of(module, "equinox.nn", ("LSTMCell",), ("__call__",)) is None:
        return None
    names = ("weight_ih", "weight_hh", *(["bias"] if module.use_bias else []))
    arrays = {name: np.array(getattr(module, name)) for name in names}
    return Weights.from_layout("equinox", arrays, use_bias=module.use_bias)
