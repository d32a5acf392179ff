"""Steps of a stream, straight into the kernel; see unilstm_kernels/streaming.py."""

from __future__ import annotations

from typing import Any

import torch

from unilstm.errors import InputError
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
    dtype, parameters = x.dtype, []
    for name, shape in zip(plan.names, plan.shapes, strict=True):
        p = params.get(name)
        if type(p) is not torch.nn.Parameter or p.shape != shape or not _dense(p, dtype):
            return None
        parameters.append(p)
    h_0, c_0 = state
    rows = x.shape[0]
    h_n, c_n = torch.empty_like(h_0), torch.empty_like(c_0)  # sooner there than by their shapes
    y = torch.empty_like(h_n[0]) if plan.h[0] == 1 else x.new_empty((rows, plan.h[1]))
    pointers = [t.data_ptr() for t in (x, h_0, c_0, y, h_n, c_n)]
    places = [p.data_ptr() for p in parameters]
    streaming.run(plan, rows, dtype == torch.float64, _threads(), pointers, places)
    return y, (h_n, c_n)


def _threads() -> int:
    return library.threads(torch.get_num_threads())


class Steps(streaming.Steps):
    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self._like = torch.empty(self.y_shape, dtype=self.dtype, device="cpu")

    def plain(self, x: Any) -> bool:
        fits = type(x) is Tensor and x.shape == self.x_shape
        return fits and _dense(x, self.dtype)

    def tidy(self, x: Tensor) -> Tensor:
        if not x.is_cpu:
            raise InputError(f"x is on {x.device} but the layer is on cpu. Move one of them.")
        return self.dense(x.as_subclass(Tensor))

    def state(self) -> tuple[Tensor, Tensor]:
        return self.h.clone(), self.c.clone()

    def dense(self, tensor: Tensor) -> Tensor:
        return tensor.detach().resolve_neg().contiguous()

    def pointer(self, tensor: Tensor) -> int:
        return tensor.data_ptr()

    def empty(self) -> Tensor:
        return torch.empty_like(self._like)  # sooner there than by its shape

    setting = staticmethod(torch.get_num_threads)

    def threads(self) -> tuple[int, int]:
        return _threads(), 0


def steps(layer: Any, h: Tensor, c: Tensor, rows: int | None) -> Steps | None:
    """None where the kernel does not serve."""
    if layer.path not in ("auto", "kernel") or h.dtype not in _DTYPES or not h.is_cpu:
        return None
    plan, tensors = streaming.plan(layer.spec), layer._tensors()
    if plan is None or not all(tensors[name].dtype is h.dtype and tensors[name].is_cpu for name in plan.names):
        return None
    return Steps(plan, tensors, h, c, rows, h.dtype == torch.float64)


def _plain(plan: streaming.Plan, x: Any, state: Any) -> bool:
    if type(x) is not Tensor or x.dtype not in _DTYPES or not isinstance(state, (tuple, list)) or len(state) != 2:
        return False
    if not all(type(tensor) is Tensor for tensor in state) or not plan.fits(x.shape, state[0].shape, state[1].shape):
        return False
    if torch.is_autocast_enabled("cpu") or torch.jit.is_tracing():
        return False
    return all(_dense(tensor, x.dtype) for tensor in (x, *state)) and serves([x, *state])


def _dense(tensor: Tensor, dtype: torch.dtype) -> bool:
    return tensor.dtype is dtype and tensor.is_cpu and tensor.is_contiguous() and not tensor.is_neg()
