"""Several lanes of memory that share one h, and how they are joined (Rocki 2016, Recurrent Memory Array Structures)."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops import Ops, Tensor


def attention(ops: Ops, pooling: str, a: Sequence[Tensor]) -> list[Tensor]:
    """How much each lane takes part, unit by unit: softmax over the lanes of a in (0, 1), which cannot overflow; or,
    for every lane, the largest of them ("attention-max")."""
    weights = [ops.exp(one) for one in a]
    total = weights[0]
    for one in weights[1:]:
        total = total + one
    shares = [one / total for one in weights]
    if pooling == "attention":
        return shares
    largest = shares[0]
    for one in shares[1:]:
        largest = ops.where(one > largest, one, largest)
    return [largest] * len(shares)


def pooled(ops: Ops, pooling: str, o: Sequence[Tensor], m: Sequence[Tensor]) -> Tensor:
    """One m out of the lanes' m: their sum, or, unit by unit, that of the lane whose output gate is most open."""
    joined, widest = m[0], o[0]
    for gate, one in zip(o[1:], m[1:], strict=True):
        if pooling == "argmax":  # the first of equals
            joined, widest = ops.where(gate > widest, one, joined), ops.where(gate > widest, gate, widest)
        else:
            joined = joined + one
    return joined
