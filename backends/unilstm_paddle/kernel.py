"""The project's own kernel on Paddle tensors: a PyLayer over their memory."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle.autograd import PyLayer

from unilstm.run import DirectionResult, LayerCall, scan_direction
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from .ops import OPS, dtype_name

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
    """What a direction is given that has no gradient, and what it keeps for the way back."""

    spec: LSTMSpec
    reverse: bool
    names: tuple[str, ...]  # of the tensors that are handed over
    fixed: Given  # masks and lengths


def _direction(spec: LSTMSpec, call: LayerCall, reverse: bool, state: Any, p: Any, masks: Any) -> DirectionResult:
    x = call.x * masks["input"] if "input" in masks else call.x
    given = {"x": x, "h_0": state[0], "c_0": state[1], **job.given(p)}
    fixed = job.fixed(masks)
    if call.lengths is not None:
        fixed["lengths"] = call.lengths.astype("int32")
    if paddle.is_grad_enabled() and not all(t.stop_gradient for t in given.values()):
        y, h, c, cells = _Direction.apply(_Plan(spec, reverse, tuple(given), fixed), *given.values())
    else:
        y, h, c, cells, _ = forward(job.equations(spec), reverse, given | fixed, keep=False, wants_cells=call.cells)
    return DirectionResult(y, h, c, cells if call.cells else None)


class _Direction(PyLayer):  # type: ignore[misc]
    """(plan, the tensors that it names) → y, h, c, every c."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Any) -> Any:
        given = dict(zip(plan.names, tensors, strict=True))
        y, h, c, cells, kept = forward(job.equations(plan.spec), plan.reverse, given | plan.fixed, keep=True)
        ctx.plan, ctx.kept = plan, tuple(kept)
        ctx.needs = [not t.stop_gradient for t in tensors]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, y, cells, *kept.values())
        return y, h, c, cells

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        plan, saved, count = ctx.plan, ctx.saved_tensor(), len(ctx.needs)
        given = dict(zip(plan.names, saved[:count], strict=True))
        needs = dict(zip(plan.names, ctx.needs, strict=True))
        if paddle.is_grad_enabled():  # create_graph: differentiate the equations themselves
            return _through_the_equations(plan, given, needs, grads)
        kept = dict(zip(("y", "cells", *ctx.kept), saved[count:], strict=True))
        found = backward(job.equations(plan.spec), plan.reverse, given | plan.fixed, kept, grads, needs)
        return tuple(found[job.gradient_name(name)] if need else None for name, need in needs.items())


def _through_the_equations(plan: _Plan, given: Given, needs: dict[str, bool], grads: Any) -> tuple[Any, ...]:
    """Gradients that can be differentiated again, by autograd over the equations."""
    p, masks = job.parameters(plan.spec, given), job.masks(plan.fixed)
    state = (given["h_0"], given["c_0"])
    call = LayerCall(given["x"], [state], [p], plan.fixed.get("lengths"), cells=True)
    r = scan_direction(OPS, plan.spec, call, plan.reverse, state, p, masks)
    pairs = [(o, g) for o, g in zip((r.y, r.h, r.c, r.cells), grads, strict=True) if g is not None]
    pairs = [(o, g) for o, g in pairs if not o.stop_gradient]
    wanted = [given[name] for name, need in needs.items() if need]
    of, by = [o for o, _ in pairs], [g for _, g in pairs]
    found = iter(paddle.grad(of, wanted, by, create_graph=True, allow_unused=True))
    return tuple(next(found) if need else None for need in needs.values())


def forward(
    equations: job.Equations, reverse: bool, given: Given, *, keep: bool, wants_cells: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, dict[str, Tensor]]:
    """y [T, B, S], h [B, S], c [B, C], every c [T, B, C] where kept or wanted, and what backward needs beside."""
    given = _dense(given)
    x = given["x"]
    steps, rows, _ = x.shape

    def empty(*shape: int) -> Tensor:
        return paddle.empty(list(shape), dtype=x.dtype)

    y, h, c = empty(steps, rows, equations.state), empty(rows, equations.state), empty(rows, equations.remembered)
    cells = empty(steps, rows, equations.remembered) if keep or wants_cells else None
    kept = {name: empty(*shape) for name, shape in equations.kept_shapes(steps, rows).items()} if keep else {}
    arrays = {**given, "y": y, "h_n": h, "c_n": c, "cells": cells, **kept}
    _run(equations, reverse, x, arrays, backward=False)
    return y, h, c, cells, kept


def backward(
    equations: job.Equations, reverse: bool, given: Given, kept: Given, grads: Any, needs: dict[str, bool]
) -> dict[str, Tensor]:
    """The gradients by the names of job.GRADIENTS, of what needs one. grads: of y, h, c, every c, each or None."""
    given = _dense(given)
    x = given["x"]
    into = {name: g.contiguous() for name, g in zip(job.GRADIENTS_IN, grads, strict=True) if g is not None}
    found = {
        job.gradient_name(name): paddle.empty(given[name].shape, dtype=x.dtype) for name, need in needs.items() if need
    }
    _run(equations, reverse, x, given | kept | into | found, backward=True)
    return found


def _dense(given: Given) -> Given:
    """The same, rows of x and all else dense."""
    x = given["x"]
    found = {name: t.contiguous() for name, t in given.items() if name != "x"}
    return {"x": x if x.strides[2] == 1 or x.shape[2] == 1 else x.contiguous()} | found


def _run(equations: job.Equations, reverse: bool, x: Tensor, arrays: Any, *, backward: bool) -> None:
    double = dtype_name(x.dtype) == "float64"
    shape, strides = tuple(x.shape), tuple(x.strides)
    job.run(equations, shape, strides, reverse, double, arrays, _pointer, backward=backward, threads=_threads())


@functools.cache
def _mkl() -> Any:
    """MKL's count of threads, which is where Paddle keeps its own; None in a build without MKL."""
    path = Path(paddle.__file__).parent / "libs" / "libmklml_intel.so"
    return ctypes.CDLL(str(path)).MKL_Get_Max_Threads if path.exists() else None


def _threads() -> int:
    """Those that Paddle computes on: one, unless OMP_NUM_THREADS or set_num_threads says otherwise."""
    count = _mkl()
    return library.threads(default=1) if count is None else int(count())


def _pointer(tensor: Tensor) -> int:
    return tensor.data_ptr()  # type: ignore[no-any-return]
