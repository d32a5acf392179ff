"""Registration of the PaddlePaddle backend. Imports paddle only when a method needs it."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

from unilstm.hookspecs import hookimpl
from unilstm.weights import Weights

if TYPE_CHECKING:
    from unilstm.models.training import Loss, Optimizer
    from unilstm.models.weights import ModelWeights


class PaddleBackend:
    name = "paddle"
    distribution = "paddlepaddle"
    extra = "paddle"

    def load(self) -> None:
        if importlib.util.find_spec("paddle") is None:
            raise ImportError("No module named 'paddle'")
        from unilstm_kernels import library  # noqa: F401  # sees the environment before Paddle writes into it

        with warnings.catch_warnings():
            # Paddle's own import warns about ccache and about deprecated calls it makes itself.
            warnings.simplefilter("ignore")
            import paddle  # noqa: F401

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
        import paddle

        return int(paddle.randint(0, 2**31 - 1, [1], dtype="int64").item())

    def devices(self) -> list[str]:
        import paddle

        return list(dict.fromkeys(["cpu", *paddle.device.get_available_device()]))

    def paths(self) -> tuple[str, ...]:
        return ("kernel", "native", "composed")

    def recognise(self, module: Any) -> Weights | None:
        from .native import recognise

        return recognise(module)

    def array(self, tensor: Any) -> Any:
        return tensor.numpy()

    def tensor(self, array: Any, device: Any = None) -> Any:
        import paddle

        return paddle.to_tensor(array, place=device)

    def vjp(self) -> Any:
        return _vjp

    def inference(self) -> Any:
        import paddle

        return paddle.no_grad()

    def scope(self, dtype: str) -> Any:
        return contextlib.nullcontext()


def _vjp(layer: Any, call: Any, inputs: dict[str, Any], cotangents: list[Any]) -> Any:
    import paddle

    leaves = {name: value.detach().clone() for name, value in inputs.items()}
    for leaf in leaves.values():
        leaf.stop_gradient = False
    outputs = call(layer, leaves)
    own = {name: layer.own_parameter(name) for name in layer.weights()}
    wanted = {**leaves, **{name: value for name, (value, _) in own.items()}}
    pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if not o.stop_gradient]
    grads = paddle.grad([o for o, _ in pairs], list(wanted.values()), [c for _, c in pairs], allow_unused=True)
    found = {
        name: paddle.zeros_like(value) if grad is None else grad
        for (name, value), grad in zip(wanted.items(), grads, strict=True)
    }
    return outputs, {name: g.t() if own.get(name, (None, False))[1] else g for name, g in found.items()}


@hookimpl
def unilstm_backend(spec_version: int) -> PaddleBackend:
    return PaddleBackend()
