"""Layer normalisation over the last axis (Ba, Kiros & Hinton 2016, eqs. 3-4), without scale and shift."""

from __future__ import annotations

from ..ops import Ops, Tensor


def normalized(ops: Ops, v: Tensor, eps: float) -> Tensor:
    """(v - mean) / √(variance + eps), the variance being that of the features themselves (biased): [..., F]."""
    count = v.shape[-1]
    v = v - ops.sum(v) / count
    return v / ops.sqrt(ops.sum(v * v) / count + eps)
