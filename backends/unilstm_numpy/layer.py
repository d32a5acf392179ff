"""The LSTM as a plain callable over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unilstm.errors import InputError
from unilstm.layer import LayerMethods
from unilstm.paths import Path, check_path
from unilstm.weights import Weights

from . import streaming
from .native import paths
from .ops import OPS, NumpyOps
from .vjp import vjp


class LSTM(LayerMethods):
    """An LSTM over NumPy arrays: y, (h_n, c_n) = lstm(x, state, lengths=…).

    vjp() differentiates, in float32 and float64. Dropout acts where a call gives key= or masks=, and only there.
    """

    def __init__(self, weights: Weights, *, device: Any = None, path: str = "auto") -> None:
        check_device(device)
        check_path(path, paths(weights.spec, weights.dtype))
        self.spec, self.path, self._weights = weights.spec, path, weights

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        key: Any = None,
        masks: Any = None,
        return_cell_sequence: bool = False,
    ) -> Any:
        """x: [B, T, I] (or as spec.batch_first says), or [T, I]. Returns y, (h_n, c_n)[, c of every step]."""
        return self._run(x, state, lengths, self._masks(key, masks, x, None), return_cell_sequence)

    def vjp(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        key: Any = None,
        masks: Any = None,
        return_cell_sequence: bool = False,
    ) -> Any:
        """A call and its derivative: (y, (h_n, c_n)[, c of every step]), pull.

        pull(d_y, (d_h_n, d_c_n)[, d_c]), None in the place of zeros, returns the gradients of sum(y·d_y) + … by name:
        "x", "h_0" and "c_0" where a state was given, and the canonical names of the parameters. It reads x, the state
        and y once more: do not write into them before. Only the project's kernel differentiates here: raises PathError,
        with the reason, for a layer or a call that it does not serve; pull raises InputError for a gradient of another
        shape than that of which it is.
        """
        return vjp(self, x, state, lengths, self._masks(key, masks, x, None), return_cell_sequence)

    def step(self, x: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        """One step of a stream: x [B, I] or [I] → h, (h_n, c_n)."""
        masks = self._masks(key, masks, x, None)
        plain = masks is None and state is not None and self._own_names
        return (streaming.step(self, x, state) if plain else None) or self._run_step(x, state, masks)

    def _steps(self, h: Any, c: Any, rows: int | None) -> streaming.Steps | None:
        return streaming.steps(self, h, c, rows)

    def weights(self) -> Weights:
        return self._weights

    def __repr__(self) -> str:
        return f"unilstm_numpy.LSTM({self.spec!r}, path={self.path!r})"

    def _ops(self) -> NumpyOps:
        return OPS

    def _tensors(self) -> dict[str, Any]:
        return dict(self._weights)

    def _paths(self, dtype: str) -> Sequence[Path]:
        return paths(self.spec, dtype)


def check_device(device: Any) -> None:
    if device not in (None, "cpu"):
        raise InputError(f"device={device!r}: NumPy computes on the CPU. Leave device out.")
