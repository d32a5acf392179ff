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
        return ("kernel", "composed")

    def recognise(self, module: Any) -> Weights | None:
        return None  # a unilstm layer is recognised by its weights(); NumPy has no LSTM of its own

    def array(self, tensor: Any) -> Any:
        return np.array(tensor)

    def tensor(self, array: Any, device: Any = None) -> Any:
        return np.array(array)

    def vjp(self) -> Any:
        return _vjp

    def forward_only(self, spec: Any, path: str) -> str | None:
        from unilstm_kernels import job

        return "only the kernel path differentiates" if path == "composed" else job.refusal(spec, job.DTYPES[0])

    def scope(self, dtype: str) -> Any:
        return contextlib.nullcontext()


def _vjp(layer: Any, call: Any, inputs: dict[str, Any], cotangents: list[Any]) -> Any:
    recorded = _Recorded(layer)
    outputs = call(recorded, inputs)
    d_y, d_h, d_c, *d_cells = cotangents
    return outputs, recorded.pull(d_y, (d_h, d_c), *d_cells)


class _Recorded:
    """A layer whose calls go through vjp(); pull is that of the last one."""

    pull: Any = None

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, *args: Any, **named: Any) -> Any:
        outputs, self.pull = self.layer.vjp(*args, **named)
        return outputs


@hookimpl
def unilstm_backend(spec_version: int) -> NumpyBackend:
    return NumpyBackend()
