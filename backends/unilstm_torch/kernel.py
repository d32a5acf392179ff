"""The project's own kernel on torch tensors: an autograd.Function, and beneath torch.compile an operator of torch's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from unilstm.run import DirectionResult, LayerCall, scan_direction
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from .ops import TorchOps
from .scan import unserved

Tensor = torch.Tensor
Given = dict[str, Tensor]  # by the names of job.GIVEN, those that there are
library.missing()  # looked for here, because torch.compile cannot follow the look
_GRADIENTS = [job.gradient_name(name) for name in job.GIVEN]
_STATE = ("h_n", "c_n")  # the results that the way back does not need
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
    """One layer, or a stack of them. Past a row's length nothing of x is read."""
    reverse, givens = job.reversed_ones(spec, layer, call), []
    for given, masks in zip(job.tensors(call), call.all_masks(), strict=True):
        givens.append(given | job.fixed(masks))
    if call.lengths is not None:
        lengths = call.lengths.to(torch.int32)
        givens = [given | {"lengths": lengths} for given in givens]
    keep = torch.is_grad_enabled() and any(map(_in_graph, givens))
    if torch.compiler.is_compiling():
        y, *rest = _OPERATORS[len(reverse)](*_every(givens), *job.equations_of(spec), reverse, keep, call.cells)
        found = [one[:3] for one in job.parts(rest, len(_OF_DIRECTION))]
    elif keep:
        y, *rest = _Layer.apply(spec, reverse, call.stacked, *_every(givens))
        found = job.parts(rest, 3)
    else:
        how = {"stacked": call.stacked, "keep": False, "wants_cells": call.cells}
        every = forward(job.equations(spec), reverse, givens, **how)
        y, found = every[-1]["y"], [(r["h_n"], r["c_n"], r.get("cells")) for r in every]
    joined = len(reverse) > 1 and not call.stacked
    return [DirectionResult(y, h, c, cells if call.cells else None, joined) for h, c, cells in found]


def run_stack(ops: TorchOps, spec: LSTMSpec, call: LayerCall) -> list[DirectionResult] | None:
    """None where a graph is being compiled, which has an operator a layer, and where the first layer needs no way back
    and others do: what it keeps for that would be kept for nothing."""
    needs = torch.is_grad_enabled() and list(map(_in_graph, job.tensors(call)))
    if torch.compiler.is_compiling() or (needs and any(needs) and not needs[0]):
        return None
    return run(ops, spec, 0, call)


def _in_graph(given: Given) -> bool:
    return any(t.requires_grad for t in given.values())


def _every(givens: list[Given]) -> list[Tensor | None]:
    """For each direction the tensors of job.GIVEN, None where there is none."""
    return [given.get(name) for given in givens for name in job.GIVEN]


def _givens(tensors: Sequence[Tensor | None]) -> list[Given]:
    """The other way round."""
    every = job.parts(tensors, len(job.GIVEN))
    return [{name: t for name, t in zip(job.GIVEN, part, strict=True) if t is not None} for part in every]


class _Layer(torch.autograd.Function):
    """(spec, which directions or layers are reversed, is it a stack?, for each the tensors of job.GIVEN) → y, for each
    h, c, every c."""

    @staticmethod
    def forward(ctx: Any, spec: LSTMSpec, reverse: tuple[bool, ...], stacked: bool, *tensors: Any) -> Any:
        results = forward(job.equations(spec), reverse, _givens(tensors), stacked=stacked, keep=True)
        ctx.spec, ctx.reverse, ctx.stacked = spec, reverse, stacked
        ctx.names = [name for name in results[0] if name not in _STATE]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *(r[name] for r in results for name in ctx.names))
        return (results[-1]["y"], *(r[name] for r in results for name in job.RESULTS[1:]))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        count = len(job.GIVEN) * len(ctx.reverse)
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad[3:]
        givens = _givens(saved[:count])
        if torch.is_grad_enabled():  # create_graph: differentiate the equations themselves
            return (None, None, None, *_through_the_equations(ctx, givens, grads, needs))
        kept = [dict(zip(ctx.names, part, strict=True)) for part in job.parts(saved[count:], len(ctx.names))]
        how = {"stacked": ctx.stacked, "wanted": _wanted(needs)}
        found = backward(job.equations(ctx.spec), ctx.reverse, givens, kept, grads, **how)
        return (None, None, None, *_in_order(found, needs))


def _in_order(found: list[dict[str, Tensor]], needs: Sequence[bool]) -> list[Tensor | None]:
    """The gradients of each direction's tensors of job.GIVEN."""
    every = [of.get(name) for of in found for name in _GRADIENTS]
    return [gradient if need else None for gradient, need in zip(every, needs, strict=True)]


def _wanted(needs: Sequence[bool]) -> list[list[str]]:
    """For each direction the names of what needs a gradient."""
    return [list(itertools.compress(job.GIVEN, part)) for part in job.parts(needs, len(job.GIVEN))]


