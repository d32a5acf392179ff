"""The composed scan with a backward of its own, for cells whose gates are elementwise over units.

Autograd over the plain loop (unilstm.run.scan_direction) records some twenty nodes a step and one small GEMM a step
for each weight. Here the loop runs without a graph; going back, the derivatives of the gates are numbers a unit, worked
out for a block of steps at once by differentiating the very same `gates`, a step is two multiply-adds and one GEMM, and
each weight gradient is a single GEMM at the end. No derivative is written by hand, so every spec is served.

Higher derivatives differentiate the plain loop instead: `backward` knows when it is asked for them, because autograd
then calls it with gradients enabled. Forward mode, torch.func and tracing never come here (`serves`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import forward_ad

from unilstm.cells import lstm
from unilstm.run import DirectionResult, LayerCall, scan_direction
from unilstm.spec import LSTMSpec

from .ops import TorchOps, tracing

Tensor = torch.Tensor
_ROLES = ("weight_hh", "weight_ch", "weight_hr")
_BLOCK = 2**18  # elements of z differentiated at once: 1 MB in float32, what a second-level cache holds


def scan(
    ops: TorchOps,
    spec: LSTMSpec,
    call: LayerCall,
    reverse: bool,
    state: tuple[Tensor, Tensor],
    p: dict[str, Tensor],
    masks: dict[str, Tensor],
) -> DirectionResult:
    """One direction of one layer; see unilstm.run.scan_direction, which it equals."""
    weights = [p.get(role) for role in _ROLES]
    mask = masks.get("recurrent")
    of_h = mask is None or spec.recurrent_dropout_kind == "state"
    if not (lstm.elementwise(spec) and of_h and serves([call.x, *state, *p.values()])):
        return scan_direction(ops, spec, call, reverse, state, p, masks)
    plan = _Plan(ops, spec, reverse, call.cells)
    valid, x = call.valid(ops), call.input(ops, masks)
    inputs = (lstm.inputs(ops, p, x), *state, valid, mask, lstm.carried(ops, p, x), *weights)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs):
        return DirectionResult(*_Scan.apply(plan, *inputs))
    return DirectionResult(*_loop(plan, *inputs, keep=False)[0])


def serves(tensors: list[Tensor]) -> bool:
    """Whether a plain reverse-mode gradient is wanted, or none."""
    if tracing():
        return False
    return forward_ad._current_level < 0 or all(forward_ad.unpack_dual(t).tangent is None for t in tensors)


def unserved(call: LayerCall, path: str) -> str | None:
    """Why a path that works on the memory of tensors, and has reverse mode alone, cannot serve this call, or None."""
    tensors = call.tensors()
    if any(type(t) not in (Tensor, torch.nn.Parameter) for t in tensors):
        return f"{path} takes plain tensors, no subclasses"
    if any(t.device != call.x.device for t in tensors):
        return f"x is on {call.x.device}, and not all of the parameters, states and masks are"
    return None if serves(tensors) else f"{path} has no forward-mode derivative"


@dataclass(frozen=True)
class _Plan:
    ops: TorchOps
    spec: LSTMSpec
    reverse: bool
    cells: bool

    def steps(self, count: int) -> Any:
        return range(count - 1, -1, -1) if self.reverse else range(count)


class _Scan(torch.autograd.Function):
    """(gx [T,B,G·H], h [B,P], c [B,H], valid, mask [B,P], u [T,B,H], the weights of _ROLES) → y, h, c, every c.

    mask is on the h that a step reads; u is what a highway carries. Neither valid nor mask is differentiated.
    """

    @staticmethod
    def forward(ctx: Any, plan: _Plan, gx: Tensor, h: Tensor, c: Tensor, *rest: Any) -> Any:
        ctx.plan, (ctx.valid, ctx.mask, u, *weights) = plan, rest
        outputs, kept = _loop(plan, gx, h, c, *rest, keep=True)
        ctx.save_for_backward(gx, h, c, u, *weights, *kept)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        gx, h, c, u, *rest = ctx.saved_tensors
        weights, saved = rest[:3], rest[3:]
        if torch.is_grad_enabled():  # create_graph: differentiate the loop itself
            return (None, *_through_the_loop(ctx, (gx, h, c, u, *weights), grads))
        return (None, *_Back(ctx, weights, u, (h, c), saved).run(grads))


def _loop(
    plan: _Plan, gx: Tensor, h: Tensor, c: Tensor, valid: Any, mask: Any, u: Any, *weights: Any, keep: bool
) -> tuple[Any, Any]:
    """(y, h_n, c_n, every c if wanted) and, to keep, pre-activations, c and h of every step, held past the length.

    Differentiable where its inputs are.
    """
    weight_hh, weight_ch, weight_hr = weights
    p = {} if weight_hr is None else {"weight_hr": weight_hr}
    peepholes = {} if weight_ch is None else {"weight_ch": weight_ch}
    steps = gx.shape[0]
    zs, cs, hs = ([None] * steps for _ in range(3))
    turned = weight_hh.t()
    for t in plan.steps(steps):
        z = torch.addmm(gx[t], h if mask is None else h * mask, turned)
        m, c_new = lstm.gates(plan.ops, plan.spec, peepholes, z, c, None if u is None else u[t])
        h_new = lstm.output(plan.ops, plan.spec, p, m)
        if valid is None:
            h, c = h_new, c_new
        else:
            h, c = torch.where(valid[t], h_new, h), torch.where(valid[t], c_new, c)
        zs[t], cs[t], hs[t] = z if keep else None, c if keep or plan.cells else None, h
    y, every_c = torch.stack(hs), torch.stack(cs) if keep or plan.cells else None
    kept = (torch.stack(zs), every_c, y) if keep else None
    if valid is not None:
        y = y.masked_fill(~valid, 0.0)
        every_c = every_c.masked_fill(~valid, 0.0) if plan.cells else None
    return (y, h, c, every_c if plan.cells else None), kept


def _through_the_loop(ctx: Any, given: Any, grads: Any) -> Any:
    """Gradients that can be differentiated again, by autograd over the plain loop."""
    gx, h, c, u, *weights = given
    with torch.enable_grad():
        outputs, _ = _loop(ctx.plan, gx, h, c, ctx.valid, ctx.mask, u, *weights, keep=False)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o is not None and g is not None]
        inputs = (gx, h, c, None, None, u, *weights)
        wanted = [t for t, need in zip(inputs, ctx.needs_input_grad[1:], strict=True) if need]
        of, by = [o for o, _ in pairs], [g for _, g in pairs]
        found = iter(torch.autograd.grad(of, wanted, by, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in ctx.needs_input_grad[1:]]


class _Back:
    """One pass back over the steps, and then the weights' gradients at once."""

    def __init__(self, ctx: Any, weights: Any, u: Any, start: Any, saved: Any) -> None:
        self.plan, self.valid, self.mask, self.u = ctx.plan, ctx.valid, ctx.mask, u
        self.weight_hh, self.weight_ch, self.weight_hr = weights
        self.z_all, c_all, h_all = saved
        self.h_before, self.c_before = self._before(h_all, start[0]), self._before(c_all, start[1])
        self.block = max(1, _BLOCK // self.z_all[0].numel())
        self.local: dict[int, _Local] = {}

    def _before(self, states: Tensor, start: Tensor) -> Tensor:
        """The state that each step started from."""
        start = start[None]
        return torch.cat([states[1:], start] if self.plan.reverse else [start, states[:-1]])

    def run(self, grads: Any) -> Any:
        """Gradients of gx, h, c, valid and mask (none), u, weight_hh, weight_ch, weight_hr."""
        dy, dh, dc, dcells = grads
        steps, rows = self.z_all.shape[:2]
        dz_all, dm_all, dc_all, dh_all = ([None] * steps for _ in range(4))
        for t in reversed(self.plan.steps(steps)):
            local, at = self._local(t)
            dh_t, dc_t, held = self._arriving(t, dy, dcells, dh, dc)
            if self.weight_hr is not None:
                dh_t = dh_t if local.passes is None else dh_t * local.passes[at]
                dm = dh_t @ self.weight_hr
            else:
                dm = dh_t
            dz = torch.addcmul(dm[:, None] * local.of_m[0][at], dc_t[:, None], local.of_c[0][at]).view(rows, -1)
            dc = torch.addcmul(dc_t * local.of_c[1][at][:, 0], dm, local.of_m[1][at][:, 0])
            dh = dz @ self.weight_hh
            dh = dh if self.mask is None else dh * self.mask
            if held is not None:
                dh, dc = dh + held[0], dc + held[1]
            dz_all[t], dm_all[t], dc_all[t], dh_all[t] = dz, dm, dc_t, dh_t
        of_gx, *of_weights = self._results(dz_all, dm_all, dc_all, dh_all)
        return of_gx, dh, dc, None, None, self._of_u(dm_all), *of_weights

    def _of_u(self, dm_all: Any) -> Any:
        if self.u is None:
            return None
        return torch.cat([self.local[number].of_m[-1][:, :, 0] for number in sorted(self.local)]) * torch.stack(dm_all)

    def _local(self, t: int) -> tuple[_Local, int]:
        """The derivatives of the block of steps around t, and where t is in it."""
        number = t // self.block
        if number not in self.local:
            steps = slice(number * self.block, (number + 1) * self.block)
            u = None if self.u is None else self.u[steps]
            self.local[number] = _Local(self.plan, self.z_all[steps], self.c_before[steps], self.weight_ch, u)
            if self.weight_hr is not None and self.plan.spec.proj_clip:
                self.local[number].clip_projection(self.plan, self.weight_hr)
        return self.local[number], t % self.block

    def _arriving(self, t: int, dy: Any, dcells: Any, dh: Tensor, dc: Tensor) -> Any:
        """What reaches the step's new h and c, and what passes it by where the row had ended."""
        if self.valid is None:
            return dh + dy[t], dc if dcells is None else dc + dcells[t], None
        on, zero = self.valid[t], self.plan.ops.full(0.0, dh)
        held = torch.where(on, zero, dh), torch.where(on, zero, dc)
        dc_new = dc if dcells is None else dc + dcells[t]
        return torch.where(on, dh + dy[t], zero), torch.where(on, dc_new, zero), held

    def _results(self, dz_all: Any, dm_all: Any, dc_all: Any, dh_all: Any) -> list[Any]:
        """Gradients of gx, weight_hh, weight_ch and weight_hr: one GEMM each."""
        dz = torch.stack(dz_all)
        read = self.h_before if self.mask is None else self.h_before * self.mask
        of_hh = dz.flatten(0, 1).t() @ read.flatten(0, 1)
        of_ch = of_hr = None
        blocks = [self.local[number] for number in sorted(self.local)]
        if self.weight_ch is not None:
            dm = torch.stack(dm_all)[:, :, None].split(self.block)
            dc = torch.stack(dc_all)[:, :, None].split(self.block)
            of_ch = sum((m * b.of_m[2] + c * b.of_c[2]).sum((0, 1)) for m, c, b in zip(dm, dc, blocks, strict=True))
            of_ch = of_ch.flatten()
        if self.weight_hr is not None:
            m = torch.cat([b.m for b in blocks])
            of_hr = torch.stack(dh_all).flatten(0, 1).t() @ m.flatten(0, 1)
        return [dz, of_hh, of_ch, of_hr]


class _Local:
    """The partial derivatives of m and c with respect to z, the old c, the peepholes and u, for a block of steps.

    Each is a number a unit, [steps, B, gates, H], because `gates` is elementwise over units: the derivative of the sum
    over units is then the diagonal of the Jacobian.
    """

    passes: Tensor | None = None  # [steps, B, P]: did the projection stay within its clip?

    def __init__(self, plan: _Plan, z: Tensor, c_before: Tensor, weight_ch: Any, u: Any) -> None:
        steps, rows, hidden = c_before.shape
        with torch.enable_grad():
            peepholes = None if weight_ch is None else weight_ch.detach().expand(steps, rows, -1).contiguous()
            given = [z.detach(), c_before.detach(), peepholes, None if u is None else u.detach()]
            wanted = [value.requires_grad_() for value in given if value is not None]
            p = {} if peepholes is None else {"weight_ch": given[2]}
            m, c = lstm.gates(plan.ops, plan.spec, p, given[0], given[1], given[3])
            of_m = torch.autograd.grad(m.sum(), wanted, retain_graph=True)
            of_c = torch.autograd.grad(c.sum(), wanted, allow_unused=True)  # u does not reach c
        self.m = m.detach()
        self.of_m = [g.view(steps, rows, -1, hidden) for g in of_m]
        self.of_c = [g if g is None else g.view(steps, rows, -1, hidden) for g in of_c]

    def clip_projection(self, plan: _Plan, weight_hr: Tensor) -> None:
        raw = plan.ops.linear(self.m, weight_hr)
        self.passes = (raw.abs() <= plan.spec.proj_clip).to(raw.dtype)
