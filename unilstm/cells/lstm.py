"""The LSTM and its nearest relatives: peepholes, coupled gates, projection, clips, any activation.

One direction of one layer. p holds its arrays by role (see parameters.py). With h', c' of the step before:

    i = σ(W_i x + R_i h' + V_i * c' + b_i)
    f = σ(W_f x + R_f h' + V_f * c' + b_f)        or 1 - i, coupled
    g = φ(W_g x + R_g h' + b_g)
    c = f * c' + i * g
    o = σ(W_o x + R_o h' + V_o * c + b_o)         the output gate sees the new c
    h = W_hr (o * ψ(c))                           or o * ψ(c), unprojected

Sources: Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate); Gers & Schmidhuber 2000
(peepholes); Sak, Senior & Beaufays 2014 (projection); Greff et al. 2017, eqs. 1-6 (all, and coupled gates).

The step is written as its three parts because a backend may treat them apart: `inputs` for all steps at once,
`gates` elementwise over units, so that its derivative is a number a unit.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ops import Ops, Tensor
from ..spec import LSTMSpec

Parameters = Mapping[str, Tensor]


def step(ops: Ops, spec: LSTMSpec, p: Parameters, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One step. x: [B, I]; state: (h [B, P or H], c [B, H]). Returns (h, c), same dtype."""
    h, c = state
    z = inputs(ops, p, x) + ops.linear(h, p["weight_hh"])
    m, c = gates(ops, spec, p.get("weight_ch"), z, c)
    return output(ops, spec, p, m), c


def inputs(ops: Ops, p: Parameters, x: Tensor) -> Tensor:
    """W x + b, of one step or of all: [..., I] → [..., G·H]. The two biases of bias="double" only ever act as a sum."""
    z = ops.linear(x, p["weight_ih"])
    if "bias_ih" in p:
        return z + (p["bias_ih"] + p["bias_hh"])
    return z + p["bias"] if "bias" in p else z


def gates(ops: Ops, spec: LSTMSpec, peepholes: Tensor | None, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Pre-activations [..., G·H] and the old c [..., H] → (o * ψ(c), c), each [..., H]. Elementwise over units."""
    part = dict(zip(spec.gate_names, ops.split(z, len(spec.gate_names)), strict=True))
    peep = {}
    if peepholes is not None:
        peep = dict(zip(spec.peephole_names, ops.split(peepholes, len(spec.peephole_names)), strict=True))

    def gate(name: str, seen: Tensor) -> Tensor:
        return spec.gate_activation(ops, clip(part[name] + peep[name] * seen if name in peep else part[name]))

    def clip(v: Tensor) -> Tensor:
        return ops.clip(v, -spec.gate_clip, spec.gate_clip) if spec.gate_clip else v

    i = gate("i", c)
    f = 1.0 - i if spec.coupled_gates else gate("f", c)
    g = spec.cell_activation(ops, clip(part["g"]))
    c = f * c + i * g
    if spec.cell_clip:
        c = ops.clip(c, -spec.cell_clip, spec.cell_clip)
    o = gate("o", c)
    return o * spec.output_activation(ops, c), c


def output(ops: Ops, spec: LSTMSpec, p: Parameters, m: Tensor) -> Tensor:
    """h from o * ψ(c): [..., H] → [..., P or H]."""
    if not spec.proj_size:
        return m
    h = ops.linear(m, p["weight_hr"])
    return ops.clip(h, -spec.proj_clip, spec.proj_clip) if spec.proj_clip else h
