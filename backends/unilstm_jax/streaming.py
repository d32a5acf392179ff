"""Steps of a stream, straight into the kernel on JAX's own memory; see unilstm_kernels/streaming.py.

A jitted call spends more time around a step than in it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unilstm.errors import InputError
from unilstm_kernels import library, streaming

from .kernel import refusal

Array = Any
_DTYPES = ("float32", "float64")


class Steps:
    """See unilstm.stream. The state is kept in NumPy's arrays, which may be written."""

    def __init__(self, plan: streaming.Plan, layer: Any, h: Array, c: Array, rows: int | None) -> None:
        tensors = layer._tensors()
        self._held = [np.ascontiguousarray(tensors[name]) for name in plan.names]
        self._h, self._c = np.array(h), np.array(c)
        self._x = (plan.inputs,) if rows is None else (rows, plan.inputs)
        self._y, self._dtype = (*self._x[:-1], plan.h[1]), self._h.dtype
        self._device = next(iter(h.devices()))
        self._usual = self._device == jnp.zeros(()).device
        places = [a.ctypes.data for a in self._held]
        double = self._dtype == np.float64
        self._stream = streaming.Stream(plan, rows or 1, double, self._h.ctypes.data, self._c.ctypes.data, places)

    def plain(self, x: Any) -> bool:
        return isinstance(x, jax.Array) and x.shape == self._x and x.dtype == self._dtype and _has_values(x)

    def tidy(self, x: Any) -> Array:
        raise InputError(f"x is on {x.devices()} but a stream here is on {self._device}. Move x.")

    def run(self, x: Array) -> Array:
        given, y = np.ascontiguousarray(x), np.empty(self._y, self._dtype)
        self._stream.step(given.ctypes.data, y.ctypes.data, library.threads())
        return self._put(y)

    def state(self) -> tuple[Array, Array]:
        return self._put(self._h.copy()), self._put(self._c.copy())

    def _put(self, array: Array) -> Array:
        # In half the time of device_put, which a step is short enough to notice.
        return jnp.asarray(array) if self._usual else jax.device_put(array, self._device)

    def set_state(self, h: Array, c: Array) -> None:
        self._h[:], self._c[:] = h, c


def steps(layer: Any, h: Array, c: Array, rows: int | None) -> Steps | None:
    """None where the kernel does not serve."""
    tensors = [h, c, *layer._tensors().values()]
    if layer.path not in ("auto", "kernel") or not all(_has_values(tensor) for tensor in tensors):
        return None
    if any(tensor.dtype.name not in _DTYPES for tensor in tensors) or refusal(layer.spec, None) is not None:
        return None
    plan = streaming.plan(layer.spec)
    return None if plan is None else Steps(plan, layer, h, c, rows)


def _has_values(x: Array) -> bool:
    """On the CPU, not under a transformation."""
    if isinstance(x, jax.core.Tracer):
        return False
    return all(device.platform == "cpu" for device in x.devices())
