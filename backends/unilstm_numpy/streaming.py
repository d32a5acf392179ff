"""One step of a stream, straight into the kernel; see unilstm_kernels/streaming.py."""

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
    if not all(_dense(array, dtype) for array in arrays):
        return None
    h_0, c_0 = state
    rows = x.shape[0]
    y, h_n, c_n = np.empty((rows, plan.h[1]), dtype), np.empty(h_0.shape, dtype), np.empty(c_0.shape, dtype)
    pointers = streaming.Pointers(*(a.ctypes.data for a in (x, h_0, c_0, y, h_n, c_n)))
    parameters = {name: a.ctypes.data for name, a in zip(plan.names, arrays, strict=True)}
    streaming.run(plan, rows, dtype == np.float64, library.threads(), pointers, parameters)
    return y, (h_n, c_n)


def _plain(plan: streaming.Plan, x: Any, state: Any) -> bool:
    if type(x) is not np.ndarray or x.dtype not in _DTYPES or not isinstance(state, (tuple, list)) or len(state) != 2:
        return False
    if not all(type(array) is np.ndarray for array in state):
        return False
    return plan.fits(x.shape, *(a.shape for a in state)) and all(_dense(a, x.dtype) for a in (x, *state))


def _dense(array: Array, dtype: Any) -> bool:
    return bool(array.dtype == dtype and array.flags.c_contiguous)
