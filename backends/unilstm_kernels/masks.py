"""Masks of dropout, drawn by the library: the bits of unilstm/masks.py, without a tensor for each of its operations."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

from . import library


class _MaskJob(ctypes.Structure):
    """The other side of source/masks_job.h."""

    _fields_ = [
        ("count", ctypes.c_int64),
        ("key", ctypes.c_uint32 * 2),
        ("stream", ctypes.c_uint32),
        ("least", ctypes.c_uint32),
        ("kept", ctypes.c_double),
        ("double", ctypes.c_int64),
        ("out", ctypes.c_void_p),
    ]


def draw(
    out: Any,
    pointer: Callable[[Any], int],
    key: tuple[Any, Any],
    stream: int,
    least: int,
    kept: float,
    *,
    double: bool,
) -> Any:
    """out, dense, filled: kept where the first word of (its element, stream) under key is at least `least`, else 0."""
    found = library.library()
    assert not isinstance(found, str), found  # the caller looked for it
    words = (ctypes.c_uint32 * 2)(int(key[0]), int(key[1]))
    found.unilstm_mask(ctypes.byref(_MaskJob(math.prod(out.shape), words, stream, least, kept, double, pointer(out))))
    return out
