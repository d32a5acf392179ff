"""The composed scan with a derivative rule of its own, for cells whose gates are elementwise over units.

Differentiating lax.scan accumulates each weight's gradient by one small GEMM a step. The rule here is a *forward* one
(jax.custom_jvp): the derivatives of the gates are numbers a unit, worked out for all steps at once; what the tangents
of the weights add to the pre-activations is one GEMM over all steps; only a linear scan remains. Transposed by JAX,
that GEMM becomes the one GEMM of the weight gradient. Because the rule is forward and made of ordinary operations, jvp,
vmap and higher derivatives work as ever, which a custom_vjp would have lost.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from unilstm.cells import Cell, get, lstm
from unilstm.run import DirectionResult, LayerCall, scan_direction
from unilstm.spec import LSTMSpec

from .ops import OPS, JaxOps

Array = Any


# The input projection of all steps as one GEMM before the scan pays for few rows, where a step is a matrix-vector
# product; from about 8 rows on, XLA on a CPU is faster with the projection inside (measured by `make bench`).
_HOIST_BELOW = 8


def scan(
    ops: JaxOps,
    spec: LSTMSpec,
    call: LayerCall,
    reverse: bool,
    state: tuple[Array, Array],
    p: dict[str, Array],
    masks: dict[str, Array],
) -> DirectionResult:
    """One direction of one layer; see unilstm.run.scan_direction, which it equals."""
    p = {role: value for role, value in p.items() if role not in ("h_0", "c_0")}  # already in the state
    mask = masks.get("recurrent")
    if not (lstm.elementwise(spec) and (mask is None or spec.recurrent_dropout_kind == "state")):
        given = call.x, state, p, call.lengths, masks
        return DirectionResult(*_plain(get(spec.cell), spec, reverse, call.cells, *given))
    valid, x = call.valid(ops), call.input(ops, masks)
    h_all, c_all, h, c = _compiled(spec, reverse, (x, *state, p), valid, mask)
    y = h_all if valid is None else jnp.where(valid, h_all, 0)
    if not call.cells:
        return DirectionResult(y, h, c)
    return DirectionResult(y, h, c, c_all if valid is None else jnp.where(valid, c_all, 0))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _plain(
    cell: Cell, spec: LSTMSpec, reverse: bool, cells: bool, x: Array, state: Any, p: Any, lengths: Any, masks: Any
) -> Any:
    """scan_direction, compiled once for calls outside jit. cell: of the spec's name; another one compiles anew."""
    call = LayerCall(x, [state], [p], lengths, cells=cells)
    result = scan_direction(OPS, spec, call, reverse, state, p, masks)
    return result.y, result.h, result.c, result.cells


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def recurrence(spec: LSTMSpec, reverse: bool, inputs: Any, valid: Array | None, mask: Array | None) -> Any:
    """h and c after every step [T, B, …], held where a row has ended, and the last of each.

    inputs: x [T, B, I], h [B, P or H], c [B, H], and the arrays of the direction by role. valid [T, B, 1] and mask
    [B, P or H] (on the h that a step reads) are not differentiated.
    """
    return _run(spec, reverse, inputs, valid, mask)[:4]


def _run(spec: LSTMSpec, reverse: bool, inputs: Any, valid: Array | None, mask: Array | None) -> Any:
    """The same, and the pre-activations of every step."""
    x, h, c, p = inputs
    hoist = isinstance(x.shape[1], int) and x.shape[1] < _HOIST_BELOW  # jax.export may leave the batch open

    def body(state: Any, step: Any) -> Any:
        h, c = state
        x, u, on = step
        z = (x if hoist else lstm.inputs(OPS, p, x)) + OPS.linear(h if mask is None else h * mask, p["weight_hh"])
        m, c_new = lstm.gates(OPS, spec, p, z, c, u if hoist else lstm.carried(OPS, p, x))
        h_new = lstm.output(OPS, spec, p, m)
        if on is not None:
            h_new, c_new = jnp.where(on, h_new, h), jnp.where(on, c_new, c)
        return (h_new, c_new), (h_new, c_new, z)

    xs = (lstm.inputs(OPS, p, x), lstm.carried(OPS, p, x), valid) if hoist else (x, None, valid)
    (h, c), (h_all, c_all, z_all) = jax.lax.scan(body, (h, c), xs, reverse=reverse)
    return h_all, c_all, h, c, z_all


