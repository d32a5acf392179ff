"""Registration of the JAX backend. Imports jax only when a method needs it."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any

from unilstm.hookspecs import hookimpl
from unilstm.weights import Weights

if TYPE_CHECKING:
    from unilstm.models.training import Loss, Optimizer
    from unilstm.models.weights import ModelWeights


class JaxBackend:
    name = "jax"
    distribution = "jax"
    extra = "jax"

    def load(self) -> None:
        import jax  # noqa: F401

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
        return secrets.randbits(63)  # JAX has no generator to draw from; give seed= to reproduce a run

    def devices(self) -> list[str]:
        import jax

        return [str(device) for device in jax.devices()]

    def paths(self) -> tuple[str, ...]:
        from . import cudnn

        return ("kernel", *(() if cudnn.missing() else ("native",)), "parallel", "composed")

    def recognise(self, module: Any) -> Weights | None:
        return None  # a unilstm layer is recognised by its weights(); JAX has no LSTM layer of its own

    def array(self, tensor: Any) -> Any:
        import numpy as np

        return np.array(tensor)

    def tensor(self, array: Any, device: Any = None) -> Any:
        import jax

        return jax.device_put(array, device)

    def vjp(self) -> Any:
        return _vjp

    def compiled(self, function: Any) -> Any:
        import jax

        return jax.jit(function)

    def scope(self, dtype: str) -> Any:
        import jax

        if dtype != "float64":
            return contextlib.nullcontext()
        return jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64()


def _vjp(layer: Any, call: Any, inputs: dict[str, Any], cotangents: list[Any]) -> Any:
    import jax

    outputs, pull = jax.vjp(call, layer, inputs)
    of_layer, of_inputs = pull(list(cotangents))
    return outputs, {**of_inputs, **of_layer.params}


@hookimpl
def unilstm_backend(spec_version: int) -> JaxBackend:
    return JaxBackend()
