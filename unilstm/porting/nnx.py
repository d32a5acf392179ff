"""flax.nnx: LSTMCell and OptimizedLSTMCell, alone or in RNN and Bidirectional.

reverse=True becomes direction="reverse", whose outputs are in the order of time, as with keep_order=True.
"""

from __future__ import annotations

import sys
from typing import Any

from ..weights import Weights
from . import flax
from .objects import flat, refuse


def recognise(module: Any) -> Weights | None:
    """The weights of a module of flax.nnx."""
    found = flax.arguments(module, "flax.nnx", "flax.nnx.nn.recurrent")
    if found is None:
        return None
    nnx = sys.modules["flax.nnx"]
    for _, cell in nnx.iter_modules(module):
        promote = getattr(cell, "promote_dtype", None)
        if promote is not None and not str(promote.__module__).startswith("flax."):
            rule = "is a function, which cannot be read. Leave it out."
            raise refuse(cell, "promote_dtype", promote, rule)
    return Weights.from_layout("nnx", flat(nnx.to_pure_dict(nnx.state(module, nnx.Param))), **found)