@recurrence.defjvp
def _recurrence_jvp(spec: LSTMSpec, reverse: bool, primals: Any, tangents: Any) -> Any:
    (x, h_0, c_0, p), valid, mask = primals
    dx, dh_0, dc_0, dp = tangents[0]
    h_all, c_all, h, c, z_all = _run(spec, reverse, (x, h_0, c_0, p), valid, mask)
    h_before, c_before = _before(h_all, h_0, reverse), _before(c_all, c_0, reverse)
    h_before = h_before if mask is None else h_before * mask
    u, du = jax.jvp(lambda p, x: lstm.carried(OPS, p, x), (p, x), (dp, dx)) if spec.highway else (None, None)
    m, of_m, of_c = _partials(spec, z_all, c_before, p.get("weight_ch"), u)
    # All that the tangents of x and of the weights contribute, for all steps at once.
    _, dz_given = jax.jvp(lambda p, x: lstm.inputs(OPS, p, x), (p, x), (dp, dx))
    dz_given = dz_given + OPS.linear(h_before, dp["weight_hh"])
    dm_given = dc_given = dh_given = passes = None
    if "weight_ch" in p:
        dm_given, dc_given = (_units(spec, of[2], dp["weight_ch"]) for of in (of_m, of_c))
    if du is not None:  # it reaches m alone
        dm_given = of_m[3] * du if dm_given is None else dm_given + of_m[3] * du
    if "weight_hr" in p:
        dh_given = OPS.linear(m, dp["weight_hr"])
        if spec.proj_clip:
            passes = (jnp.abs(OPS.linear(m, p["weight_hr"])) <= spec.proj_clip).astype(m.dtype)

    def body(state: Any, step: Any) -> Any:
        dh, dc = state
        on, dz, m_z, m_c, c_z, c_c, dm_more, dc_more, dh_more, through = step
        dz = dz + OPS.linear(dh if mask is None else dh * mask, p["weight_hh"])
        dm = _units(spec, m_z, dz) + m_c * dc
        dc_new = _units(spec, c_z, dz) + c_c * dc
        dm = dm if dm_more is None else dm + dm_more
        dc_new = dc_new if dc_more is None else dc_new + dc_more
        dh_new = dm if dh_more is None else OPS.linear(dm, p["weight_hr"]) + dh_more
        dh_new = dh_new if through is None else dh_new * through
        if on is not None:
            dh_new, dc_new = jnp.where(on, dh_new, dh), jnp.where(on, dc_new, dc)
        return (dh_new, dc_new), (dh_new, dc_new)

    xs = (valid, dz_given, *of_m[:2], *of_c[:2], dm_given, dc_given, dh_given, passes)
    (dh, dc), (dh_all, dc_all) = jax.lax.scan(body, (dh_0, dc_0), xs, reverse=reverse)
    return (h_all, c_all, h, c), (dh_all, dc_all, dh, dc)


# A call outside jit would otherwise trace and compile its scan anew each time: lax.scan knows a body by identity.
_compiled = jax.jit(recurrence, static_argnums=(0, 1))


def _before(states: Array, start: Array, reverse: bool) -> Array:
    """The state that each step started from."""
    start = start[None]
    return jnp.concatenate([states[1:], start] if reverse else [start, states[:-1]])


def _partials(spec: LSTMSpec, z: Array, c: Array, weight_ch: Array | None, u: Array | None) -> Any:
    """m, and the partial derivatives of m and of the new c by (z, old c, peepholes, u): a number a unit each.

    `gates` is elementwise over units, so the derivative of the sum over units is the diagonal of its Jacobian.
    """
    peepholes = None if weight_ch is None else jnp.broadcast_to(weight_ch, (*z.shape[:-1], weight_ch.shape[0]))
    (m, c_new), pull = jax.vjp(lambda z, c, v, u: lstm.gates(OPS, spec, _with(v), z, c, u), z, c, peepholes, u)
    one, zero = jnp.ones_like(m), jnp.zeros_like(c_new)
    return m, pull((one, zero)), pull((zero, one))


def _with(peepholes: Array | None) -> dict[str, Array]:
    return {} if peepholes is None else {"weight_ch": peepholes}


def _units(spec: LSTMSpec, partial: Array, tangent: Array) -> Array:
    """Sum over gates of partial · tangent: [..., G·H] → [..., H]."""
    product = partial * tangent
    return product.reshape(*product.shape[:-1], -1, spec.hidden_size).sum(-2)
