"""Models as torch.nn.Modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from unilstm.calls import whole_numbers
from unilstm.errors import InputError
from unilstm.models.methods import LanguageModelMethods, ModelMethods, SequenceClassifierMethods
from unilstm.models.spec import LanguageModelSpec
from unilstm.models.weights import ModelWeights

from .layer import LSTM
from .native import to_numpy
from .ops import TorchOps, tracing

Tensor = torch.Tensor


class TorchModelOps(TorchOps):
    def ids(self, x: Any, like: Tensor) -> tuple[Tensor, Any]:
        if not isinstance(x, torch.Tensor):
            known = whole_numbers(x)
            return torch.as_tensor(known.astype(np.int64), device=like.device), known
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise InputError(f"these are {x.dtype}, but must be whole numbers. Use .long().")
        known = None if tracing() or x.device.type != "cpu" else x.detach().numpy()
        return x.to(device=like.device, dtype=torch.int64), known

    def take(self, table: Tensor, ids: Tensor) -> Tensor:
        return torch.nn.functional.embedding(ids, table)

    def pick(self, x: Tensor, ids: Tensor) -> Tensor:
        return x.gather(-1, ids[..., None])[..., 0]

    def log_softmax(self, x: Tensor) -> Tensor:
        return torch.log_softmax(x, -1)

    total = staticmethod(torch.sum)

    def detach(self, x: Tensor) -> Tensor:
        return x.detach()


class _Model(torch.nn.Module, ModelMethods):
    """A state_dict of embedding.weight, lstm.weight_ih_l0 and so on, each as torch's own layers have it."""

    backend = "torch"

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
                self.add_module(owner, torch.nn.Module())
            parameter = torch.nn.Parameter(torch.tensor(array, device=device))
            getattr(self, owner).register_parameter(role, parameter)

    def extra_repr(self) -> str:
        return repr(self.spec)

    def ops(self) -> TorchModelOps:
        return TorchModelOps(next(self.parameters()).device)

    def own_tensors(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.named_parameters() if not name.startswith("lstm.")}

    def to_numpy(self, tensor: Tensor) -> Any:
        return to_numpy(tensor).copy()

    def draw_key(self) -> Any:
        return torch.randint(0, 2**32, (2,), dtype=torch.int64)

    def evaluating(self) -> Any:
        return evaluating(self)


class LanguageModel(_Model, LanguageModelMethods):
    """logits, state = model(tokens, state).

    In training mode dropout draws its key from torch's generator, or takes key= or the masks= themselves.
    """

    def forward(self, tokens: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        return self._logits(tokens, state, key, masks, self.training)


class SequenceClassifier(_Model, SequenceClassifierMethods):
    """logits = model(x, lengths=…). Its state_dict is that of the tutorial's module: embedding, lstm, fc."""

    def forward(self, x: Any, *, lengths: Any = None, key: Any = None, masks: Any = None) -> Any:
        return self._logits(x, lengths, key, masks, self.training)


def model(weights: ModelWeights, *, device: Any = None, path: str = "auto") -> Any:
    cls = LanguageModel if isinstance(weights.spec, LanguageModelSpec) else SequenceClassifier
    return cls(weights, device=device, path=path)


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Evaluation mode, without gradients, while the context lasts."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
