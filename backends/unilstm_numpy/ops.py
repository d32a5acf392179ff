"""unilstm.ops.Ops in NumPy."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from unilstm.calls import whole_numbers
from unilstm.errors import InputError
from unilstm.masks import INTEGERS, NUMPY_WORDS, split_key
from unilstm_kernels import library, masks

Array = Any


class NumpyOps:
    words = NUMPY_WORDS

    def sigmoid(self, x: Array) -> Array:
        # 1/(1+e) with e = exp(-|x|) cannot overflow, and is accurate in both tails.
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1.0, e) / (1.0 + e)

    tanh = staticmethod(np.tanh)
    exp = staticmethod(np.exp)
    expm1 = staticmethod(np.expm1)
    log1p = staticmethod(np.log1p)
    sqrt = staticmethod(np.sqrt)
    abs = staticmethod(np.abs)
    maximum = staticmethod(np.maximum)
    minimum = staticmethod(np.minimum)
    clip = staticmethod(np.clip)
    where = staticmethod(np.where)

    def linear(self, x: Array, weight: Array) -> Array:
        return x @ weight.T

    def sum(self, x: Array) -> Array:
        return np.sum(x, axis=-1, keepdims=True)

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return np.reshape(x, tuple(shape))

    def transpose(self, x: Array) -> Array:
        return np.swapaxes(x, 0, 1)

    def split(self, x: Array, count: int) -> Sequence[Array]:
        return np.split(x, count, axis=-1)

    def concat(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=-1)

    def stack(self, parts: Sequence[Array]) -> Array:
        return np.stack(parts)

    def expand(self, x: Array, rows: int) -> Array:
        return np.broadcast_to(x, (rows, *x.shape))

    def full(self, value: float, like: Array) -> Array:
        return like.dtype.type(value)

    def zeros(self, shape: Sequence[int], like: Array) -> Array:
        return np.zeros(tuple(shape), like.dtype)

    def valid(self, steps: int, lengths: Array, like: Array) -> Array:
        return (np.arange(steps)[:, None] < lengths[None, :])[:, :, None]

    def scan(self, body: Any, carry: Any, xs: Any, reverse: bool) -> tuple[Any, Any]:
        steps = next(len(x) for x in xs if x is not None)
        outs: list[Any] = [None] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            carry, outs[t] = body(carry, tuple(None if x is None else x[t] for x in xs))
        return carry, tuple(np.stack(column) for column in zip(*outs, strict=True))

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, np.ndarray) and not isinstance(x, np.ma.MaskedArray)

    def tensor_kind(self) -> str:
        return "numpy.ndarray"

    def dtype(self, x: Array) -> str:
        return _dtype_name(x.dtype)

    def lengths(self, lengths: Any, like: Array) -> tuple[Array, Any]:
        known = whole_numbers(lengths)
        return known, known

    def key(self, key: Any, like: Array) -> tuple[Any, Any]:
        if isinstance(key, INTEGERS):
            key = split_key(key)
        words = np.asarray(key)
        if words.shape != (2,) or words.dtype.kind not in "iu":
            raise InputError(f"key={key!r} must be a whole number in [0, 2**64) or two 32-bit words.")
        low, high = (np.uint64(int(w) & 0xFFFFFFFF) for w in words)
        return low, high

    def draw(self, key: Any, stream: int, shape: Any, least: int, kept: float, like: Array) -> Array | None:
        if like.dtype not in (np.float32, np.float64) or library.missing():
            return None
        out, double = np.empty(shape, like.dtype), like.dtype == np.float64
        return masks.draw(out, lambda a: a.ctypes.data, key, stream, least, kept, double=double)


@functools.cache
def _dtype_name(dtype: Any) -> str:
    return str(dtype)  # which takes longer than most that a call does


OPS = NumpyOps()
