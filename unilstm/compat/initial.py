"""Initial values that several systems share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..stored import Draws, Shape

Array = np.ndarray[Any, np.dtype[Any]]


def orthogonal(draws: Draws, rows: int, columns: int) -> Array:
    """Saxe et al. 2014: the Q of a normal matrix, signs fixed so that it is uniformly distributed."""
    q, r = np.linalg.qr(draws.normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if rows >= columns else q.T)


def linear(draws: Draws, shape: Shape, fan_in: int) -> Any:
    """The weight [out, in] or the bias [out] of a torch.nn.Linear: U(±1/√in), to the bit as torch rounds it."""
    if len(shape) == 1:
        bound = 1.0 / math.sqrt(fan_in)
    else:  # He et al. 2015 with a slope of √5
        bound = math.sqrt(3.0) * (math.sqrt(2.0 / (1.0 + math.sqrt(5.0) ** 2)) / math.sqrt(fan_in))
    return draws.uniform(shape, -bound, bound)
