"""Models as plain callables over NumPy arrays, forward only."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm.calls import whole_numbers
from unilstm.models.methods import LanguageModelMethods, ModelMethods, SequenceClassifierMethods
from unilstm.models.spec import LanguageModelSpec
from unilstm.models.weights import ModelWeights

from .layer import LSTM
from .ops import NumpyOps

Array = Any


class NumpyModelOps(NumpyOps):
    def ids(self, x: Any, like: Array) -> tuple[Array, Any]:
        known = whole_numbers(x)
        return known, known

    def take(self, table: Array, ids: Array) -> Array:
        return table[ids]

    def pick(self, x: Array, ids: Array) -> Array:
        return np.take_along_axis(x, ids[..., None], -1)[..., 0]

    def log_softmax(self, x: Array) -> Array:
        shifted = x - x.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    total = staticmethod(np.sum)

    def detach(self, x: Array) -> Array:
        return x


OPS = NumpyModelOps()


class _Model(ModelMethods):
    backend = "numpy"

    def __init__(self, weights: ModelWeights, *, device: Any = None, path: str = "auto") -> None:
        self.spec: Any = weights.spec
        self.lstm = LSTM(weights.lstm, device=device, path=path)
        self._own = {name: array for name, array in weights.items() if not name.startswith("lstm.")}

    def __repr__(self) -> str:
        return f"unilstm_numpy.{type(self).__name__}({self.spec!r})"

    def ops(self) -> NumpyModelOps:
        return OPS

    def own_tensors(self) -> dict[str, Array]:
        return self._own

    def to_numpy(self, tensor: Array) -> Array:
        return np.array(tensor)


class LanguageModel(_Model, LanguageModelMethods):
    """logits, state = model(tokens, state). Dropout acts where a call gives key= or masks=, and only there."""

    def __call__(self, tokens: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        return self._logits(tokens, state, key, masks, None)


class SequenceClassifier(_Model, SequenceClassifierMethods):
    """logits = model(x, lengths=…). Dropout acts where a call gives key= or masks=, and only there."""

    def __call__(self, x: Any, *, lengths: Any = None, key: Any = None, masks: Any = None) -> Any:
        return self._logits(x, lengths, key, masks, None)


def model(weights: ModelWeights, *, device: Any = None, path: str = "auto") -> Any:
    cls = LanguageModel if isinstance(weights.spec, LanguageModelSpec) else SequenceClassifier
    return cls(weights, device=device, path=path)
