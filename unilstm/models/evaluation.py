"""How well a language model knows a text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import InputError
from ..parameters import Array
from .text import streams

_WINDOW = 256  # steps a call; the state is carried, so that it changes nothing but the memory needed


def bits_per_character(model: Any, ids: Array, rows: int = 1) -> float:
    """The mean of -log2 P(character | all before it), over all characters but the first.

    rows: read the text as so many pieces side by side, each starting without a past: faster, and a little too high.
    """
    if len(ids) < 2:
        raise InputError(
            f"the text has {len(ids)} characters, but at least 2 are needed: the first predicts the second."
        )
    inputs, targets = streams(ids, min(rows, len(ids) - 1))
    bits, state = 0.0, None
    for at in range(0, inputs.shape[1], _WINDOW):
        window = slice(at, at + _WINDOW)
        probabilities, state = model.predict(inputs[:, window], state)
        p = np.take_along_axis(model.to_numpy(probabilities), targets[:, window, None], -1).astype(np.float64)
        bits -= float(np.log2(np.maximum(p, np.finfo(np.float32).tiny)).sum())
    return bits / inputs.size


def perplexity(bits: float) -> float:
    """2 to the power of the bits: how many equally likely characters would be as hard to guess."""
    return math.exp2(bits)
