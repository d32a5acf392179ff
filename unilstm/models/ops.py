"""The tensor operations that models use beside those of the LSTM's equations (unilstm/ops.py)."""

from __future__ import annotations

from typing import Any, Protocol

from ..ops import Ops, Tensor


class ModelOps(Ops, Protocol):
    """What a backend computes models with. Token ids and class numbers are integer tensors."""

    def ids(self, x: Any, like: Tensor) -> tuple[Tensor, Any]:
        """Whole numbers (a native tensor, a NumPy array or a list) as an integer tensor beside `like`; and as a NumPy
        array where their values are known without waiting for a device, else None. Raises InputError for others."""

    def take(self, table: Tensor, ids: Tensor) -> Tensor:
        """Rows of a table: [V, F], [...] → [..., F]."""

    def pick(self, x: Tensor, ids: Tensor) -> Tensor:
        """One value of the last axis each: [..., V], [...] → [...]."""

    def log_softmax(self, x: Tensor) -> Tensor:
        """Over the last axis."""

    def total(self, x: Tensor) -> Tensor:
        """The sum of everything, a scalar."""

    def detach(self, x: Tensor) -> Tensor:
        """The same values, through which no gradient flows."""
