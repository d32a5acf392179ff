"""Steps of a stream, straight into the kernel; see unilstm_kernels/streaming.py."""

from __future__ import annotations

from typing import Any

import paddle

from unilstm.errors import InputError
from unilstm_kernels import streaming

from .kernel import computes_on, empty, threads
from .ops import dtype_name

Tensor = Any


def step(layer: Any, x: Any, state: Any) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
    """What layer.step(x, state) returns, outside of autograd; None where the plain call is to do it."""
    if not paddle.in_dynamic_mode() or paddle.is_grad_enabled() or layer.path not in ("auto", "kernel"):
        return None
    plan = streaming.plan(layer.spec)
    if plan is None or not _plain(plan, x, state):
        return None
    dtype, parameters = x.dtype, []
    for name, shape in zip(plan.names, plan.shapes, strict=True):
        p, transposed = layer.own_parameter(name)
        if not _dense(p, dtype):
            return None
        p = p.t().contiguous() if transposed else p
        if tuple(p.shape) != shape:
            return None
        parameters.append(p)
    h_0, c_0 = state
    rows = x.shape[0]
    y, h_n, c_n = empty([rows, plan.h[1]], x), empty(h_0.shape, x), empty(c_0.shape, x)
    pointers = [t.data_ptr() for t in (x, h_0, c_0, y, h_n, c_n)]
    places = [p.data_ptr() for p in parameters]
    count, openmp = threads()
    streaming.run(plan, rows, dtype == paddle.float64, count, pointers, places, openmp)
    return y, (h_n, c_n)


class Steps(streaming.Steps):
    def plain(self, x: Any) -> bool:
        return type(x) is paddle.Tensor and tuple(x.shape) == self.x_shape and _dense(x, self.dtype)

    def tidy(self, x: Tensor) -> Tensor:
        if not x.place.is_cpu_place():
            raise InputError(f"x is on {x.place} but the layer is on the CPU. Move one of them.")
        return self.dense(x)

    def state(self) -> tuple[Tensor, Tensor]:
        return self.h.clone(), self.c.clone()

    def dense(self, tensor: Tensor) -> Tensor:
        return tensor.detach().contiguous()

    def pointer(self, tensor: Tensor) -> int:
        return int(tensor.data_ptr())

    def empty(self) -> Tensor:
        return empty(self.y_shape, self.h)

    setting = staticmethod(computes_on)

    def threads(self) -> tuple[int, int]:
        return threads()


def steps(layer: Any, h: Tensor, c: Tensor, rows: int | None) -> Steps | None:
    """None where the kernel does not serve."""
    if layer.path not in ("auto", "kernel") or dtype_name(h.dtype) not in ("float32", "float64"):
        return None
    plan, tensors = streaming.plan(layer.spec), layer._tensors()
    if plan is None or not all(_on_cpu(tensor, h.dtype) for tensor in (h, *(tensors[name] for name in plan.names))):
        return None
    return Steps(plan, tensors, h, c, rows, h.dtype == paddle.float64)


def _plain(plan: streaming.Plan, x: Any, state: Any) -> bool:
    if type(x) is not paddle.Tensor or not isinstance(state, (tuple, list)) or len(state) != 2:
        return False
    if dtype_name(x.dtype) not in ("float32", "float64") or not all(type(t) is paddle.Tensor for t in state):
        return False
    return plan.fits(x.shape, *(t.shape for t in state)) and all(_dense(t, x.dtype) for t in (x, *state))


def _dense(tensor: Tensor, dtype: Any) -> bool:
    return tensor.is_contiguous() and _on_cpu(tensor, dtype)


def _on_cpu(tensor: Tensor, dtype: Any) -> bool:
    return tensor.dtype == dtype and tensor.is_dense() and tensor.place.is_cpu_place()
