"""Registration of the PyTorch backend. Imports torch only when a method needs it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from unilstm.hookspecs import hookimpl
from unilstm.weights import Weights

if TYPE_CHECKING:
    from unilstm.models.training import Loss, Optimizer
    from unilstm.models.weights import ModelWeights


class TorchBackend:
    name = "torch"
    distribution = "torch"
    extra = "torch"

    def load(self) -> None:
        import torch  # noqa: F401

    def layer(self, weights: Weights, *, device: Any, path: str) -> Any:
        from .layer import LSTM

        return LSTM(weights, device=device, path=path)

    def model(self, weights: ModelWeights, *, device: Any, path: str) -> Any:
        from .models import model

        return model(weights, device=device, path=path)

    def trainer(self, model: Any, optimizer: Optimizer, loss: Loss) -> Any:
        from .training import Trainer

        return Trainer(model, optimizer, loss)

    def stored(self) -> type:
        from .stored import StoredLSTM

        return StoredLSTM

    def draw_seed(self) -> int:
        import torch

        return int(torch.randint(0, 2**63 - 1, ()).item())

    def devices(self) -> list[str]:
        import torch

        return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]

    def paths(self) -> tuple[str, ...]:
        import torch

        return ("kernel", "native", "parallel", *(("fused",) if torch.cuda.is_available() else ()), "composed")

    def recognise(self, module: Any) -> Weights | None:
        from .native import recognise

        return recognise(module)

    def array(self, tensor: Any) -> Any:
        return tensor.detach().cpu().numpy().copy()

    def tensor(self, array: Any, device: Any = None) -> Any:
        import torch

        return torch.tensor(array, device=device)

    def vjp(self) -> Any:
        return _vjp

    def inference(self) -> Any:
        import torch

        return torch.no_grad()

    def scope(self, dtype: str) -> Any:
        return contextlib.nullcontext()


def _vjp(layer: Any, call: Any, inputs: dict[str, Any], cotangents: list[Any]) -> Any:
    import torch

    leaves = {name: value.detach().clone().requires_grad_() for name, value in inputs.items()}
    outputs = call(layer, leaves)
    total = sum((out * cotangent).sum() for out, cotangent in zip(outputs, cotangents, strict=True))
    wanted = {**leaves, **dict(layer.named_parameters())}
    grads = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return outputs, {
        name: torch.zeros_like(value) if grad is None else grad
        for (name, value), grad in zip(wanted.items(), grads, strict=True)
    }


@hookimpl
def unilstm_backend(spec_version: int) -> TorchBackend:
    return TorchBackend()