def _through_the_equations(ctx: Any, givens: list[Given], grads: Any, needs: Any) -> list[Tensor | None]:
    """Gradients that can be differentiated again, by autograd over the equations. needs: of all of job.GIVEN."""
    ys: list[Tensor] = []
    rest: list[Tensor | None] = []
    with torch.enable_grad():
        # A view of each: x is there once for each direction, and its gradient, as that of one tensor, the whole one.
        givens = [{name: t.view_as(t) for name, t in given.items()} for given in givens]
        for reverse, given in zip(ctx.reverse, givens, strict=True):
            p, masks = job.parameters(ctx.spec, given), job.masks(given)
            state = (given["h_0"], given["c_0"])
            x = given["x"] if "x" in given else ys[-1]
            call = LayerCall(x, [state], [p], given.get("lengths"), cells=True)
            r = scan_direction(TorchOps(), ctx.spec, call, reverse, state, p, masks)
            ys.append(r.y)
            rest += [r.h, r.c, r.cells]
        y = ys[-1] if ctx.stacked else torch.cat(ys, -1)
        pairs = [(o, g) for o, g in zip((y, *rest), grads, strict=True) if g is not None]
        wanted = [t for t, need in zip(_every(givens), needs, strict=True) if need]
        of, by = [o for o, _ in pairs], [g for _, g in pairs]
        found = iter(torch.autograd.grad(of, wanted, by, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needs]


def forward(
    equations: job.Equations,
    reverse: Sequence[bool],
    givens: list[Given],
    *,
    stacked: bool = False,
    keep: bool,
    wants_cells: bool = True,
) -> list[dict[str, Tensor]]:
    """For each direction, or each layer of a stack, by the names of job.ARRAYS: y [T, B, D·S], which directions share,
    h_n [B, S], c_n [B, C], every c [T, B, C] where kept or wanted, and what backward needs beside."""
    givens = [_dense(given) for given in givens]
    x = givens[0]["x"]
    steps, rows, _ = x.shape
    shapes = equations.made_shapes(steps, rows, len(givens), stacked=stacked, keep=keep, cells=wants_cells)
    results = [{name: x.new_empty(shape) for name, shape in of.items()} for of in shapes]
    results = [{"y": results[0]["y"], **made} for made in results]
    every = [given | made for given, made in zip(givens, results, strict=True)]
    _run(equations, reverse, every, stacked=stacked, backward=False)
    return results


def backward(
    equations: job.Equations,
    reverse: Sequence[bool],
    givens: list[Given],
    kept: list[dict[str, Tensor]],
    grads: Sequence[Tensor | None],
    *,
    stacked: bool = False,
    wanted: list[list[str]],
) -> list[dict[str, Tensor]]:
    """For each direction the gradients of what is wanted, by the names of job.GRADIENTS. grads: of y, and of each
    direction's h, c, every c, each or None."""
    every: list[Given] = []
    found: list[Given] = []
    d_y, *rest = grads
    d_y = None if d_y is None else _dense({"d_y": d_y})["d_y"]
    for given, held, of_results, names in zip(givens, kept, job.parts(rest, 3), wanted, strict=True):
        into = {n: g for n, g in zip(job.GRADIENTS_IN, (d_y, *of_results), strict=True) if g is not None}
        given, into = _dense(given), _dense(into)
        made = {job.gradient_name(name): given[name].new_empty(given[name].shape) for name in names}
        if stacked and found:
            made["d_x"] = torch.empty_like(held["y"])
        found.append(made)
        every.append({**given, **held, **into, **made})
    strides = None if d_y is None else d_y.stride()
    _run(equations, reverse, every, stacked=stacked, backward=True, d_y_strides=strides)
    return found


def _dense(given: Given) -> Given:
    """The same, rows of x and of the gradient of y and all else dense."""
    return {n: t if t.is_contiguous() or _rows_dense(n, t) else t.contiguous() for n, t in given.items()}


def _rows_dense(name: str, tensor: Tensor) -> bool:
    return name in ("x", "d_y") and (tensor.stride(2) == 1 or tensor.shape[2] == 1)


def _run(equations: job.Equations, reverse: Sequence[bool], every: list[Given], **how: Any) -> None:
    x, threads = every[0]["x"], library.threads(torch.get_num_threads())
    directions = [job.Direction(one, a.get("x", x).stride(), a) for one, a in zip(reverse, every, strict=True)]
    double, pointer = x.dtype == torch.float64, Tensor.data_ptr
    job.run(equations, x.shape, double, directions, pointer, threads=threads, openmp=1, **how)


# The operators beneath torch.compile and torch.export, which cannot look into a function of Python: one for layers of
# one direction, one for those of two. inductor keeps compiled code on the disk, with the shapes of its results in it,
# by its name.

_COUNTS = (1, 2)
_LIBRARY = torch.library.Library("unilstm", "FRAGMENT")
_OF_DIRECTION = (*job.RESULTS[1:], *job.KEPT)  # what each direction has of its own
_KEPT = ("cells", *job.KEPT)
_SETTINGS = "int[] numbers, float[] reals, bool[] reverse"


def _operator(*args: Any) -> list[Tensor]:
    """y, and for each direction h, c, every c, and what is kept; empty in the place of what is not."""
    *tensors, numbers, reals, reverse, keep, cells = args
    every = forward(job.Equations(numbers, reals), reverse, _givens(tensors), keep=keep, wants_cells=cells)
    y = every[0]["y"]
    return [y, *(r[n] if n in r else y.new_empty(0) for r in every for n in _OF_DIRECTION)]


def _operator_fake(*args: Any) -> list[Tensor]:
    *tensors, numbers, reals, reverse, keep, cells = args
    equations, x = job.Equations(numbers, reals), tensors[0]
    steps, rows = x.shape[0], x.shape[1]
    made = equations.made_shapes(steps, rows, len(reverse), stacked=False, keep=keep, cells=cells)
    every = [made[0]["y"], *(of.get(name, (0,)) for of in made for name in _OF_DIRECTION)]
    return [x.new_empty(shape) for shape in every]


def _operator_backward(*args: Any) -> list[Tensor]:
    """For each direction the gradients of job.GRADIENTS; empty in the place of those that are not needed."""
    *tensors, kept, grads, needs, numbers, reals, reverse = args
    equations = job.Equations(numbers, reals)
    names, (y, *rest) = ("cells", *equations.kept_shapes(1, 1)), kept
    held = [dict(zip(_KEPT, part, strict=True)) for part in job.parts(rest, len(_KEPT))]
    held = [{"y": y, **{name: one[name] for name in names}} for one in held]
    found = backward(equations, reverse, _givens(tensors), held, grads, wanted=_wanted(needs))
    return [of[n] if n in of else tensors[0].new_empty(0) for of in found for n in job.GRADIENTS]


def _operator_backward_fake(*args: Any) -> list[Tensor]:
    *tensors, _, _, needs, _, _, _ = args
    shapes = []
    for given, names in zip(_givens(tensors), _wanted(needs), strict=True):
        made = {job.gradient_name(name): given[name].shape for name in names}
        shapes += [made.get(name, (0,)) for name in job.GRADIENTS]
    return [tensors[0].new_empty(shape) for shape in shapes]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.numbers, ctx.reals, ctx.reverse, _, _ = inputs
    ctx.needs = [t is not None and t.requires_grad for t in tensors]
    y, *rest = output
    kept = [tensor for _, _, *of in job.parts(rest, len(_OF_DIRECTION)) for tensor in of]
    ctx.save_for_backward(*tensors, y, *kept)


def _differentiate(ctx: Any, grads: Any) -> Any:
    saved, count = ctx.saved_tensors, len(job.GIVEN) * len(ctx.reverse)
    tensors, kept = saved[:count], list(saved[count:])
    d_y, *rest = grads
    of_results = [d_y, *(grad for part in job.parts(rest, len(_OF_DIRECTION)) for grad in part[:3])]
    settings = ctx.numbers, ctx.reals, ctx.reverse
    every = _OPERATORS_BACK[len(ctx.reverse)](*tensors, kept, of_results, ctx.needs, *settings)
    found = [dict(zip(job.GRADIENTS, part, strict=True)) for part in job.parts(every, len(job.GRADIENTS))]
    return (*_in_order(found, ctx.needs), None, None, None, None, None)


def _define(count: int) -> tuple[Any, Any]:
    """The operator of layers of so many directions, and its way back."""
    name = f"lstm_layer_{count}_{job.KEPT_VERSION}"
    back, optional = f"{name}_backward", ("", "?")
    tensors = ", ".join(f"Tensor{optional[k > 3]} {n}_{d}" for d in range(count) for k, n in enumerate(job.GIVEN))
    _LIBRARY.define(f"{name}({tensors}, {_SETTINGS}, bool keep, bool cells) -> Tensor[]")
    _LIBRARY.define(f"{back}({tensors}, Tensor[] kept, Tensor?[] grads, bool[] needs, {_SETTINGS}) -> Tensor[]")
    _LIBRARY.impl(name, _operator, "CPU")
    _LIBRARY.impl(back, _operator_backward, "CPU")
    torch.library.register_fake(f"unilstm::{name}", _operator_fake, lib=_LIBRARY)
    torch.library.register_fake(f"unilstm::{back}", _operator_backward_fake, lib=_LIBRARY)
    torch.library.register_autograd(f"unilstm::{name}", _differentiate, setup_context=_setup, lib=_LIBRARY)
    return getattr(torch.ops.unilstm, name), getattr(torch.ops.unilstm, back)


_DEFINED = {count: _define(count) for count in _COUNTS}
_OPERATORS = {count: forward for count, (forward, _) in _DEFINED.items()}
_OPERATORS_BACK = {count: back for count, (_, back) in _DEFINED.items()}
