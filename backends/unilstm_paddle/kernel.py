"""The project's own kernel on Paddle tensors: a PyLayer over their memory."""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paddle
from paddle import _C_ops
from paddle.autograd import PyLayer

from unilstm.errors import InputError, PathError
from unilstm.run import DirectionResult, LayerCall
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from .ops import dtype_name

Tensor = Any
Given = dict[str, Tensor]  # by the names of job.GIVEN, those that there are


def refusal(spec: LSTMSpec, dtype: str, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve a layer of this dtype, or None."""
    reason = job.refusal(spec, dtype)
    if reason is not None:
        return reason
    if not paddle.in_dynamic_mode():
        return "a static graph is being built"
    if call is not None and not call.x.place.is_cpu_place():
        return f"the kernel runs on the CPU, not on {call.x.place}"
    return None


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer, or a stack of them. Past a row's length nothing of x is read."""
    plan, lengths = _Plan(spec, job.reversed_ones(spec, layer, call), call.stacked), {}
    if call.lengths is not None:
        lengths["lengths"] = call.lengths.astype("int32")
    for tensors, masks in zip(job.tensors(call), call.all_masks(), strict=True):
        plan.givens.append({**tensors, **job.fixed(masks), **lengths})
        plan.wanted.append(_in_graph(tensors))
    if paddle.is_grad_enabled() and any(plan.wanted):
        wanted = [given[name] for given, names in zip(plan.givens, plan.wanted, strict=True) for name in names]
        y, *rest = _Layer.apply(wanted, plan)
        found = job.parts(rest, 3)
    else:
        results = forward(plan, keep=False, wants_cells=call.cells)
        y, found = results[-1]["y"], [(r["h_n"], r["c_n"], r.get("cells")) for r in results]
    joined = len(found) > 1 and not call.stacked
    return [DirectionResult(y, h, c, cells if call.cells else None, joined) for h, c, cells in found]


def run_stack(spec: LSTMSpec, call: LayerCall) -> list[DirectionResult] | None:
    """None where the layers are better run one by one."""
    if paddle.is_grad_enabled() and job.keeps_in_vain([_in_graph(given) for given in job.tensors(call)]):
        return None
    return run(spec, 0, call)


def _in_graph(tensors: Given) -> tuple[str, ...]:
    """The names of what has a gradient."""
    return tuple(name for name, t in tensors.items() if not t.stop_gradient)


@dataclass
class _Plan:
    """The call of a layer, or of a stack. For each direction, or layer: is it reversed, what it is given, and the names
    of that which has a gradient."""

    spec: LSTMSpec
    reverse: tuple[bool, ...]
    stacked: bool
    givens: list[Given] = field(default_factory=list)
    wanted: list[tuple[str, ...]] = field(default_factory=list)


class _Layer(PyLayer):  # type: ignore[misc]
    """([what has a gradient], the plan) → y, for each direction h, c, every c.

    In a list, which is one argument to Paddle: given several, a PyLayer fails where paddle.grad wants the gradients of
    some of them only, because it must return None for the others then, and is not told which they are.
    """

    @staticmethod
    def forward(ctx: Any, wanted: list[Tensor], plan: _Plan) -> Any:
        results = forward(plan, keep=True)
        ctx.plan, ctx.names = plan, [name for name in results[0] if name not in ("h_n", "c_n")]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*(r[name] for r in results for name in ctx.names))
        used = [("y", results[-1]["y"]), *(pair for given in plan.givens for pair in given.items())]
        ctx.used = [(name, t, t.inplace_version) for name, t in used]
        return (results[-1]["y"], *(r[name] for r in results for name in job.RESULTS[1:]))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        plan = ctx.plan
        if paddle.is_grad_enabled():  # a gradient inside this one, of the equations, would crash Paddle (3.3.1)
            raise PathError(
                "create_graph=True: path 'kernel' has first derivatives only on Paddle. For higher ones give the layer "
                "path='composed'."
            )
        for name, tensor, version in ctx.used:  # which Paddle sees to for its own operators, and not for a PyLayer
            if tensor.inplace_version != version:
                raise InputError(
                    f"{name} was written into after the call whose gradient needs it. Write into a clone, or call "
                    "backward() before."
                )
        saved, (d_y, *rest) = ctx.saved_tensor(), grads
        every = []
        for given, held, of_results in zip(
            plan.givens, job.parts(saved, len(ctx.names)), job.parts(rest, 3), strict=True
        ):
            kept = dict(zip(ctx.names, held, strict=True))
            into = dict(zip(job.GRADIENTS_IN, (d_y, *of_results), strict=True))
            into = {name: g for name, g in into.items() if g is not None}
            every.append({**given, **kept, **into})
        return (backward(plan, every),)


