"""The project's own kernel on Paddle tensors: a PyLayer over their memory."""

from __future__ import annotations

import ctypes
import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
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
        together = paddle.concat([given[name].flatten() for name in wanted])
        y, h, c, cells = _Direction.apply(together, _Plan(spec, reverse, given, fixed, wanted))
    else:
        y, h, c, cells, _ = forward(job.equations(spec), reverse, given | fixed, keep=False, wants_cells=call.cells)
    return DirectionResult(y, h, c, cells if call.cells else None)


class _Direction(PyLayer):  # type: ignore[misc]
    """(what has a gradient, as one tensor; the plan) → y, h, c, every c.

    One tensor, because a PyLayer of several fails where paddle.grad wants the gradients of some of them only: it must
    return None for the others then, and is not told which they are.
    """

    @staticmethod
    def forward(ctx: Any, together: Any, plan: _Plan) -> Any:
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
        return backward(job.equations(plan.spec), plan.reverse, plan.given | plan.fixed, kept, grads, plan.wanted)


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
    equations: job.Equations, reverse: bool, given: Given, kept: Given, grads: Any, wanted: tuple[str, ...]
) -> Tensor:
    """The gradients of what is wanted, flat, one after the other. grads: of y, h, c, every c, each or None."""
    given = _dense(given)
    x = given["x"]
    into = {name: g.contiguous() for name, g in zip(job.GRADIENTS_IN, grads, strict=True) if g is not None}
    starts = dict(zip(wanted, itertools.accumulate((given[name].size for name in wanted), initial=0), strict=False))
    together = paddle.empty([sum(given[name].size for name in wanted)], dtype=x.dtype)
    twice = "bias" in starts and "bias_hh" in starts  # with the same gradient: computed in one's place, and copied
    own = {name: at for name, at in starts.items() if not (twice and name == "bias_hh")}
    found = {job.gradient_name(name): together.data_ptr() + at * x.element_size() for name, at in own.items()}
    _run(equations, reverse, x, given | kept | into | found, backward=True)
    if twice:
        one, other, count = starts["bias"], starts["bias_hh"], given["bias"].size
        together[other : other + count] = together[one : one + count]
    return together


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


def _pointer(array: Any) -> int:
    """Of a tensor; or the address itself."""
    return array if isinstance(array, int) else array.data_ptr()
