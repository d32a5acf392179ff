"""The project's own kernel on torch tensors: an autograd.Function, and beneath torch.compile an operator of torch's."""

from __future__ import annotations

import hashlib
import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import torch

from unilstm.errors import PathError
from unilstm.run import DirectionResult, LayerCall, scan_direction
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from .ops import TorchOps
from .scan import unserved

Tensor = torch.Tensor
Given = dict[str, Tensor]  # by the names of job.GIVEN, those that there are
library.missing()  # looked for here, because torch.compile cannot follow the look
_GRADIENTS = [job.gradient_name(name) for name in job.GIVEN]
_BIAS, _BIAS_HH = job.GIVEN.index("bias"), job.GIVEN.index("bias_hh")  # both have the same gradient
_STATE = ("h_n", "c_n")  # the results that the way back does not need


def refusal(spec: LSTMSpec, device: torch.device, dtype: str, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve a layer of this dtype, or None."""
    reason = job.refusal(spec, dtype)
    if reason is not None:
        return reason
    if device.type != "cpu":
        return f"the kernel runs on the CPU, not on {device.type}"
    if call is None:
        return None
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
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():  # or make_fx, or one that counts, watches
        given = [(place, t) for place, t in enumerate(_every(givens)) if t is not None]
        tensors, places = [t for _, t in given], [place for place, _ in given]
        made = _OPERATOR(tensors, places, *job.equations_of(spec), reverse, call.stacked, keep, call.cells)
        jobs = job.parts(made, len(_OF_JOB))
        y, found = jobs[_whose_y(call.stacked)][0], [one[1:4] for one in jobs]
    elif keep:
        y, *rest = _Layer.apply(spec, reverse, call.stacked, *_every(givens))
        found = job.parts(rest, 3)
    else:
        how = {"stacked": call.stacked, "keep": False, "wants_cells": call.cells}
        every = forward(job.equations(spec), reverse, givens, **how)
        y, found = every[_whose_y(call.stacked)]["y"], [(r["h_n"], r["c_n"], r.get("cells")) for r in every]
    joined = len(reverse) > 1 and not call.stacked
    return [DirectionResult(y, h, c, cells if call.cells else None, joined) for h, c, cells in found]


def run_stack(ops: TorchOps, spec: LSTMSpec, call: LayerCall) -> list[DirectionResult] | None:
    """None where the layers are better run one by one."""
    if torch.is_grad_enabled() and job.keeps_in_vain([_in_graph(given) for given in job.tensors(call)]):
        return None
    return run(ops, spec, 0, call)


def _whose_y(stacked: bool) -> int:
    """The y of which job is the call's: the first's of directions, who have one; of a stack the last layer's."""
    return -1 if stacked else 0


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
        ctx.names = [[name for name in r if name not in _STATE] for r in results]
        ctx.set_materialize_grads(False)
        kept = (r[name] for r, names in zip(results, ctx.names, strict=True) for name in names)
        ctx.save_for_backward(*tensors, *kept)
        return (results[_whose_y(stacked)]["y"], *(r[name] for r in results for name in job.RESULTS[1:]))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        count = len(job.GIVEN) * len(ctx.reverse)
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad[3:]
        givens = _givens(saved[:count])
        if torch.is_grad_enabled():  # create_graph: differentiate the equations themselves
            return (None, None, None, *_through_the_equations(ctx, givens, grads, needs))
        rest = iter(saved[count:])
        kept = [{name: next(rest) for name in names} for names in ctx.names]
        how = {"stacked": ctx.stacked, "wanted": _wanted(needs)}
        found = backward(job.equations(ctx.spec), ctx.reverse, givens, kept, grads, **how)
        return (None, None, None, *_in_order(found, needs))


def _in_order(found: list[dict[str, Tensor]], needs: Sequence[bool]) -> list[Tensor | None]:
    """The gradients of each direction's tensors of job.GIVEN."""
    every = [of.get(name) for of in found for name in _GRADIENTS]
    gradients = [gradient if need else None for gradient, need in zip(every, needs, strict=True)]
    for place in range(0, len(gradients), len(job.GIVEN)):
        ih, hh = gradients[place + _BIAS], gradients[place + _BIAS_HH]
        if ih is not None and hh is not None:  # what is done to the one must not be done to the other
            gradients[place + _BIAS_HH] = hh.clone()
    return gradients


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
    """For each direction, or each layer of a stack, by the names of job.ARRAYS: y [T, B, D·S], of directions the
    first's alone; h_n [B, S], c_n [B, C], every c [T, B, C] where kept or wanted, and what backward needs beside."""
    givens = [_dense(given) for given in givens]
    x = givens[0]["x"]
    steps, rows, _ = x.shape
    shapes = equations.made_shapes(steps, rows, len(givens), stacked=stacked, keep=keep, cells=wants_cells)
    results = [{name: x.new_empty(shape) for name, shape in of.items()} for of in shapes]
    every = [{**given, "y": results[0]["y"], **made} for given, made in zip(givens, results, strict=True)]
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
    every, found = [], []
    d_y, *rest = grads
    d_y = None if d_y is None else _dense({"d_y": d_y})["d_y"]
    for given, held, of_results, names in zip(givens, kept, job.parts(rest, 3), wanted, strict=True):
        into = {n: g for n, g in zip(job.GRADIENTS_IN, (d_y, *of_results), strict=True) if g is not None}
        given, into = _dense(given), _dense(into)
        made = {job.gradient_name(name): given[name].new_empty(given[name].shape) for name in names}
        found.append(made)
        every.append({**given, "y": kept[0]["y"], **held, **into, **made})
    strides = None if d_y is None else d_y.stride()
    _run(equations, reverse, every, stacked=stacked, backward=True, d_y_strides=strides)
    return found


def _dense(given: Given) -> Given:
    """The same, rows of x and of the gradient of y and all else dense, and none of them negated by name only."""
    plain = {n: t.resolve_neg() if t.is_neg() else t for n, t in given.items()}
    return {n: t if t.is_contiguous() or _rows_dense(n, t) else t.contiguous() for n, t in plain.items()}


def _rows_dense(name: str, tensor: Tensor) -> bool:
    return name in ("x", "d_y") and (tensor.stride(2) == 1 or tensor.shape[2] == 1)


def _run(equations: job.Equations, reverse: Sequence[bool], every: list[Given], **how: Any) -> None:
    x, threads = every[0]["x"], library.threads(torch.get_num_threads())
    directions = [job.Direction(one, a.get("x", x).stride(), a) for one, a in zip(reverse, every, strict=True)]
    double, pointer = x.dtype == torch.float64, Tensor.data_ptr
    job.run(equations, x.shape, double, directions, pointer, threads=threads, openmp=1, **how)


# The operator beneath torch.compile and torch.export, which cannot look into a function of Python: jobs as of job.run,
# both directions of a layer or the layers of a stack. Tensors are one list, with the place of each among all jobs'
# job.GIVEN.

_LIBRARY = torch.library.Library("unilstm", "FRAGMENT")
_OF_JOB = (*job.RESULTS, *job.KEPT)
_KEPT = [name for name in _OF_JOB if name not in _STATE]
_SCHEMA = "Tensor[] tensors, int[] places, int[] numbers, float[] reals, bool[] reverse, bool stacked"


def _placed(every: Sequence[Any], places: Sequence[int], count: int) -> list[Any]:
    """What there is, in its places among so many jobs' job.GIVEN."""
    found = [None] * (count * len(job.GIVEN))
    for one, place in zip(every, places, strict=True):
        found[place] = one
    return found


def _operator(
    tensors: Any, places: Any, numbers: Any, reals: Any, reverse: Any, stacked: bool, keep: bool, cells: bool
) -> list[Tensor]:
    """For each job y, h, c, every c, and what is kept; empty in the place of what is not."""
    givens, how = _givens(_placed(tensors, places, len(reverse))), {"stacked": stacked, "keep": keep}
    every = forward(job.Equations(numbers, reals), reverse, givens, **how, wants_cells=cells)
    return [r[n] if n in r else tensors[0].new_empty(0) for r in every for n in _OF_JOB]


def _operator_fake(
    tensors: Any, places: Any, numbers: Any, reals: Any, reverse: Any, stacked: bool, keep: bool, cells: bool
) -> list[Tensor]:
    x = tensors[0]
    how = {"stacked": stacked, "keep": keep, "cells": cells}
    made = job.Equations(numbers, reals).made_shapes(x.shape[0], x.shape[1], len(reverse), **how)
    return [x.new_empty(of.get(name, (0,))) for of in made for name in _OF_JOB]


def _operator_backward(
    tensors: Any, places: Any, numbers: Any, reals: Any, reverse: Any, stacked: bool, kept: Any, grads: Any, needs: Any
) -> list[Tensor]:
    """For each job the gradients of job.GRADIENTS; empty in the place of those that are not needed."""
    equations, count = job.Equations(numbers, reals), len(reverse)
    made = equations.made_shapes(1, 1, count, stacked=stacked, keep=True, cells=True)
    every = [dict(zip(_KEPT, part, strict=True)) for part in job.parts(kept, len(_KEPT))]
    held = [{name: one[name] for name in _KEPT if name in of} for one, of in zip(every, made, strict=True)]
    givens = _givens(_placed(tensors, places, count))
    wanted = _wanted(_placed(needs, places, count))
    found = backward(equations, reverse, givens, held, grads, stacked=stacked, wanted=wanted)
    return [of[n] if n in of else tensors[0].new_empty(0) for of in found for n in job.GRADIENTS]


def _operator_backward_fake(
    tensors: Any, places: Any, numbers: Any, reals: Any, reverse: Any, stacked: bool, kept: Any, grads: Any, needs: Any
) -> list[Tensor]:
    count, shapes = len(reverse), []
    wanted = _wanted(_placed(needs, places, count))
    for given, names in zip(_givens(_placed(tensors, places, count)), wanted, strict=True):
        made = {job.gradient_name(name): given[name].shape for name in names}
        shapes += [made.get(name, (0,)) for name in job.GRADIENTS]
    return [tensors[0].new_empty(shape) for shape in shapes]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    tensors, *ctx.settings, ctx.keep, _ = inputs
    ctx.needs, ctx.count = [t.requires_grad for t in tensors], len(tensors)
    every = [dict(zip(_OF_JOB, part, strict=True)) for part in job.parts(output, len(_OF_JOB))]
    ctx.save_for_backward(*tensors, *(of[name] for of in every for name in _KEPT))


def _differentiate(ctx: Any, grads: Any) -> Any:
    if not ctx.keep:
        raise PathError(
            "this graph was exported or compiled without gradients (no_grad), and keeps nothing for them. Export it "
            "with gradients enabled, or use path='composed'."
        )
    tensors, kept = list(ctx.saved_tensors[: ctx.count]), list(ctx.saved_tensors[ctx.count :])
    places, *_, stacked = ctx.settings
    of_jobs = job.parts(grads, len(_OF_JOB))
    of_results = [of_jobs[_whose_y(stacked)][0], *(grad for part in of_jobs for grad in part[1:4])]
    every = job.parts(_BACK(tensors, *ctx.settings, kept, of_results, ctx.needs), len(job.GRADIENTS))
    found = [dict(zip(job.GRADIENTS, part, strict=True)) for part in every]
    gradients = _in_order(found, _placed(ctx.needs, places, len(found)))
    return [gradients[place] for place in places], *(None for _ in (*ctx.settings, "keep", "cells"))


def _no_second(ctx: Any, *grads: Any) -> Any:
    raise PathError(
        "create_graph=True: path 'kernel' has first derivatives only in an exported or compiled graph. Use "
        "path='composed', or call the layer itself, which has higher ones."
    )


def _name() -> str:
    """By all that code compiled for the operator knows of it, shapes and places: inductor keeps such code on the disk
    by the operator's name."""
    makers = (job.Equations.kept_shapes, job.Equations.made_shapes, _operator_fake, _operator_backward_fake, _in_order)
    known = (_SCHEMA, job.GIVEN, _OF_JOB, job.GRADIENTS, *map(inspect.getsource, (*makers, _differentiate)))
    return f"lstm_jobs_{job.KEPT_VERSION}_{hashlib.sha256(repr(known).encode()).hexdigest()[:8]}"


def _define() -> tuple[Any, Any]:
    """The operator, and its way back."""
    name = _name()
    back = f"{name}_backward"
    _LIBRARY.define(f"{name}({_SCHEMA}, bool keep, bool cells) -> Tensor[]")
    _LIBRARY.define(f"{back}({_SCHEMA}, Tensor[] kept, Tensor?[] grads, bool[] needs) -> Tensor[]")
    for one, compute, fake in ((name, _operator, _operator_fake), (back, _operator_backward, _operator_backward_fake)):
        _LIBRARY.impl(one, compute, "CPU")
        torch.library.register_fake(f"unilstm::{one}", fake, lib=_LIBRARY)
    torch.library.register_autograd(f"unilstm::{name}", _differentiate, setup_context=_setup, lib=_LIBRARY)
    torch.library.register_autograd(f"unilstm::{back}", _no_second, lib=_LIBRARY)
    return getattr(torch.ops.unilstm, name), getattr(torch.ops.unilstm, back)


_OPERATOR, _BACK = _define()