def forward(plan: _Plan, *, keep: bool, wants_cells: bool = True) -> list[dict[str, Tensor]]:
    """For each direction, or each layer of a stack, by the names of job.ARRAYS: y [T, B, D·S], which directions share,
    h_n [B, S], c_n [B, C], every c [T, B, C] where kept or wanted, and what backward needs beside."""
    givens = [_dense(given) for given in plan.givens]
    x, equations = givens[0]["x"], job.equations(plan.spec)
    steps, rows, _ = x.shape
    shapes = equations.made_shapes(steps, rows, len(givens), stacked=plan.stacked, keep=keep, cells=wants_cells)
    results = [{name: empty(shape, x) for name, shape in of.items()} for of in shapes]
    results = [{"y": results[0]["y"], **made} for made in results]
    _run(plan, [given | made for given, made in zip(givens, results, strict=True)], backward=False)
    return results


def backward(plan: _Plan, givens: list[Given]) -> list[Tensor]:
    """The gradients of what is wanted of each direction, one direction after the other. givens: what a direction was
    given, what it kept, and the gradients of its results."""
    givens = [_dense(given) for given in givens]
    found = []
    for given, names in zip(givens, plan.wanted, strict=True):  # that of both biases once
        found.append({job.gradient_name(name): empty(given[name].shape, given["y"]) for name in names})
    _run(plan, [given | made for given, made in zip(givens, found, strict=True)], backward=True)
    gradients = []
    for made, names in zip(found, plan.wanted, strict=True):
        of = {name: made[job.gradient_name(name)] for name in names}
        if "bias" in of and "bias_hh" in of:  # what is done to the one must not be done to the other
            of["bias_hh"] = made["d_bias"].clone()
        gradients += of.values()
    return gradients


def empty(shape: Any, like: Tensor) -> Tensor:
    """Beside `like`, which paddle.empty may not be, and in half its time."""
    return _C_ops.empty(shape, like.dtype, like.place)


def _dense(given: Given) -> Given:
    """The same, rows of x and of the gradient of y and all else dense."""
    return {name: t if name in ("x", "d_y") and _rows_dense(t) else t.contiguous() for name, t in given.items()}


def _rows_dense(tensor: Tensor) -> bool:
    return tensor.strides[2] == 1 or tensor.shape[2] == 1


def _run(plan: _Plan, every: list[Given], *, backward: bool) -> None:
    x, equations = every[0]["x"], job.equations(plan.spec)
    double = dtype_name(x.dtype) == "float64"
    directions = [
        job.Direction(one, tuple(a.get("x", x).strides), a) for one, a in zip(plan.reverse, every, strict=True)
    ]
    d_y = tuple(every[0]["d_y"].strides) if "d_y" in every[0] else None
    count, openmp = threads()
    how = {"d_y_strides": d_y, "stacked": plan.stacked, "backward": backward, "threads": count, "openmp": openmp}
    job.run(equations, tuple(x.shape), double, directions, _pointer, **how)


@functools.cache
def _mkl() -> Any:
    """MKL's count of threads, which is where Paddle keeps its own; None in a build without MKL."""
    path = Path(paddle.__file__).parent / "libs" / "libmklml_intel.so"
    return ctypes.CDLL(str(path)).MKL_Get_Max_Threads if path.exists() else None


def threads() -> tuple[int, int]:
    """How many, and openmp as of job.run. As many as Paddle computes on, where that is anybody's wish. It comes with
    one, for the sake of its own operators beside many processes, which the kernel's helpers, who give way, do not
    disturb: then all processors."""
    ours = computes_on()
    wished = ours > 1 or library.told("OMP_NUM_THREADS") or library.told("MKL_NUM_THREADS")
    return library.threads(ours if wished and _mkl() is not None else None), _openmp() if ours > 1 else 0


def computes_on() -> int:
    """Threads of Paddle's own."""
    count = _mkl()
    return 1 if count is None else int(count())


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
