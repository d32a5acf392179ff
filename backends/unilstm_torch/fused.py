"""The equations of any `cell="lstm"`, one product and one compiled pointwise kernel a step, for CUDA devices.

The input's part of all steps is one product before the loop (run.given_of_steps). A step, the very body that the
composed path scans (run.one_step), is traced once for its shapes and compiled by inductor, which fuses all that is
pointwise around its products. The way back of a step is traced and compiled likewise: it works the pointwise part out
again from the step's products, which the way forward keeps, and leaves each weight's gradient to one product at the
end.

On a CUDA device a whole pass over the steps is recorded as a CUDA graph (graphs.py), so that the small kernels of a
step do not wait for Python. Correct on a CPU, by name; never yet run on a GPU.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from unilstm.run import DirectionResult, LayerCall, given_of_steps, one_step
from unilstm.spec import LSTMSpec

from .graphs import recorded
from .ops import TorchOps, tracing
from .scan import unserved

Tensor = torch.Tensor
_WEIGHTS = ("weight_hh", "weight_gg", "weight_hr")  # of a step's products


@functools.cache
def uncompilable(kind: str) -> str | None:
    """Why torch.compile has nothing to compile with on this kind of device, or None."""
    if kind == "cuda":
        return None if importlib.util.find_spec("triton") else "torch.compile needs triton, which is not installed"
    if kind != "cpu":
        return f"the compiled step is for CUDA devices, not for {kind}"
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"torch.compile needs a C++ compiler, and there is no {compiler}"


def refusal(spec: LSTMSpec, device: torch.device, call: LayerCall | None) -> str | None:
    """Why the compiled step cannot serve this layer, or None."""
    if spec.cell != "lstm":
        return f"the compiled step has no cell {spec.cell!r}"
    reason = uncompilable(device.type)
    if reason is None and device.type == "cuda" and torch.cuda.get_device_capability(device) < (7, 0):
        reason = "triton needs compute capability 7.0"
    return reason if reason is not None or call is None else _refusal_of_call(spec, call)


def _refusal_of_call(spec: LSTMSpec, call: LayerCall) -> str | None:
    if call.x.dtype not in (torch.float32, torch.float64):
        return f"the compiled step is for float32 and float64, not for {call.x.dtype}"
    if spec.recurrent_dropout_kind == "per-gate" and any("recurrent" in masks for masks in call.all_masks()):
        return "recurrent dropout of kind per-gate takes one product for each gate"
    if tracing() or torch.jit.is_tracing():
        return "inside torch.compile, torch.jit.trace or a torch.func transform"
    return unserved(call, "the compiled step")


def run(ops: TorchOps, spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    directions = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
    return [_direction(ops, spec, call, *direction) for direction in directions]


def _direction(ops: TorchOps, spec: LSTMSpec, call: LayerCall, reverse: bool, state: Any, p: Any, masks: Any) -> Any:
    xs = given_of_steps(ops, spec, call, p, masks)
    of_h = masks.get("recurrent") if spec.recurrent_dropout_kind == "state" else None
    weights = tuple(role for role in _WEIGHTS if role in p)
    others = tuple(
        role for role in p if role not in weights and not role.startswith("weight_x") and role != "weight_ih"
    )
    plan = _Plan(spec, reverse, call.cells, weights, others)
    given = (*state, of_h, *(p[role] for role in (*weights, *others)), *xs)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        return DirectionResult(*_Fused.apply(plan, *given))
    y, h, c, cells, *_ = _forward(plan, given, keep=False)
    return DirectionResult(y, h, c, cells)


@dataclass(frozen=True)
class _Plan:
    """What is static. A step's tensors are in the order h, c, of_h, the weights, the others, what the step is given."""

    spec: LSTMSpec
    reverse: bool
    cells: bool
    weights: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def fixed(self) -> int:
        """How many tensors come before those of every step."""
        return 3 + len(self.weights) + len(self.others)

    def steps(self, count: int) -> range:
        return range(count - 1, -1, -1) if self.reverse else range(count)

    def body(self, ops: TorchOps, tensors: Any) -> tuple[Any, Any]:
        """One step: the new state and the outputs."""
        h, c, of_h, *rest = tensors
        p = dict(zip((*self.weights, *self.others), rest, strict=False))
        step = one_step(ops, self.spec, p, {} if of_h is None else {"recurrent": of_h}, self.cells)
        return step((h, c), tensors[self.fixed :])  # type: ignore[no-any-return]


