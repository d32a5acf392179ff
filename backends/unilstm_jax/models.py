"""Models as JAX pytrees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unilstm.calls import whole_numbers
from unilstm.errors import InputError
from unilstm.models.calls import whole_numbers as whole_numbers_below
from unilstm.models.methods import LanguageModelMethods, ModelMethods, SequenceClassifierMethods
from unilstm.models.spec import LanguageModelSpec
from unilstm.models.weights import ModelWeights

from .layer import LSTM
from .ops import JaxOps

Array = Any


class JaxModelOps(JaxOps):
    def ids(self, x: Any, like: Array) -> tuple[Array, Any]:
        if not isinstance(x, jax.Array):
            known = whole_numbers(x)
            return jnp.asarray(known), known
        if x.dtype.kind not in "iu":
            raise InputError(f"these are {x.dtype}, but must be whole numbers. Use .astype('int32').")
        known = None if isinstance(x, jax.core.Tracer) or _elsewhere(x) else np.asarray(x)
        return x, known

    def take(self, table: Array, ids: Array) -> Array:
        return table[ids]

    def pick(self, x: Array, ids: Array) -> Array:
        return jnp.take_along_axis(x, ids[..., None], -1)[..., 0]

    log_softmax = staticmethod(jax.nn.log_softmax)
    total = staticmethod(jnp.sum)

    detach = staticmethod(jax.lax.stop_gradient)


OPS = JaxModelOps()


def _elsewhere(x: Array) -> bool:
    return any(device.platform != "cpu" for device in x.devices())


class _Model(ModelMethods):
    """Leaves are the parameters; the spec and the LSTM's path are static."""

    backend = "jax"

    def __init__(self, weights: ModelWeights, *, device: Any = None, path: str = "auto") -> None:
        self.spec: Any = weights.spec
        self.lstm = LSTM(weights.lstm, device=device, path=path)
        own = {name: array for name, array in weights.items() if not name.startswith("lstm.")}
        self.params = {name: jax.device_put(array, device) for name, array in own.items()}

    def __repr__(self) -> str:
        return f"unilstm_jax.{type(self).__name__}({self.spec!r})"

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        children = [(jax.tree_util.DictKey(name), value) for name, value in self.params.items()]
        return [*children, (jax.tree_util.GetAttrKey("lstm"), self.lstm)], (self.spec, tuple(self.params))

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Any:
        model = object.__new__(cls)  # JAX also unflattens with leaves that are not arrays, so nothing is checked here
        model.spec, names = static
        *own, model.lstm = children
        model.params = dict(zip(names, own, strict=True))
        return model

    def ops(self) -> JaxModelOps:
        return OPS

    def own_tensors(self) -> dict[str, Array]:
        return self.params

    def to_numpy(self, tensor: Array) -> Any:
        return np.array(tensor)


@jax.tree_util.register_pytree_with_keys_class
class LanguageModel(_Model, LanguageModelMethods):
    """logits, state = model(tokens, state) under jit, grad, vmap. Dropout acts where a call gives key= or masks=."""

    def __call__(self, tokens: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        return self._logits(tokens, state, key, masks, None)

    def predict(self, tokens: Any, state: Any = None) -> Any:
        """The probabilities of the next tokens [B, T, V], compiled once a shape; and the state."""
        # Checked here, because inside jit the values are not known and JAX clamps an index that is out of range.
        return _predict(self, whole_numbers_below(OPS, "tokens", tokens, self._like(), self.spec.vocab_size), state)


@jax.jit
def _predict(model: Any, tokens: Any, state: Any) -> Any:
    return LanguageModelMethods.predict(model, tokens, state)


@jax.tree_util.register_pytree_with_keys_class
class SequenceClassifier(_Model, SequenceClassifierMethods):
    """logits = model(x, lengths=…) under jit, grad, vmap. Dropout acts where a call gives key= or masks=."""

    def __call__(self, x: Any, *, lengths: Any = None, key: Any = None, masks: Any = None) -> Any:
        return self._logits(x, lengths, key, masks, None)


def model(weights: ModelWeights, *, device: Any = None, path: str = "auto") -> Any:
    cls = LanguageModel if isinstance(weights.spec, LanguageModelSpec) else SequenceClassifier
    return cls(weights, device=device, path=path)
