"""Layers that keep their parameters under another system's names, over NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unilstm.named import NamedTensors
from unilstm.paths import Path
from unilstm.stored import Counted, Draws, StoredMethods

from .layer import LSTM, check_device
from .native import paths
from .ops import OPS, NumpyOps
from .plugin import NumpyBackend

Array = Any


class StoredLSTM(NamedTensors, StoredMethods, LSTM):
    def __init__(self) -> None:
        self.params: dict[str, Array] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def _store(
        self,
        values: Mapping[str, Any],
        dtype: str,
        device: Any,
        *,
        frozen: Iterable[str] = (),
        buffers: Iterable[str] = (),
    ) -> None:
        check_device(device)
        self.params |= {name: np.array(value, dtype) for name, value in values.items()}

    def _versions(self) -> Any:
        return list(map(id, self.params.values()))

    def _memory(self) -> Any:
        return list(self.params.values())

    def _array(self, tensor: Array) -> Array:
        return np.array(tensor)

    def _lstm(self, x: Any, state: Any = None, **kwargs: Any) -> Any:
        return LSTM.__call__(self, x, state, **kwargs)

    def _draws(self, dtype: str, device: Any) -> Draws:
        return Counted(NumpyBackend().draw_seed())

    def _default_dtype(self) -> str:
        return "float32"

    def _tensor(self, x: Any) -> Array:
        return np.asarray(x, next(iter(self.params.values())).dtype)

    def _copy(self, x: Array) -> Array:
        return np.array(x)

    def _detach(self, x: Array) -> Array:
        return x

    def _flip(self, x: Array) -> Array:
        return x[:, ::-1]

    def _model_ops(self) -> Any:
        from .models import OPS

        return OPS

    def _tracing(self, x: Array) -> bool:
        return False

    def _valid_first(self, mask: Any, like: Array) -> tuple[Array, Array, Array]:
        keep = np.asarray(mask, bool)
        order = np.argsort(~keep, axis=1, kind="stable")
        return order, np.argsort(order, axis=1), keep.sum(1)

    def _take_steps(self, x: Array, order: Array) -> Array:
        return np.take_along_axis(x, order[:, :, None], 1)

    def _ops(self) -> NumpyOps:
        return OPS

    def _paths(self, dtype: str) -> Sequence[Path]:
        return paths(self.spec, dtype)
