"""Models as paddle.nn.Layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle

from unilstm.calls import whole_numbers
from unilstm.errors import InputError
from unilstm.models.methods import LanguageModelMethods, ModelMethods, SequenceClassifierMethods
from unilstm.models.spec import LanguageModelSpec
from unilstm.models.weights import ModelWeights

from .layer import LSTM, create, run_as_it_is
from .native import to_numpy
from .ops import PaddleOps, dtype_name

Tensor = Any


class PaddleModelOps(PaddleOps):
    def ids(self, x: Any, like: Tensor) -> tuple[Tensor, Any]:
        if not self.is_tensor(x):
            known = whole_numbers(x)
            return paddle.to_tensor(known.astype(np.int64), place=like.place), known
        if dtype_name(x.dtype) not in ("int64", "int32", "int16", "int8", "uint8"):
            raise InputError(f"these are {x.dtype}, but must be whole numbers. Use .astype('int64').")
        known = x.numpy() if paddle.in_dynamic_mode() and x.place.is_cpu_place() else None
        return x.astype("int64"), known

    def take(self, table: Tensor, ids: Tensor) -> Tensor:
        return paddle.nn.functional.embedding(ids, table)

    def pick(self, x: Tensor, ids: Tensor) -> Tensor:
        return paddle.take_along_axis(x, ids[..., None], -1, broadcast=False)[..., 0]

    def log_softmax(self, x: Tensor) -> Tensor:
        return paddle.nn.functional.log_softmax(x, axis=-1)

    total = staticmethod(paddle.sum)

    def detach(self, x: Tensor) -> Tensor:
        return x.detach()


OPS = PaddleModelOps()


class _Model(paddle.nn.Layer, ModelMethods):  # type: ignore[misc]
    """A state_dict of embedding.weight, lstm.0.cell.weight_ih and so on. Linear weights are [out, in], as everywhere in
    unilstm; paddle.nn.Linear has their transpose."""

    backend = "paddle"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        run_as_it_is(cls)

    def __init__(self, weights: ModelWeights, *, device: Any = None, path: str = "auto") -> None:
        super().__init__()
        self.spec: Any = weights.spec
        for name, array in weights.items():
            owner, _, role = name.rpartition(".")
            if owner == "lstm":
                if not hasattr(self, "lstm"):
                    self.lstm = LSTM(weights.lstm, device=device, path=path)
                continue
            if not hasattr(self, owner):
                self.add_sublayer(owner, paddle.nn.Layer())
            holder = getattr(self, owner)
            holder.add_parameter(role, create(holder, array))
        if device is not None:
            self.to(device=device)

    def extra_repr(self) -> str:
        return repr(self.spec)

    def ops(self) -> PaddleModelOps:
        return OPS

    def own_tensors(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.named_parameters() if not name.startswith("lstm.")}

    def to_numpy(self, tensor: Tensor) -> Any:
        return to_numpy(tensor)

    def draw_key(self) -> Any:
        return paddle.randint(0, 2**31 - 1, [2], dtype="int64")

    def evaluating(self) -> Any:
        return evaluating(self)


class LanguageModel(_Model, LanguageModelMethods):
    """logits, state = model(tokens, state).

    In training mode dropout draws its key from Paddle's generator, or takes key= or the masks= themselves.
    """

    def forward(self, tokens: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        return self._logits(tokens, state, key, masks, self.training)


class SequenceClassifier(_Model, SequenceClassifierMethods):
    """logits = model(x, lengths=…)."""

    def forward(self, x: Any, *, lengths: Any = None, key: Any = None, masks: Any = None) -> Any:
        return self._logits(x, lengths, key, masks, self.training)


def model(weights: ModelWeights, *, device: Any = None, path: str = "auto") -> Any:
    cls = LanguageModel if isinstance(weights.spec, LanguageModelSpec) else SequenceClassifier
    return cls(weights, device=device, path=path)


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Evaluation mode, without gradients, while the context lasts."""
    modes = [(layer, layer.training) for layer in module.sublayers(include_self=True)]
    module.eval()
    try:
        with paddle.no_grad():
            yield
    finally:
        for layer, training in modes:
            layer.training = training
