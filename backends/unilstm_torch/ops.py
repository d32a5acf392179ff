"""unilstm.ops.Ops in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from unilstm.calls import whole_numbers
from unilstm.errors import InputError
from unilstm.masks import INTEGERS, split_key
from unilstm_kernels import library, masks

Tensor = torch.Tensor


_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


class TorchWords:
    """32-bit words in int64, which every device has; masked after each addition."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def counter(self, count: int) -> Any:
        return torch.arange(count, dtype=torch.int64, device=self.device)

    def constant(self, value: int) -> Any:
        return value


class TorchOps:
    """Bound to a device only for what it creates from nothing."""

    def __init__(self, device: Any = None) -> None:
        self.words = TorchWords(device)

    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    exp = staticmethod(torch.exp)
    expm1 = staticmethod(torch.expm1)
    log1p = staticmethod(torch.log1p)
    sqrt = staticmethod(torch.sqrt)
    abs = staticmethod(torch.abs)
    where = staticmethod(torch.where)
    linear = staticmethod(functional.linear)

    def maximum(self, x: Tensor, bound: float) -> Tensor:
        return torch.clamp(x, min=bound)

    def minimum(self, x: Tensor, bound: float) -> Tensor:
        return torch.clamp(x, max=bound)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return torch.clamp(x, low, high)

    def sum(self, x: Tensor) -> Tensor:
        return x.sum(-1, keepdim=True)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.reshape(tuple(shape))

    def transpose(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)

    def split(self, x: Tensor, count: int) -> Sequence[Tensor]:
        return x.chunk(count, -1)

    def concat(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), -1)

    def stack(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts))

    def expand(self, x: Tensor, rows: int) -> Tensor:
        return x.expand(rows, *x.shape)

    def full(self, value: float, like: Tensor) -> Tensor:
        return torch.full((), value, dtype=like.dtype, device=like.device)

    def zeros(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return torch.zeros(tuple(shape), dtype=like.dtype, device=like.device)

    def valid(self, steps: int, lengths: Tensor, like: Tensor) -> Tensor:
        return (torch.arange(steps, device=like.device)[:, None] < lengths[None, :])[:, :, None]

    def scan(self, body: Any, carry: Any, xs: Any, reverse: bool) -> tuple[Any, Any]:
        steps = next(x.shape[0] for x in xs if x is not None)
        rows = [None if x is None else x.unbind(0) for x in xs]
        outs: list[Any] = [None] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            carry, outs[t] = body(carry, tuple(None if row is None else row[t] for row in rows))
        return carry, tuple(torch.stack(column) for column in zip(*outs, strict=True))

    def associative(self, a: Tensor, b: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
        """In two levels, √T chunks of √T steps: all chunks at once, then what each passes on to the next. That is 2√T
        rounds with 2T operations; log T rounds need T·log T, which is slower where T·B·H fills the machine."""
        if reverse:
            a, b = a.flip(0), b.flip(0)
        steps, rest = a.shape[0], a.shape[1:]
        size = math.isqrt(steps - 1) + 1
        chunks = -(-steps // size)
        more = chunks * size - steps
        a = torch.cat([a, a.new_ones(more, *rest)]).view(chunks, size, *rest)
        b = torch.cat([b, b.new_zeros(more, *rest)]).view(chunks, size, *rest)
        a, b = _running(a.unbind(1), b.unbind(1))  # [size, chunks, ...]
        before_a, before_b = (
            _running(a[-1].unbind(0)[:-1], b[-1].unbind(0)[:-1]) if chunks > 1 else (a[:0, 0], b[:0, 0])
        )
        before_a = torch.cat([a.new_ones(1, *rest), before_a])
        before_b = torch.cat([b.new_zeros(1, *rest), before_b])
        b = torch.addcmul(b, a, before_b)
        pairs = [v.transpose(0, 1).reshape(-1, *rest)[:steps] for v in (a * before_a, b)]
        return (pairs[0].flip(0), pairs[1].flip(0)) if reverse else (pairs[0], pairs[1])

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor)

    def tensor_kind(self) -> str:
        return "torch.Tensor"

    def dtype(self, x: Tensor) -> str:
        return _DTYPES.get(x.dtype) or str(x.dtype).removeprefix("torch.")

    def lengths(self, lengths: Any, like: Tensor) -> tuple[Tensor, Any]:
        if not isinstance(lengths, torch.Tensor):
            known = whole_numbers(lengths)
            return torch.as_tensor(known.astype(np.int64), device=like.device), known
        if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
            raise InputError(f"lengths is {lengths.dtype}, but must hold whole numbers. Use lengths.long().")
        known = None if tracing() else lengths.detach().cpu().numpy()
        return lengths.to(device=like.device, dtype=torch.int64), known

    def key(self, key: Any, like: Tensor) -> tuple[Any, Any]:
        if isinstance(key, INTEGERS):
            return split_key(key)
        words = torch.as_tensor(key, device=like.device)
        if tuple(words.shape) != (2,) or words.is_floating_point():
            raise InputError(f"key={key!r} must be a whole number in [0, 2**64) or two 32-bit words.")
        words = words.to(torch.int64) & 0xFFFFFFFF
        return words[0], words[1]

    def draw(self, key: Any, stream: int, shape: Any, least: int, kept: float, like: Tensor) -> Tensor | None:
        if tracing() or torch.jit.is_tracing() or type(like) not in (Tensor, torch.nn.Parameter) or library.missing():
            return None
        if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
            return None
        out = torch.empty(shape, dtype=like.dtype, device=like.device)  # whatever torch.device() says around it
        return masks.draw(out, Tensor.data_ptr, key, stream, least, kept, double=like.dtype == torch.float64)


def _running(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The pairs (a, b) composed one after the other, up to each."""
    all_a, all_b = [a[0]], [b[0]]
    for one_a, one_b in zip(a[1:], b[1:], strict=True):
        all_b.append(torch.addcmul(one_b, one_a, all_b[-1]))
        all_a.append(one_a * all_a[-1])
    return torch.stack(all_a), torch.stack(all_b)


def tracing() -> bool:
    """Are values unknown here: inside torch.compile, torch.export or a torch.func transform?"""
    # The functorch query is private, but it is the one that autograd.Function.apply itself makes.
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
