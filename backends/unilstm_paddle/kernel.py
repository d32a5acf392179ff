"""The project's own kernel on Paddle tensors: a PyLayer over their memory."""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer

from unilstm.errors import PathError
from unilstm.run import DirectionResult, LayerCall
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from .ops import dtype_name

Tensor = Any
Given = dict[str, Tensor]  # by the names of job.GIVEN, those that there are


def refusal(spec: LSTMSpec, layer: int, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve this layer, or None."""
    reason = job.refusal(spec, call)
    if reason is not None:
        return reason
    if not paddle.in_dynamic_mode():
        return "a static graph is being built"
    if call is None:
        return None
    if not call.x.place.is_cpu_place():
        return f"the kernel runs on the CPU, not on {call.x.place}"
    if dtype_name(call.x.dtype) not in ("float32", "float64"):
        return f"the kernel computes in float32 and float64, not in {dtype_name(call.x.dtype)}"
    return None


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer. Past a row's length nothing of x is read."""
    directions = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
    return [_direction(spec, call, *direction) for direction in directions]


@dataclass
class _Plan:
    """A direction's call. wanted: names of what is given that has a gradient."""

    spec: LSTMSpec
    reverse: bool
    given: Given
    fixed: Given  # masks and lengths
    wanted: tuple[str, ...]


def _direction(spec: LSTMSpec, call: LayerCall, reverse: bool, state: Any, p: Any, masks: Any) -> DirectionResult:
    given, fixed = job.tensors(call, state, p, masks), job.fixed(masks)
    if call.lengths is not None:
        fixed["lengths"] = call.lengths.astype("int32")
    wanted = tuple(name for name, t in given.items() if not t.stop_gradient)
    if paddle.is_grad_enabled() and wanted:
        y, h, c, cells = _Direction.apply([given[name] for name in wanted], _Plan(spec, reverse, given, fixed, wanted))
    else:
        y, h, c, cells, _ = forward(job.equations(spec), reverse, given | fixed, keep=False, wants_cells=call.cells)
    return DirectionResult(y, h, c, cells if call.cells else None)


class _Direction(PyLayer):  # type: ignore[misc]
    """([what has a gradient], the plan) → y, h, c, every c.

    In a list, which is one argument to Paddle: given several, a PyLayer fails where paddle.grad wants the gradients of
    some of them only, because it must return None for the others then, and is not told which they are.
    """

    @staticmethod
    def forward(ctx: Any, wanted: list[Tensor], plan: _Plan) -> Any:
        y, h, c, cells, kept = forward(job.equations(plan.spec), plan.reverse, plan.given | plan.fixed, keep=True)
        ctx.plan, ctx.kept = plan, tuple(kept)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y, cells, *kept.values())
        return y, h, c, cells

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        plan = ctx.plan
        if paddle.is_grad_enabled():  # a gradient inside this one, of the equations, would crash Paddle (3.3.1)
            raise PathError(
                "create_graph=True: path 'kernel' has first derivatives only on Paddle. For higher ones give the layer "
                "path='composed'."
            )
        kept = dict(zip(("y", "cells", *ctx.kept), ctx.saved_tensor(), strict=True))
        found = backward(job.equations(plan.spec), plan.reverse, plan.given | plan.fixed, kept, grads, plan.wanted)
        return (found,)


def forward(
    equations: job.Equations, reverse: bool, given: Given, *, keep: bool, wants_cells: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, dict[str, Tensor]]:
    """y [T, B, S], h [B, S], c [B, C], every c [T, B, C] where kept or wanted, and what backward needs beside."""
    given = _dense(given)
    x = given["x"]
    steps, rows, _ = x.shape

    state, remembered = equations.state, equations.remembered
    y, h, c = empty([steps, rows, state], x), empty([rows, state], x), empty([rows, remembered], x)
    cells = empty([steps, rows, remembered], x) if keep or wants_cells else None
    kept = {name: empty(shape, x) for name, shape in equations.kept_shapes(steps, rows).items()} if keep else {}
    arrays = {**given, "y": y, "h_n": h, "c_n": c, "cells": cells, **kept}
    _run(equations, reverse, x, arrays, backward=False)
    return y, h, c, cells, kept


def backward(
    equations: job.Equations, reverse: bool, given: Given, kept: Given, grads: Any, wanted: tuple[str, ...]
) -> list[Tensor]:
    """The gradients of what is wanted. grads: of y, h, c, every c, each or None."""
    given = _dense(given)
    x = given["x"]
    into = {name: g.contiguous() for name, g in zip(job.GRADIENTS_IN, grads, strict=True) if g is not None}
    found = {job.gradient_name(name): empty(given[name].shape, x) for name in wanted}  # that of both biases once
    _run(equations, reverse, x, given | kept | into | found, backward=True)
    gradients = [found[job.gradient_name(name)] for name in wanted]
    if "bias" in wanted and "bias_hh" in wanted:  # what is done to the one must not be done to the other
        gradients[wanted.index("bias_hh")] = found["d_bias"].clone()
    return gradients


def empty(shape: Any, like: Tensor) -> Tensor:
    """Beside `like`, which paddle.empty may not be, and in half its time."""
    return _C_ops.empty(shape, like.dtype, like.place)


def _dense(given: Given) -> Given:
    """The same, rows of x and all else dense."""
    x = given["x"]
    found = {name: t.contiguous() for name, t in given.items() if name != "x"}
    return {"x": x if x.strides[2] == 1 or x.shape[2] == 1 else x.contiguous()} | found


def _run(equations: job.Equations, reverse: bool, x: Tensor, arrays: Any, *, backward: bool) -> None:
    double = dtype_name(x.dtype) == "float64"
    shape, strides = tuple(x.shape), tuple(x.strides)
    how = {"backward": backward, "threads": threads(), "openmp": openmp()}
    job.run(equations, shape, strides, reverse, double, arrays, _pointer, **how)


@functools.cache
def _mkl() -> Any:
    """MKL's count of threads, which is where Paddle keeps its own; None in a build without MKL."""
    path = Path(paddle.__file__).parent / "libs" / "libmklml_intel.so"
    return ctypes.CDLL(str(path)).MKL_Get_Max_Threads if path.exists() else None


def threads() -> int:
    """As many as Paddle computes on, where that is anybody's wish. It comes with one, for the sake of its own operators
    beside many processes, which the kernel's helpers, who give way, do not disturb: then all processors."""
    ours = computes_on()
    wished = ours > 1 or library.told("OMP_NUM_THREADS") or library.told("MKL_NUM_THREADS")
    return library.threads(ours if wished and _mkl() is not None else None)


def computes_on() -> int:
    """Threads of Paddle's own."""
    count = _mkl()
    return 1 if count is None else int(count())


def openmp() -> int:
    """Whose threads: as of job.run."""
    return _openmp() if computes_on() > 1 else 0


@functools.cache
def _openmp() -> int:
    """Where the OpenMP runtime of Paddle's MKL begins a parallel region; 0 where that is not loaded. Having computed,
    its threads look out for more for a while, and would hold the processors against any others."""
    path = Path(paddle.__file__).parent / "libs" / "libiomp5.so"
    try:
        parallel = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD | os.RTLD_LAZY).GOMP_parallel
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(parallel, ctypes.c_void_p).value or 0


def _pointer(tensor: Tensor) -> int:
    return tensor.data_ptr()  # type: ignore[no-any-return]
