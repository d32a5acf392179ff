"""The tensor operations that the equations use. A backend implements these and gets every variant.

Arrays also carry the operators + - * / and comparisons. Nothing here may branch on the values of a tensor: a
data-dependent branch breaks tracing and couples the rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .masks import Words

Tensor = Any
Body = Callable[[Any, Any], tuple[Any, Any]]


class Ops(Protocol):
    """What a backend computes with. Shapes in brackets; axes count as in NumPy."""

    words: Words

    # Elementwise. `maximum` and `minimum` take a Python number on the right.
    def sigmoid(self, x: Tensor) -> Tensor: ...
    def tanh(self, x: Tensor) -> Tensor: ...
    def exp(self, x: Tensor) -> Tensor: ...
    def expm1(self, x: Tensor) -> Tensor: ...
    def log1p(self, x: Tensor) -> Tensor: ...
    def sqrt(self, x: Tensor) -> Tensor: ...
    def abs(self, x: Tensor) -> Tensor: ...
    def maximum(self, x: Tensor, bound: float) -> Tensor: ...
    def minimum(self, x: Tensor, bound: float) -> Tensor: ...
    def clip(self, x: Tensor, low: float, high: float) -> Tensor: ...
    def where(self, condition: Tensor, x: Tensor, y: Tensor) -> Tensor: ...

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """x @ weight.T: [..., in], [out, in] → [..., out]."""

    def sum(self, x: Tensor) -> Tensor:
        """Over the last axis, which stays, with size 1."""

    # Shape.
    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor: ...
    def transpose(self, x: Tensor) -> Tensor:
        """Swap the first two axes."""

    def split(self, x: Tensor, count: int) -> Sequence[Tensor]:
        """Equal parts of the last axis."""

    def concat(self, parts: Sequence[Tensor]) -> Tensor:
        """Join along the last axis."""

    def stack(self, parts: Sequence[Tensor]) -> Tensor:
        """Join along a new first axis."""

    def expand(self, x: Tensor, rows: int) -> Tensor:
        """[...] → [rows, ...], every row the same."""

    # Creation.
    def full(self, value: float, like: Tensor) -> Tensor:
        """A scalar of the dtype and device of `like`."""

    def zeros(self, shape: Sequence[int], like: Tensor) -> Tensor: ...

    def valid(self, steps: int, lengths: Tensor, like: Tensor) -> Tensor:
        """[T, B, 1], boolean: is step t before the row's length?"""

    def scan(self, body: Body, carry: Any, xs: Any, reverse: bool) -> tuple[Any, Any]:
        """carry, out = body(carry, xs[t]) for every t; returns the last carry and the outs stacked in order of t.

        xs is a tuple of arrays with a leading time axis, or None in the place of one that is not there.
        """

    # Offered by some backends, for the parallel path: associative(a, b, reverse), the pairs (a, b) of c = a·c' + b
    # [T, ...] composed from the first step (the last, if reverse) up to each.
    # And draw(key, stream, shape, least, kept, like): a mask as masks.keep_mask makes it, or None where it cannot.

    # At the border: what a call was given.
    def is_tensor(self, x: Any) -> bool: ...
    def tensor_kind(self) -> str:
        """The type to name in an error, such as "torch.Tensor"."""

    def dtype(self, x: Tensor) -> str:
        """Such as "float32"."""

    def lengths(self, lengths: Any, like: Tensor) -> tuple[Tensor, Any]:
        """Lengths as an integer tensor beside `like`, and as a NumPy array where their values are known, else None."""

    def key(self, key: Any, like: Tensor) -> tuple[Any, Any]:
        """The two words of a key: an int in [0, 2**64), an array of two words, or the framework's own key."""
