"""unilstm.ops.Ops in PaddlePaddle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import _C_ops
from paddle.nn import functional

from unilstm.calls import whole_numbers
from unilstm.errors import InputError
from unilstm.masks import INTEGERS, split_key
from unilstm_kernels import library, masks

Tensor = Any


class PaddleWords:
    """32-bit words in int64; a bitwise operator takes no Python number here, so constants are tensors."""

    def counter(self, count: int) -> Tensor:
        return paddle.arange(count, dtype="int64")

    def constant(self, value: int) -> Tensor:
        return paddle.full([], value, dtype="int64")


class PaddleOps:
    words = PaddleWords()

    sigmoid = staticmethod(functional.sigmoid)
    tanh = staticmethod(paddle.tanh)
    exp = staticmethod(paddle.exp)
    expm1 = staticmethod(paddle.expm1)
    log1p = staticmethod(paddle.log1p)
    sqrt = staticmethod(paddle.sqrt)
    abs = staticmethod(paddle.abs)
    where = staticmethod(paddle.where)

    def maximum(self, x: Tensor, bound: float) -> Tensor:
        return paddle.clip(x, min=bound)

    def minimum(self, x: Tensor, bound: float) -> Tensor:
        return paddle.clip(x, max=bound)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return paddle.clip(x, low, high)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return paddle.matmul(x, weight, transpose_y=True)

    def sum(self, x: Tensor) -> Tensor:
        return paddle.sum(x, axis=-1, keepdim=True)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        if paddle.in_dynamic_mode():  # in half the time of paddle.reshape
            return _C_ops.reshape(x, list(shape))
        return paddle.reshape(x, list(shape))

    def transpose(self, x: Tensor) -> Tensor:
        return paddle.transpose(x, [1, 0, *range(2, len(x.shape))])

    def split(self, x: Tensor, count: int) -> Sequence[Tensor]:
        return paddle.chunk(x, count, axis=-1)  # type: ignore[no-any-return]

    def concat(self, parts: Sequence[Tensor]) -> Tensor:
        return paddle.concat(list(parts), axis=-1)

    def stack(self, parts: Sequence[Tensor]) -> Tensor:
        return paddle.stack(list(parts))

    def expand(self, x: Tensor, rows: int) -> Tensor:
        return paddle.expand(x, [rows, *x.shape])

    def full(self, value: float, like: Tensor) -> Tensor:
        return paddle.full([], value, dtype=like.dtype)

    def zeros(self, shape: Sequence[int], like: Tensor) -> Tensor:
        if paddle.in_dynamic_mode():  # beside `like`, and in a quarter of the time of paddle.zeros
            return _C_ops.full(list(shape), 0.0, like.dtype, like.place)
        return paddle.zeros(list(shape), dtype=like.dtype)

    def valid(self, steps: int, lengths: Tensor, like: Tensor) -> Tensor:
        return (paddle.arange(steps, dtype="int64")[:, None] < lengths[None, :])[:, :, None]

    def scan(self, body: Any, carry: Any, xs: Any, reverse: bool) -> tuple[Any, Any]:
        steps = next(x.shape[0] for x in xs if x is not None)
        rows = [None if x is None else paddle.unbind(x, 0) for x in xs]
        outs: list[Any] = [None] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            carry, outs[t] = body(carry, tuple(None if row is None else row[t] for row in rows))
        return carry, tuple(paddle.stack(list(column)) for column in zip(*outs, strict=True))

    def is_tensor(self, x: Any) -> bool:
        return paddle.is_tensor(x)  # type: ignore[no-any-return]

    def tensor_kind(self) -> str:
        return "paddle.Tensor"

    def dtype(self, x: Tensor) -> str:
        return dtype_name(x.dtype)

    def lengths(self, lengths: Any, like: Tensor) -> tuple[Tensor, Any]:
        if not self.is_tensor(lengths):
            known = whole_numbers(lengths)
            return paddle.to_tensor(known.astype(np.int64), place=like.place), known
        if dtype_name(lengths.dtype) not in ("int64", "int32", "int16", "int8", "uint8"):
            raise InputError(f"lengths is {lengths.dtype}, but must hold whole numbers. Use lengths.astype('int64').")
        known = lengths.numpy() if paddle.in_dynamic_mode() else None
        return lengths.astype("int64"), known

    def key(self, key: Any, like: Tensor) -> tuple[Any, Any]:
        if isinstance(key, INTEGERS):
            low, high = split_key(key)
            return self.words.constant(low), self.words.constant(high)
        words = key if self.is_tensor(key) else _words(key)
        if list(words.shape) != [2] or words.is_floating_point():
            raise InputError(f"key={key!r} must be a whole number in [0, 2**64) or two 32-bit words.")
        words = words.astype("int64") & self.words.constant(0xFFFFFFFF)
        return words[0], words[1]

    def draw(self, key: Any, stream: int, shape: Any, least: int, kept: float, like: Tensor) -> Tensor | None:
        plain = paddle.in_dynamic_mode() and dtype_name(like.dtype) in ("float32", "float64")
        if not plain or not like.place.is_cpu_place() or library.missing():
            return None
        out = _C_ops.empty(list(shape), like.dtype, like.place)  # wherever others are made
        return masks.draw(out, lambda t: t.data_ptr(), key, stream, least, kept, double=like.dtype == paddle.float64)


def _words(key: Any) -> Tensor:
    array = np.asarray(key)
    return paddle.to_tensor(array.astype(np.int64) if array.dtype.kind == "u" else array)  # Paddle has no uint32


def dtype_name(dtype: Any) -> str:
    """paddle.float32, and DataType.FLOAT32 in a static graph, as "float32"."""
    return _NAMES.get(dtype) or str(dtype).rpartition(".")[2].lower()


# Of the dtypes that a layer may have: the name of a dtype takes longer than to look it up.
_NAMES = {paddle.float32: "float32", paddle.float64: "float64"}


OPS = PaddleOps()
