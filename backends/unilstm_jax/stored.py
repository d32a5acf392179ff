"""Layers that keep their parameters under another system's names, as JAX pytrees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unilstm.named import NamedTensors
from unilstm.paths import Path
from unilstm.stored import Counted, Draws, StoredMethods

from .layer import LSTM, check_dtype
from .native import paths
from .ops import OPS, JaxOps
from .plugin import JaxBackend

Array = Any


class _Static:
    """What of a layer is no array: compared as a whole, hashed by the spec."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(self.fields.get("spec"))


class StoredLSTM(NamedTensors, StoredMethods, LSTM):
    """Leaves are the tensors in `params` by name, and any array that is an attribute; all else is static."""

    def __init__(self) -> None:
        self.params = {}
        self._fixed: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_pytree_with_keys_class(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        arrays = {k: v for k, v in self.__dict__.items() if isinstance(v, (jax.Array, np.ndarray))}
        children = [(jax.tree_util.DictKey(name), value) for name, value in self.params.items()]
        children += [(jax.tree_util.GetAttrKey(name), value) for name, value in arrays.items()]
        fields = {k: v for k, v in self.__dict__.items() if k not in arrays and k != "params"}
        return children, (_Static(fields), tuple(self.params), tuple(arrays))

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> StoredLSTM:
        layer = object.__new__(cls)  # JAX also unflattens with leaves that are not arrays, so nothing is checked here
        fields, names, arrays = static
        values = list(children)
        layer.__dict__.update(fields.fields)
        layer.params = dict(zip(names, values[: len(names)], strict=True))
        layer.__dict__.update(zip(arrays, values[len(names) :], strict=True))
        return layer

    def _store(
        self,
        values: Mapping[str, Any],
        dtype: str,
        device: Any,
        *,
        frozen: Iterable[str] = (),
        buffers: Iterable[str] = (),
    ) -> None:
        check_dtype(dtype)
        self.params |= {name: jax.device_put(np.asarray(value, dtype), device) for name, value in values.items()}
        self._fixed += (*frozen, *buffers)

    def _own(self, name: str) -> Array:
        value = self.params[name]
        return jax.lax.stop_gradient(value) if name in self._fixed else value

    def _like(self, array: Any, own: Array) -> Array:
        return jax.device_put(array.astype(own.dtype), own.sharding)

    def _array(self, tensor: Array) -> Any:
        return np.array(tensor)

    def _lstm(self, x: Any, state: Any = None, **kwargs: Any) -> Any:
        return LSTM.__call__(self, x, state, **kwargs)

    def _draws(self, dtype: str, device: Any) -> Draws:
        return Counted(JaxBackend().draw_seed())

    def _default_dtype(self) -> str:
        return "float32"

    def _tensor(self, x: Any) -> Array:
        return jnp.asarray(x, next(iter(self.params.values())).dtype)

    def _copy(self, x: Array) -> Array:
        return x  # nothing changes in place here

    def _detach(self, x: Array) -> Array:
        return jax.lax.stop_gradient(x)

    def _flip(self, x: Array) -> Array:
        return jnp.flip(x, 1)

    def _model_ops(self) -> Any:
        from .models import OPS

        return OPS

    def _tracing(self, x: Array) -> bool:
        return isinstance(x, jax.core.Tracer)

    def _valid_first(self, mask: Any, like: Array) -> tuple[Array, Array, Array]:
        keep = jnp.asarray(mask, bool)
        order = jnp.argsort(~keep, axis=1, stable=True)
        return order, jnp.argsort(order, axis=1), keep.sum(1)

    def _take_steps(self, x: Array, order: Array) -> Array:
        return jnp.take_along_axis(x, order[:, :, None], 1)

    def _ops(self) -> JaxOps:
        return OPS

    def _paths(self, dtype: str) -> Sequence[Path]:
        return paths(self.spec, dtype)