class _Products(TorchOps):
    """Notes what each product of a step takes and gives; on the way back it has the latter already."""

    def __init__(self, known: Any = None) -> None:
        super().__init__()
        self.known, self.taken, self.given = known, [], []

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        if self.known is None:
            out = torch.nn.functional.linear(x, weight)
        else:
            out = _Known.apply(x, weight, self.known[len(self.given)])
        self.taken.append(x)
        self.given.append(out)
        return out


class _Known(torch.autograd.Function):
    """x Wᵀ whose value is known, differentiated by x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return out.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        return grad @ ctx.saved_tensors[0], None, None


# The compiled functions of one step.


def _step(plan: _Plan, *tensors: Any) -> Any:
    """→ h, c, y[, c of the step], and what each product gave."""
    ops = _Products()
    state, outs = plan.body(ops, tensors)
    return (*state, *outs, *ops.given)


def _step_back(plan: _Plan, wanted: tuple[int, ...], count: int, *tensors: Any) -> Any:
    """tensors: gradients of h, c and the outputs, what the products gave (count), the step's own.

    → gradients of the wanted ones of the step's own, zero where there is none; then of each product what it took, and
    the gradient of what it gave.
    """
    outputs = 3 + plan.cells
    grads, known, own = tensors[:outputs], tensors[outputs : outputs + count], list(tensors[outputs + count :])
    with torch.enable_grad():
        for n in wanted:
            own[n] = own[n].detach().requires_grad_()
        ops = _Products(known)
        state, outs = plan.body(ops, own)
        by = [own[n] for n in wanted] + ops.given
        pairs = [(out, g) for out, g in zip((*state, *outs), grads, strict=True) if out.requires_grad]
        found = torch.autograd.grad([o for o, _ in pairs], by, [g for _, g in pairs], allow_unused=True)
    full = [torch.zeros_like(t) if g is None else g for g, t in zip(found, by, strict=True)]
    return (*full[: len(wanted)], *(t.detach() for t in ops.taken), *full[len(wanted) :])


@functools.lru_cache(64)
def _compiled(function: Any, static: Any, shapes: Any, kind: str) -> Any:
    """Traced for these shapes and compiled: a function of the tensors that are there. Each has a code object of its
    own, so that none of torch.compile's limits on recompilation is met."""
    examples = [torch.empty(shape, dtype=dtype, device=kind) for shape, dtype in filter(None, shapes)]

    def of_tensors(*there: Tensor) -> Any:
        left = iter(there)
        return function(*static, *(None if shape is None else next(left) for shape in shapes))

    graph = make_fx(of_tensors)(*examples)
    return torch.compile(graph, dynamic=False, fullgraph=True)


def _call(function: Any, static: Any, tensors: Any) -> Any:
    there = [t for t in tensors if t is not None]
    shapes = tuple(None if t is None else (tuple(t.shape), t.dtype) for t in tensors)
    return _compiled(function, static, shapes, there[0].device.type)(*there)


def _at(tensors: Any, t: int) -> list[Any]:
    return [None if v is None else v[t] for v in tensors]


# A pass over the steps, forward and back.


def _forward(plan: _Plan, given: Any, keep: bool) -> Any:
    """y, h, c, every c where wanted; and, to keep, h and c before each step and what each product gave."""
    return recorded(_pass, (plan, keep), [None if t is None else t.detach() for t in given])


