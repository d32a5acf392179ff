"""The composed scan with a derivative rule of its own, for cells whose gates are elementwise over units.

Differentiating lax.scan accumulates each weight's gradient by one small GEMM a step. The rule here is a *forward* one
(jax.custom_jvp): the derivatives of the gates are numbers a unit, worked out for all steps at once; what the tangents
of the weights add to the pre-activations is one GEMM over all steps; only a linear scan remains. Transposed by JAX,
that GEMM becomes the one GEMM of the weight gradient. Because the rule is forward and made of ordinary operations, jvp,
vmap and higher derivatives work as ever, which a custom_vjp would have lost.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unilstm.cells import lstm
from unilstm.run import DirectionResult, LayerCall
from unilstm.spec import LSTMSpec

from .ops import OPS, JaxOps

Array = Any


class _Inputs(NamedTuple):
    """What the recurrence is differentiated by. weight_ch and weight_hr are None where the spec has none."""

    gx: Array  # [T, B, G·H]
    h: Array  # [B, P or H]
    c: Array  # [B, H]
    weight_hh: Array
    weight_ch: Array | None
    weight_hr: Array | None


def scan(
    ops: JaxOps, spec: LSTMSpec, call: LayerCall, reverse: bool, state: tuple[Array, Array], p: dict[str, Array]
) -> DirectionResult:
    """One direction of one layer; see unilstm.run.scan_direction, which it equals."""
    valid = call.valid(ops)
    x = call.x if valid is None else jnp.where(valid, call.x, 0)
    inputs = _Inputs(lstm.inputs(ops, p, x), *state, p["weight_hh"], p.get("weight_ch"), p.get("weight_hr"))
    h_all, c_all, h, c = _recurrence(spec, reverse, inputs, valid)
    y = h_all if valid is None else jnp.where(valid, h_all, 0)
    if not call.cells:
        return DirectionResult(y, h, c)
    return DirectionResult(y, h, c, c_all if valid is None else jnp.where(valid, c_all, 0))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _recurrence(spec: LSTMSpec, reverse: bool, inputs: _Inputs, valid: Array | None) -> Any:
    """h and c after every step [T, B, …], held where a row has ended, and the last of each."""
    return _run(spec, reverse, inputs, valid)[:4]


def _run(spec: LSTMSpec, reverse: bool, inputs: _Inputs, valid: Array | None) -> Any:
    p = {} if inputs.weight_hr is None else {"weight_hr": inputs.weight_hr}

    def body(state: Any, step: Any) -> Any:
        h, c = state
        gx, on = step
        z = gx + OPS.linear(h, inputs.weight_hh)
        m, c_new = lstm.gates(OPS, spec, inputs.weight_ch, z, c)
        h_new = lstm.output(OPS, spec, p, m)
        if on is not None:
            h_new, c_new = jnp.where(on, h_new, h), jnp.where(on, c_new, c)
        return (h_new, c_new), (h_new, c_new, z)

    (h, c), (h_all, c_all, z_all) = jax.lax.scan(body, (inputs.h, inputs.c), (inputs.gx, valid), reverse=reverse)
    return h_all, c_all, h, c, z_all


@_recurrence.defjvp
def _recurrence_jvp(spec: LSTMSpec, reverse: bool, primals: Any, tangents: Any) -> Any:
    inputs, valid = primals
    d: _Inputs = tangents[0]
    h_all, c_all, h, c, z_all = _run(spec, reverse, inputs, valid)
    h_before, c_before = _before(h_all, inputs.h, reverse), _before(c_all, inputs.c, reverse)
    m, of_m, of_c = _partials(spec, z_all, c_before, inputs.weight_ch)
    # All that the tangents of gx and of the weights contribute, for all steps at once.
    dz_given = d.gx + OPS.linear(h_before, d.weight_hh)
    dm_given = dc_given = dh_given = None
    if inputs.weight_ch is not None:
        dm_given, dc_given = (_units(spec, of[2], d.weight_ch) for of in (of_m, of_c))
    passes = None
    if inputs.weight_hr is not None:
        dh_given = OPS.linear(m, d.weight_hr)
        if spec.proj_clip:
            passes = (jnp.abs(OPS.linear(m, inputs.weight_hr)) <= spec.proj_clip).astype(m.dtype)

    def body(state: Any, step: Any) -> Any:
        dh, dc = state
        on, dz, m_z, m_c, c_z, c_c, dm_more, dc_more, dh_more, through = step
        dz = dz + OPS.linear(dh, inputs.weight_hh)
        dm = _units(spec, m_z, dz) + m_c * dc
        dc_new = _units(spec, c_z, dz) + c_c * dc
        if dm_more is not None:
            dm, dc_new = dm + dm_more, dc_new + dc_more
        dh_new = dm if inputs.weight_hr is None else OPS.linear(dm, inputs.weight_hr) + dh_more
        dh_new = dh_new if through is None else dh_new * through
        if on is not None:
            dh_new, dc_new = jnp.where(on, dh_new, dh), jnp.where(on, dc_new, dc)
        return (dh_new, dc_new), (dh_new, dc_new)

    xs = (valid, dz_given, *of_m[:2], *of_c[:2], dm_given, dc_given, dh_given, passes)
    (dh, dc), (dh_all, dc_all) = jax.lax.scan(body, (d.h, d.c), xs, reverse=reverse)
    return (h_all, c_all, h, c), (dh_all, dc_all, dh, dc)


def _before(states: Array, start: Array, reverse: bool) -> Array:
    """The state that each step started from."""
    start = start[None]
    return jnp.concatenate([states[1:], start] if reverse else [start, states[:-1]])


def _partials(spec: LSTMSpec, z: Array, c: Array, weight_ch: Array | None) -> Any:
    """m, and the partial derivatives of m and of the new c by (z, old c, peepholes): a number a unit each.

    `gates` is elementwise over units, so the derivative of the sum over units is the diagonal of its Jacobian.
    """
    peepholes = None if weight_ch is None else jnp.broadcast_to(weight_ch, (*z.shape[:-1], weight_ch.shape[0]))
    (m, c_new), pull = jax.vjp(lambda z, c, v: lstm.gates(OPS, spec, v, z, c), z, c, peepholes)
    one, zero = jnp.ones_like(m), jnp.zeros_like(c_new)
    return m, pull((one, zero)), pull((zero, one))


def _units(spec: LSTMSpec, partial: Array, tangent: Array) -> Array:
    """Sum over gates of partial · tangent: [..., G·H] → [..., H]."""
    product = partial * tangent
    return product.reshape(*product.shape[:-1], -1, spec.hidden_size).sum(-2)
