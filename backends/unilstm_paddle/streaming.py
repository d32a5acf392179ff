"""One step of a stream, straight into the kernel; see unilstm_kernels/streaming.py."""

from __future__ import annotations

from typing import Any

import paddle

from unilstm_kernels import streaming

from .kernel import empty, threads
from .ops import dtype_name

Tensor = Any


def step(layer: Any, x: Any, state: Any) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
    """What layer.step(x, state) returns, outside of autograd; None where the plain call is to do it."""
    if not paddle.in_dynamic_mode() or paddle.is_grad_enabled() or layer.path not in ("auto", "kernel"):
        return None
    plan = streaming.plan(layer.spec)
    if plan is None or not _plain(plan, x, state):
        return None
    dtype, held, parameters = x.dtype, [], {}
    for name in plan.names:
        p, transposed = layer.own_parameter(name)
        if not _dense(p, dtype):
            return None
        if transposed:
            p = p.t().contiguous()
            held.append(p)  # until the step is done
        parameters[name] = p.data_ptr()
    h_0, c_0 = state
    rows = x.shape[0]
    y, h_n, c_n = empty([rows, plan.h[1]], x), empty(h_0.shape, x), empty(c_0.shape, x)
    pointers = streaming.Pointers(*(t.data_ptr() for t in (x, h_0, c_0, y, h_n, c_n)))
    streaming.run(plan, rows, dtype == paddle.float64, threads(), pointers, parameters)
    return y, (h_n, c_n)


def _plain(plan: streaming.Plan, x: Any, state: Any) -> bool:
    if type(x) is not paddle.Tensor or not isinstance(state, (tuple, list)) or len(state) != 2:
        return False
    if dtype_name(x.dtype) not in ("float32", "float64") or not all(type(t) is paddle.Tensor for t in state):
        return False
    return plan.fits(x.shape, *(t.shape for t in state)) and all(_dense(t, x.dtype) for t in (x, *state))


def _dense(tensor: Tensor, dtype: Any) -> bool:
    return tensor.dtype == dtype and tensor.is_dense() and tensor.is_contiguous() and tensor.place.is_cpu_place()
