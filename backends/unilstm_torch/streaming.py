"""One step of a stream, straight into the kernel; see unilstm_kernels/streaming.py."""

from __future__ import annotations

from typing import Any

import torch

from unilstm_kernels import library, streaming

from .scan import serves

Tensor = torch.Tensor
_DTYPES = (torch.float32, torch.float64)


def step(layer: Any, x: Any, state: Any) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
    """What layer.step(x, state) returns, outside of autograd and transforms; None where the plain call is to do it.

    On the library's own threads: a region of OpenMP ends when all of its threads have come, which a step is too short
    to wait for.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or layer.path not in ("auto", "kernel"):
        return None
    plan, params = streaming.plan(layer.spec), layer._parameters
    if plan is None or not _plain(plan, x, state):
        return None
    dtype, parameters = x.dtype, {}
    for name in plan.names:
        p = params.get(name)
        if type(p) is not torch.nn.Parameter or not _dense(p, dtype):
            return None
        parameters[name] = p.data_ptr()
    h_0, c_0 = state
    rows = x.shape[0]
    y, h_n, c_n = x.new_empty((rows, plan.h[1])), x.new_empty(h_0.shape), x.new_empty(c_0.shape)
    pointers = streaming.Pointers(*map(Tensor.data_ptr, (x, h_0, c_0, y, h_n, c_n)))
    threads = library.threads(torch.get_num_threads())
    streaming.run(plan, rows, dtype == torch.float64, threads, pointers, parameters)
    return y, (h_n, c_n)


def _plain(plan: streaming.Plan, x: Any, state: Any) -> bool:
    if type(x) is not Tensor or x.dtype not in _DTYPES or not isinstance(state, (tuple, list)) or len(state) != 2:
        return False
    if not all(type(tensor) is Tensor for tensor in state) or not plan.fits(x.shape, state[0].shape, state[1].shape):
        return False
    if torch.is_autocast_enabled("cpu") or torch.jit.is_tracing():
        return False
    return all(_dense(tensor, x.dtype) for tensor in (x, *state)) and serves([x, *state])


def _dense(tensor: Tensor, dtype: torch.dtype) -> bool:
    return tensor.dtype is dtype and tensor.is_cpu and tensor.is_contiguous()
