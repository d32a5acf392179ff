"""The LSTM as a JAX pytree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from unilstm.errors import InputError
from unilstm.layer import LayerMethods
from unilstm.paths import Path, check_path
from unilstm.weights import Weights

from . import eager
from .native import paths
from .ops import OPS, JaxOps


@jax.tree_util.register_pytree_with_keys_class
class LSTM(LayerMethods):
    """An LSTM whose leaves are its parameters, and whose spec and path are static.

    y, (h_n, c_n) = lstm(x, state, lengths=…) under jit, grad, vmap, scan; jax.tree.map updates its parameters.
    Dropout acts where a call gives key= (a jax.random.key, two words or an int) or masks=, and only there.
    """

    params: dict[str, Any]

    def __init__(self, weights: Weights, *, device: Any = None, path: str = "auto") -> None:
        self.spec, self.path = weights.spec, path
        check_dtype(weights.dtype)
        check_path(path, paths(self.spec, weights.dtype))
        self.params = {name: jax.device_put(array, device) for name, array in weights.items()}

    def __call__(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        key: Any = None,
        masks: Any = None,
        return_cell_sequence: bool = False,
    ) -> Any:
        """x: [B, T, I] (or as spec.batch_first says), or [T, I]. Returns y, (h_n, c_n)[, c of every step]."""
        masks = self._masks(key, masks, x, None)
        if type(self) is LSTM and lengths is None and masks is None and eager.serves(self, x, state):
            return eager.call(return_cell_sequence, self, x, state)
        return self._run(x, state, lengths, masks, return_cell_sequence)

    def step(self, x: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        """One step of a stream: x [B, I] or [I] → h, (h_n, c_n)."""
        masks = self._masks(key, masks, x, None)
        if type(self) is LSTM and masks is None and eager.serves(self, x, state):
            return eager.step(self, x, state)
        return self._run_step(x, state, masks)

    def _steps(self, h: Any, c: Any, rows: int | None) -> eager.Steps | None:
        return eager.steps(self, h, c, rows) if type(self) is LSTM else None

    def _versions(self) -> Any:
        return list(map(id, self.params.values()))

    def _memory(self) -> Any:
        return list(self.params.values())

    def _check_streamed(self, x: Any) -> None:
        if isinstance(x, jax.core.Tracer):
            raise InputError("a stream's steps cannot be traced. Use layer.step(x, state), in jax.lax.scan or jit.")

    def weights(self) -> Weights:
        return Weights(self.spec, {name: jax.device_get(value) for name, value in self.params.items()})

    def __repr__(self) -> str:
        return f"unilstm_jax.LSTM({self.spec!r}, path={self.path!r})"

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        children = [(jax.tree_util.DictKey(name), value) for name, value in self.params.items()]
        return children, (self.spec, self.path, tuple(self.params))

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> LSTM:
        layer = object.__new__(cls)  # JAX also unflattens with leaves that are not arrays, so nothing is checked here
        layer.spec, layer.path, names = static
        layer.params = dict(zip(names, children, strict=True))
        return layer

    def _ops(self) -> JaxOps:
        return OPS

    def _tensors(self) -> dict[str, Any]:
        return self.params

    def _paths(self, dtype: str) -> Sequence[Path]:
        return paths(self.spec, dtype)


def check_dtype(dtype: str) -> None:
    if dtype == "float64" and not jax.config.jax_enable_x64:
        raise InputError(
            "dtype='float64' needs JAX's x64 mode, which is off: JAX would silently compute in float32. "
            "Run jax.config.update('jax_enable_x64', True) first, or use dtype='float32'."
        )
