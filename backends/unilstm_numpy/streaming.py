"""Steps of a stream, straight into the kernel; see unilstm_kernels/streaming.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm_kernels import library, streaming

Array = Any
_DTYPES = (np.dtype("float32"), np.dtype("float64"))


def step(layer: Any, x: Any, state: Any) -> tuple[Array, tuple[Array, Array]] | None:
    """What layer.step(x, state) returns; None where the plain call is to do it."""
    if layer.path not in ("auto", "kernel"):
        return None
    plan = streaming.plan(layer.spec)
    if plan is None or not _plain(plan, x, state):
        return None
    dtype, weights = x.dtype, layer._weights
    arrays = [weights[name] for name in plan.names]
    if not all(_dense(array, dtype) for array in arrays) or tuple(a.shape for a in arrays) != plan.shapes:
        return None
    h_0, c_0 = state
    rows = x.shape[0]
    y, h_n, c_n = np.empty((rows, plan.h[1]), dtype), np.empty(h_0.shape, dtype), np.empty(c_0.shape, dtype)
    pointers = [a.ctypes.data for a in (x, h_0, c_0, y, h_n, c_n)]
    places = [a.ctypes.data for a in arrays]
    streaming.run(plan, rows, dtype == np.float64, library.threads(), pointers, places)
    return y, (h_n, c_n)


class Steps(streaming.Steps):
    def plain(self, x: Any) -> bool:
        return type(x) is np.ndarray and x.shape == self.x_shape and _dense(x, self.dtype)

    def tidy(self, x: Any) -> Array:
        return self.dense(x)

    def state(self) -> tuple[Array, Array]:
        return self.h.copy(), self.c.copy()

    def dense(self, tensor: Array) -> Array:
        return np.ascontiguousarray(tensor)

    def pointer(self, tensor: Array) -> int:
        return int(tensor.ctypes.data)

    def empty(self) -> Array:
        return np.empty(self.y_shape, self.dtype)

    def setting(self) -> None:
        return None

    def threads(self) -> tuple[int, int]:
        return library.threads(), 0


def steps(layer: Any, h: Array, c: Array, rows: int | None) -> Steps | None:
    """None where the kernel does not serve."""
    if layer.path not in ("auto", "kernel") or h.dtype not in _DTYPES:
        return None
    plan, tensors = streaming.plan(layer.spec), layer._tensors()
    if plan is None or not all(tensors[name].dtype == h.dtype for name in plan.names):
        return None
    return Steps(plan, tensors, h, c, rows, h.dtype == np.float64)


def _plain(plan: streaming.Plan, x: Any, state: Any) -> bool:
    if type(x) is not np.ndarray or x.dtype not in _DTYPES or not isinstance(state, (tuple, list)) or len(state) != 2:
        return False
    if not all(type(array) is np.ndarray for array in state):
        return False
    return plan.fits(x.shape, *(a.shape for a in state)) and all(_dense(a, x.dtype) for a in (x, *state))


def _dense(array: Array, dtype: Any) -> bool:
    return bool(array.dtype == dtype and array.flags.c_contiguous)
