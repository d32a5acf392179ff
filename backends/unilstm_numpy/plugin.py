"""Registration of the NumPy backend."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from unilstm.hookspecs import hookimpl
from unilstm.weights import Weights

if TYPE_CHECKING:
    from unilstm.models.weights import ModelWeights


class NumpyBackend:
    name = "numpy"
    distribution = "numpy"
    extra = ""

    def load(self) -> None:
        from . import layer  # noqa: F401

    def layer(self, weights: Weights, *, device: Any, path: str) -> Any:
        from .layer import LSTM

        return LSTM(weights, device=device, path=path)

    def model(self, weights: ModelWeights, *, device: Any, path: str) -> Any:
        from .models import model

        return model(weights, device=device, path=path)

    def stored(self) -> type:
        from .stored import StoredLSTM

        return StoredLSTM

    def draw_seed(self) -> int:
        # The legacy generator, because np.random.seed is what makes a NumPy script reproducible.
        return int(np.random.randint(0, 2**63 - 1, dtype=np.int64))

    def devices(self) -> list[str]:
        return ["cpu"]

    def paths(self) -> tuple[str, ...]:
        return ("composed",)

    def recognise(self, module: Any) -> Weights | None:
        return None  # a unilstm layer is recognised by its weights(); NumPy has no LSTM of its own

    def array(self, tensor: Any) -> Any:
        return np.array(tensor)

    def tensor(self, array: Any, device: Any = None) -> Any:
        return np.array(array)

    def vjp(self) -> None:
        return None

    def scope(self, dtype: str) -> Any:
        return contextlib.nullcontext()


@hookimpl
def unilstm_backend(spec_version: int) -> NumpyBackend:
    return NumpyBackend()
