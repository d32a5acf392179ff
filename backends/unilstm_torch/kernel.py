"""The project's own kernel on torch tensors: an autograd.Function, and beneath torch.compile an operator of torch's."""

from __future__ import annotations

from collections.abc import Sequence
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
    """One layer. Past a row's length nothing of x is read."""
    lengths = None if call.lengths is None else call.lengths.to(torch.int32)
    reverse, givens = spec.reversed_directions(layer), []
    for state, p, masks in zip(call.states, call.p, call.all_masks(), strict=True):
        given: Given = dict.fromkeys(job.GIVEN) | job.tensors(call, state, p, masks) | job.fixed(masks)
        givens.append(given | {"lengths": lengths})
    tensors = [tensor for given in givens for tensor in given.values()]
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if torch.compiler.is_compiling():
        results = _OPERATORS[len(reverse)](*tensors, *job.equations_of(spec), reverse, keep, call.cells)
        found = [one[:4] for one in _parts(results, _RESULTS)]
    elif keep:
        found = _parts(_Layer.apply(spec, reverse, *tensors), 4)
    else:
        every = forward(job.equations(spec), reverse, givens, keep=False, wants_cells=call.cells)
        found = [(r["y"], r["h_n"], r["c_n"], r.get("cells")) for r in every]
    return [DirectionResult(y, h, c, cells if call.cells else None) for y, h, c, cells in found]


def _parts(every: Sequence[Any], count: int) -> list[Any]:
    """Those of each direction."""
    return [every[start : start + count] for start in range(0, len(every), count)]


def _by_name(tensors: Sequence[Any]) -> list[dict[str, Any]]:
    """For each direction what belongs to the tensors of job.GIVEN."""
    return [dict(zip(job.GIVEN, part, strict=True)) for part in _parts(tensors, len(job.GIVEN))]


class _Layer(torch.autograd.Function):
    """(spec, which directions are reversed, for each the tensors of job.GIVEN) → for each y, h, c, every c."""

    @staticmethod
    def forward(ctx: Any, spec: LSTMSpec, reverse: tuple[bool, ...], *tensors: Any) -> Any:
        results = forward(job.equations(spec), reverse, _by_name(tensors), keep=True)
        ctx.spec, ctx.reverse, ctx.names = spec, reverse, [name for name in results[0] if name not in _STATE]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *(r[name] for r in results for name in ctx.names))
        return tuple(r[name] for r in results for name in job.RESULTS)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        count = len(job.GIVEN) * len(ctx.reverse)
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad[2:]
        givens = _by_name(saved[:count])
        if torch.is_grad_enabled():  # create_graph: differentiate the equations themselves
            return (None, None, *_through_the_equations(ctx, givens, grads, needs))
        kept = [dict(zip(ctx.names, part, strict=True)) for part in _parts(saved[count:], len(ctx.names))]
        found = backward(job.equations(ctx.spec), ctx.reverse, givens, kept, _parts(grads, 4), _by_name(needs))
        return (None, None, *_in_order(found, needs))


def _in_order(found: list[dict[str, Tensor]], needs: Sequence[bool]) -> list[Tensor | None]:
    """The gradients of each direction's tensors of job.GIVEN."""
    every = [of.get(job.gradient_name(name)) for of in found for name in job.GIVEN]
    return [gradient if need else None for gradient, need in zip(every, needs, strict=True)]