def _pass(plan: _Plan, keep: bool, *given: Any) -> Any:
    (h, c, *rest), every = given[: plan.fixed], given[plan.fixed :]
    count = next(v.shape[0] for v in every if v is not None)
    outputs: list[Any] = [None] * count
    kept: list[Any] = [None] * count
    for t in plan.steps(count):
        before = h, c
        h, c, *out = _call(_step, (plan,), (h, c, *rest, *_at(every, t)))
        outputs[t] = out[: 1 + plan.cells]
        kept[t] = (*before, *out[1 + plan.cells :]) if keep else ()
    y, *cells = (torch.stack(column) for column in zip(*outputs, strict=True))
    return (y, h, c, cells[0] if cells else None, *(torch.stack(column) for column in zip(*kept, strict=True)))


def _pass_back(plan: _Plan, wanted: tuple[int, ...], kept: int, *tensors: Any) -> Any:
    """tensors: gradients of y, h, c, every c; what _pass kept; what it was given.

    → gradients of the wanted ones of what was given, in their order; then of each weight.
    """
    (dy, dh, dc, dcells), (h_all, c_all, *known), given = tensors[:4], tensors[4 : 4 + kept], tensors[4 + kept :]
    rest, every, count = given[2 : plan.fixed], given[plan.fixed :], dy.shape[0]
    found: list[Any] = [None] * count
    for t in reversed(plan.steps(count)):
        grads = (dh, dc, dy[t], *(() if dcells is None else (dcells[t],)))
        own = (h_all[t], c_all[t], *rest, *_at(every, t))
        dh, dc, *found[t] = _call(_step_back, (plan, wanted, len(known)), (*grads, *_at(known, t), *own))
    columns = [torch.stack(column) for column in zip(*found, strict=True)]
    of_given, products = columns[: len(wanted) - 2], columns[len(wanted) - 2 :]
    of_given = [g if n >= plan.fixed else g.sum(0) for n, g in zip(wanted[2:], of_given, strict=True)]
    taken, of_out = products[: len(known)], products[len(known) :]
    of_weights = [g.flatten(0, 1).t() @ x.flatten(0, 1) for x, g in zip(taken, of_out, strict=True)]
    return (dh, dc, *of_given, *of_weights)


class _Fused(torch.autograd.Function):
    """(h, c, of_h, the weights of products, other parameters, what steps are given) → y, h, c, every c or None."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *given: Any) -> Any:
        y, h, c, cells, *kept = _forward(plan, given, keep=True)
        ctx.plan, ctx.kept = plan, len(kept)
        ctx.save_for_backward(*given, *kept)
        return y, h, c, cells

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        plan, saved, needs = ctx.plan, ctx.saved_tensors, ctx.needs_input_grad[1:]
        given, kept = saved[: len(needs)], saved[len(needs) :]
        if torch.is_grad_enabled():  # create_graph: differentiate the loop itself
            return (None, *_through_the_loop(plan, given, grads, needs))
        first = 3 + len(plan.weights)
        wanted = (0, 1, *(n for n, need in enumerate(needs) if need and n >= first))
        static, tensors = (
            (plan, wanted, len(kept)),
            [*grads, *kept, *(None if t is None else t.detach() for t in given)],
        )
        found = recorded(_pass_back, static, tensors)
        of = dict(zip((*wanted, *range(3, first)), found, strict=True))
        return (None, *(of[n] if need else None for n, need in enumerate(needs)))


def _through_the_loop(plan: _Plan, given: Any, grads: Any, needs: Any) -> list[Any]:
    """Gradients that can be differentiated again, by autograd over the plain loop."""
    ops = TorchOps()
    with torch.enable_grad():
        fixed, every = given[: plan.fixed], given[plan.fixed :]
        state, outs = ops.scan(lambda s, step: plan.body(ops, (*s, *fixed[2:], *step)), given[:2], every, plan.reverse)
        results = (outs[0], *state, outs[1] if plan.cells else None)
        pairs = [(o, g) for o, g in zip(results, grads, strict=True) if o is not None and g is not None]
        wanted = [t for t, need in zip(given, needs, strict=True) if need]
        of, by = [o for o, _ in pairs], [g for _, g in pairs]
        found = torch.autograd.grad(of, wanted, by, create_graph=True, allow_unused=True)
    left = iter(found)
    return [next(left) if need else None for need in needs]
