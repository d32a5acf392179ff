"""The project's own kernel on torch tensors: an autograd.Function, and beneath torch.compile an operator of torch's."""

from __future__ import annotations

from typing import Any

import torch

from unilstm.run import DirectionResult, LayerCall, scan_direction
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from .ops import TorchOps
from .scan import unserved

Tensor = torch.Tensor
Given = dict[str, Tensor | None]  # by the names of job.GIVEN, all of them
library.missing()  # looked for here, because torch.compile cannot follow the look
_DTYPES = (torch.float32, torch.float64)


def refusal(spec: LSTMSpec, layer: int, device: torch.device, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve this layer, or None."""
    reason = job.refusal(spec, call)
    if reason is not None:
        return reason
    if device.type != "cpu":
        return f"the kernel runs on the CPU, not on {device.type}"
    if call is None:
        return None
    if call.x.dtype not in _DTYPES:
        return f"the kernel computes in float32 and float64, not in {call.x.dtype}"
    if torch.is_autocast_enabled("cpu"):
        return "the kernel does not compute in autocast's dtype"
    if torch._C._are_functorch_transforms_active():
        return "the kernel has no rule for torch.func transforms"
    if torch.compiler.is_compiling():
        return None
    if torch.jit.is_tracing():
        return "a graph of torch's operations is being recorded"
    return unserved(call, "the kernel")


def run(ops: TorchOps, spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer. Past a row's length nothing of x is read."""
    directions = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
    return [_direction(spec, call, *direction) for direction in directions]


def _direction(spec: LSTMSpec, call: LayerCall, reverse: bool, state: Any, p: Any, masks: Any) -> DirectionResult:
    given: Given = dict.fromkeys(job.GIVEN) | job.tensors(call, state, p, masks) | job.fixed(masks)
    given["lengths"] = None if call.lengths is None else call.lengths.to(torch.int32)
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given.values())
    if torch.compiler.is_compiling():
        y, h, c, cells, *_ = _OPERATOR(*given.values(), *job.equations_of(spec), reverse, keep, call.cells)
    elif keep:
        y, h, c, cells = _Direction.apply(spec, reverse, *given.values())
    else:
        y, h, c, cells, _ = forward(job.equations(spec), reverse, given, keep=False, wants_cells=call.cells)
    return DirectionResult(y, h, c, cells if call.cells else None)


class _Direction(torch.autograd.Function):
    """(spec, reverse, the tensors of job.GIVEN) → y, h, c, every c."""

    @staticmethod
    def forward(ctx: Any, spec: LSTMSpec, reverse: bool, *tensors: Any) -> Any:
        given = dict(zip(job.GIVEN, tensors, strict=True))
        y, h, c, cells, kept = forward(job.equations(spec), reverse, given, keep=True)
        ctx.spec, ctx.reverse, ctx.kept = spec, reverse, tuple(kept)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, y, cells, *kept.values())
        return y, h, c, cells

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        saved = ctx.saved_tensors
        count = len(job.GIVEN)
        given = dict(zip(job.GIVEN, saved[:count], strict=True))
        if torch.is_grad_enabled():  # create_graph: differentiate the equations themselves
            return (None, None, *_through_the_equations(ctx, given, grads))
        kept = dict(zip(("y", "cells", *ctx.kept), saved[count:], strict=True))
        needs = dict(zip(job.GIVEN, ctx.needs_input_grad[2:], strict=True))
        found = backward(job.equations(ctx.spec), ctx.reverse, given, kept, grads, needs)
        return (None, None, *(found.get(job.gradient_name(name)) if needs[name] else None for name in job.GIVEN))