def _through_the_equations(ctx: Any, givens: list[Given], grads: Any, needs: Any) -> list[Tensor | None]:
    """Gradients that can be differentiated again, by autograd over the equations."""
    outputs: list[Tensor | None] = []
    with torch.enable_grad():
        # A view of each: x is there once for each direction, and its gradient, as that of one tensor, the whole one.
        givens = [{name: None if t is None else t.view_as(t) for name, t in given.items()} for given in givens]
        for reverse, given in zip(ctx.reverse, givens, strict=True):
            p, masks = job.parameters(ctx.spec, given), job.masks(given)
            state = (given["h_0"], given["c_0"])
            call = LayerCall(given["x"], [state], [p], given["lengths"], cells=True)
            r = scan_direction(TorchOps(), ctx.spec, call, reverse, state, p, masks)
            outputs += [r.y, r.h, r.c, r.cells]
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None]
        tensors = [tensor for given in givens for tensor in given.values()]
        wanted = [t for t, need in zip(tensors, needs, strict=True) if need]
        of, by = [o for o, _ in pairs], [g for _, g in pairs]
        found = iter(torch.autograd.grad(of, wanted, by, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needs]


def forward(
    equations: job.Equations, reverse: Sequence[bool], givens: list[Given], *, keep: bool, wants_cells: bool = True
) -> list[dict[str, Tensor]]:
    """For each direction, by the names of job.ARRAYS: y [T, B, S], h_n [B, S], c_n [B, C], every c [T, B, C] where
    kept or wanted, and what backward needs beside."""
    givens = [_dense(given) for given in givens]
    x = givens[0]["x"]
    assert x is not None
    steps, rows, _ = x.shape
    state, remembered = equations.state, equations.remembered
    shapes: dict[str, Any] = {"y": (steps, rows, state), "h_n": (rows, state), "c_n": (rows, remembered)}
    if keep or wants_cells:
        shapes["cells"] = (steps, rows, remembered)
    if keep:
        shapes |= equations.kept_shapes(steps, rows)
    results = [{name: x.new_empty(shape) for name, shape in shapes.items()} for _ in givens]
    _run(equations, reverse, [given | made for given, made in zip(givens, results, strict=True)], backward=False)
    return results


def backward(
    equations: job.Equations,
    reverse: Sequence[bool],
    givens: list[Given],
    kept: list[dict[str, Tensor]],
    grads: list[Any],
    needs: list[dict[str, bool]],
) -> list[dict[str, Tensor]]:
    """For each direction the gradients by the names of job.GRADIENTS, of what needs one. grads: of y, h, c, every c,
    each or None."""
    every, found = [], []
    for given, held, of_results, need in zip(givens, kept, grads, needs, strict=True):
        into = {n: None if g is None else g.contiguous() for n, g in zip(job.GRADIENTS_IN, of_results, strict=True)}
        given = _dense(given)
        tensors = {job.gradient_name(name): given[name] for name in job.GIVEN if need[name]}
        made = {name: tensor.new_empty(tensor.shape) for name, tensor in tensors.items() if tensor is not None}
        found.append(made)
        every.append({**given, **held, **into, **made})
    _run(equations, reverse, every, backward=True)
    return found


def _dense(given: Given) -> Given:
    """The same, rows of x and all else dense."""
    return {n: t if t is None or t.is_contiguous() or _rows_dense(n, t) else t.contiguous() for n, t in given.items()}


def _rows_dense(name: str, tensor: Tensor) -> bool:
    return name == "x" and (tensor.stride(2) == 1 or tensor.shape[2] == 1)


def _run(equations: job.Equations, reverse: Sequence[bool], every: list[Any], *, backward: bool) -> None:
    x, threads = every[0]["x"], library.threads(torch.get_num_threads())
    directions = [job.Direction(one, a["x"].stride(), a) for one, a in zip(reverse, every, strict=True)]
    double, pointer = x.dtype == torch.float64, Tensor.data_ptr
    job.run(equations, x.shape, double, directions, pointer, backward=backward, threads=threads, openmp=1)


# The operators beneath torch.compile and torch.export, which cannot look into a function of Python: one for layers of
# one direction, one for those of two. inductor keeps compiled code on the disk, with the shapes of its results in it,
# by its name.

_COUNTS = (1, 2)
_LIBRARY = torch.library.Library("unilstm", "FRAGMENT")
_KEPT = ("y", "cells", "gates", "raw")
_RESULTS = len(job.RESULTS) + len(job.KEPT)
_SETTINGS = "int[] numbers, float[] reals, bool[] reverse"


def _operator(*args: Any) -> list[Tensor]:
    """For each direction y, h, c, every c, and what is kept; empty in the place of what is not."""
    *tensors, numbers, reals, reverse, keep, cells = args
    every = forward(job.Equations(numbers, reals), reverse, _by_name(tensors), keep=keep, wants_cells=cells)
    return [r[n] if n in r else r["y"].new_empty(0) for r in every for n in (*job.RESULTS, *job.KEPT)]


def _operator_fake(*args: Any) -> list[Tensor]:
    *tensors, numbers, reals, reverse, keep, cells = args
    equations, x = job.Equations(numbers, reals), tensors[0]
    steps, rows = x.shape[0], x.shape[1]
    kept = equations.kept_shapes(steps, rows) if keep else {}
    shapes = [(steps, rows, equations.state), (rows, equations.state), (rows, equations.remembered)]
    shapes += [(steps, rows, equations.remembered) if keep or cells else (0,)]
    shapes += [kept.get(name, (0,)) for name in job.KEPT]
    return [x.new_empty(shape) for _ in reverse for shape in shapes]


def _operator_backward(*args: Any) -> list[Tensor]:
    """For each direction the gradients of job.GRADIENTS; empty in the place of those that are not needed."""
    *tensors, kept, grads, needs, numbers, reals, reverse = args
    equations = job.Equations(numbers, reals)
    names = [n for n in _KEPT if n in ("y", "cells") or n in equations.kept_shapes(1, 1)]
    held = [dict(zip(_KEPT, part, strict=True)) for part in _parts(kept, len(_KEPT))]
    held = [{name: one[name] for name in names} for one in held]
    found = backward(equations, reverse, _by_name(tensors), held, _parts(grads, 4), _by_name(needs))
    return [of[n] if n in of else tensors[0].new_empty(0) for of in found for n in job.GRADIENTS]


def _operator_backward_fake(*args: Any) -> list[Tensor]:
    *tensors, _, _, needs, _, _, _ = args
    shapes = []
    for given, need in zip(_by_name(tensors), _by_name(needs), strict=True):
        made = {job.gradient_name(name): given[name].shape for name in job.GIVEN if need[name]}
        shapes += [made.get(name, (0,)) for name in job.GRADIENTS]
    return [tensors[0].new_empty(shape) for shape in shapes]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.numbers, ctx.reals, ctx.reverse, _, _ = inputs
    ctx.needs = [t is not None and t.requires_grad for t in tensors]
    kept = [tensor for y, _, _, *rest in _parts(output, _RESULTS) for tensor in (y, *rest)]
    ctx.save_for_backward(*tensors, *kept)


def _differentiate(ctx: Any, grads: Any) -> Any:
    saved, count = ctx.saved_tensors, len(job.GIVEN) * len(ctx.reverse)
    tensors, kept = saved[:count], list(saved[count:])
    of_results = [grad for part in _parts(grads, _RESULTS) for grad in part[:4]]
    settings = ctx.numbers, ctx.reals, ctx.reverse
    every = _OPERATORS_BACK[len(ctx.reverse)](*tensors, kept, of_results, ctx.needs, *settings)
    found = [dict(zip(job.GRADIENTS, part, strict=True)) for part in _parts(every, len(job.GRADIENTS))]
    return (*_in_order(found, ctx.needs), None, None, None, None, None)


def _define(count: int) -> tuple[Any, Any]:
    """The operator of layers of so many directions, and its way back."""
    name = f"lstm_layer_{count}_{job.KEPT_VERSION}"
    back, optional = f"{name}_backward", ("", "?")
    tensors = ", ".join(f"Tensor{optional[k > 4]} {n}_{d}" for d in range(count) for k, n in enumerate(job.GIVEN))
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