def _through_the_equations(ctx: Any, given: Given, grads: Any) -> list[Tensor | None]:
    """Gradients that can be differentiated again, by autograd over the equations."""
    with torch.enable_grad():
        p, masks = job.parameters(ctx.spec, given), job.masks(given)
        state = (given["h_0"], given["c_0"])
        call = LayerCall(given["x"], [state], [p], given["lengths"], cells=True)
        r = scan_direction(TorchOps(), ctx.spec, call, ctx.reverse, state, p, masks)
        pairs = [(o, g) for o, g in zip((r.y, r.h, r.c, r.cells), grads, strict=True) if g is not None]
        needs = ctx.needs_input_grad[2:]
        wanted = [t for t, need in zip(given.values(), needs, strict=True) if need]
        of, by = [o for o, _ in pairs], [g for _, g in pairs]
        found = iter(torch.autograd.grad(of, wanted, by, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needs]


def forward(
    equations: job.Equations, reverse: bool, given: Given, *, keep: bool, wants_cells: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, dict[str, Tensor]]:
    """y [T, B, S], h [B, S], c [B, C], every c [T, B, C] where kept or wanted, and what backward needs beside."""
    given = _dense(given)
    x = given["x"]
    assert x is not None
    steps, rows, _ = x.shape
    y, h = x.new_empty(steps, rows, equations.state), x.new_empty(rows, equations.state)
    c = x.new_empty(rows, equations.remembered)
    cells = x.new_empty(steps, rows, equations.remembered) if keep or wants_cells else None
    kept = {n: x.new_empty(shape) for n, shape in equations.kept_shapes(steps, rows).items()} if keep else {}
    arrays = {**given, "y": y, "h_n": h, "c_n": c, "cells": cells, **kept}
    _run(equations, reverse, x, arrays, backward=False)
    return y, h, c, cells, kept


def backward(
    equations: job.Equations,
    reverse: bool,
    given: Given,
    kept: dict[str, Tensor],
    grads: Any,
    needs: dict[str, bool],
) -> dict[str, Tensor]:
    """The gradients by the names of job.GRADIENTS, of what needs one. grads: of y, h, c, every c, each or None."""
    given = _dense(given)
    x = given["x"]
    assert x is not None
    into = {n: None if g is None else g.contiguous() for n, g in zip(job.GRADIENTS_IN, grads, strict=True)}
    found = {}
    for name, need in needs.items():
        tensor = given[name]
        if need and tensor is not None:
            found[job.gradient_name(name)] = x.new_empty(tensor.shape)
    _run(equations, reverse, x, given | kept | into | found, backward=True)
    return found


def _dense(given: Given) -> Given:
    """The same, rows of x and all else dense."""
    return {n: t if t is None or t.is_contiguous() or _rows_dense(n, t) else t.contiguous() for n, t in given.items()}


def _rows_dense(name: str, tensor: Tensor) -> bool:
    return name == "x" and (tensor.stride(2) == 1 or tensor.shape[2] == 1)


def _run(equations: job.Equations, reverse: bool, x: Tensor, arrays: Any, *, backward: bool) -> None:
    double = x.dtype == torch.float64
    threads = library.threads(torch.get_num_threads())
    strides, pointer = x.stride(), Tensor.data_ptr
    job.run(equations, x.shape, strides, reverse, double, arrays, pointer, backward=backward, threads=threads, openmp=1)


# The operator beneath torch.compile and torch.export, which cannot look into a function of Python. inductor keeps
# compiled code on the disk, with the shapes of its results in it, by its name.

_NAME = f"lstm_direction_{job.KEPT_VERSION}"
_BACK = f"{_NAME}_backward"
_LIBRARY = torch.library.Library("unilstm", "FRAGMENT")
_OPTIONAL = ("", "?")
_TENSORS = ", ".join(f"Tensor{_OPTIONAL[n > 4]} {name}" for n, name in enumerate(job.GIVEN))
_LIBRARY.define(f"{_NAME}({_TENSORS}, int[] numbers, float[] reals, bool reverse, bool keep, bool cells) -> Tensor[]")
_LIBRARY.define(
    f"{_BACK}({_TENSORS}, Tensor[] kept, Tensor?[] grads, bool[] needs, int[] numbers, float[] reals,"
    " bool reverse) -> Tensor[]"
)


def _operator(*args: Any) -> list[Tensor]:
    """y, h, c, every c, and what is kept; empty in the place of what is not."""
    *tensors, numbers, reals, reverse, keep, cells = args
    given = dict(zip(job.GIVEN, tensors, strict=True))
    y, h, c, every_c, kept = forward(job.Equations(numbers, reals), reverse, given, keep=keep, wants_cells=cells)
    none = y.new_empty(0)
    return [y, h, c, none if every_c is None else every_c, kept.get("gates", none), kept.get("raw", none.clone())]


def _operator_fake(*args: Any) -> list[Tensor]:
    *tensors, numbers, reals, _, keep, cells = args
    equations, x = job.Equations(numbers, reals), tensors[0]
    steps, rows = x.shape[0], x.shape[1]
    kept = equations.kept_shapes(steps, rows) if keep else {}
    shapes = [(steps, rows, equations.state), (rows, equations.state), (rows, equations.remembered)]
    shapes += [(steps, rows, equations.remembered) if keep or cells else (0,)]
    return [x.new_empty(shape) for shape in (*shapes, kept.get("gates", (0,)), kept.get("raw", (0,)))]


def _operator_backward(*args: Any) -> list[Tensor]:
    """The gradients of job.GRADIENTS; empty in the place of those that are not needed."""
    *tensors, kept, grads, needs, numbers, reals, reverse = args
    equations, given = job.Equations(numbers, reals), dict(zip(job.GIVEN, tensors, strict=True))
    names = ("y", "cells", *equations.kept_shapes(1, 1))
    held = dict(zip(names, kept, strict=False))
    found = backward(equations, reverse, given, held, grads, dict(zip(job.GIVEN, needs, strict=True)))
    return [found[n] if n in found else tensors[0].new_empty(0) for n in job.GRADIENTS]


def _operator_backward_fake(*args: Any) -> list[Tensor]:
    *tensors, _, _, needs, _, _, _ = args
    made = {job.gradient_name(n): t.shape for n, t, need in zip(job.GIVEN, tensors, needs, strict=True) if need}
    return [tensors[0].new_empty(made.get(n, (0,))) for n in job.GRADIENTS]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.numbers, ctx.reals, ctx.reverse, _, _ = inputs
    y, _, _, cells, *kept = output
    ctx.needs = [t is not None and t.requires_grad for t in tensors]
    ctx.save_for_backward(*tensors, y, cells, *kept)


def _differentiate(ctx: Any, grads: Any) -> Any:
    saved = ctx.saved_tensors
    tensors, kept = saved[: len(job.GIVEN)], list(saved[len(job.GIVEN) :])
    every = _OPERATOR_BACK(*tensors, kept, list(grads[:4]), ctx.needs, ctx.numbers, ctx.reals, ctx.reverse)
    found = dict(zip(job.GRADIENTS, every, strict=True))
    of = [found[job.gradient_name(n)] if need else None for n, need in zip(job.GIVEN, ctx.needs, strict=True)]
    return (*of, None, None, None, None, None)


_LIBRARY.impl(_NAME, _operator, "CPU")
_LIBRARY.impl(_BACK, _operator_backward, "CPU")
torch.library.register_fake(f"unilstm::{_NAME}", _operator_fake, lib=_LIBRARY)
torch.library.register_fake(f"unilstm::{_BACK}", _operator_backward_fake, lib=_LIBRARY)
torch.library.register_autograd(f"unilstm::{_NAME}", _differentiate, setup_context=_setup, lib=_LIBRARY)
_OPERATOR, _OPERATOR_BACK = getattr(torch.ops.unilstm, _NAME), getattr(torch.ops.unilstm, _BACK)
