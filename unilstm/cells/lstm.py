"""The LSTM and its nearest relatives: peepholes, coupled gates, projection, clips, any activation.

One direction of one layer. p holds its arrays by role (see parameters.py). With h', c' of the step before:

    i = σ(W_i x + R_i h' + V_i * c' + b_i)
    f = σ(W_f x + R_f h' + V_f * c' + b_f)        or 1 - i, coupled
    g = φ(W_g x + R_g h' + b_g)
    c = f * c' + i * g
    o = σ(W_o x + R_o h' + V_o * c + b_o)         the output gate sees the new c
    m = o * ψ(c)                                  or r * (o * ψ(c)) + (1 - r) * (W_xh x + b_xh), highway,
                                                  with r = σ(W_r x + R_r h' + b_r)
    h = W_hr m                                    or m, unprojected

A gate that the spec lacks is the constant 1.

Sources: Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate); Gers & Schmidhuber 2000
(peepholes); Sak, Senior & Beaufays 2014 (projection); Greff et al. 2017, eqs. 1-6 (all; coupled and absent gates);
Srivastava, Greff & Schmidhuber 2015 and He et al. 2017 (highway).

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
    m, c = gates(ops, spec, p.get("weight_ch"), z, c, carried(ops, p, x))
    return output(ops, spec, p, m), c


def carried(ops: Ops, p: Parameters, x: Tensor) -> Tensor | None:
    """What a highway carries past the cell: [..., I] → [..., H]; None where there is no highway."""
    if "weight_xh" not in p:
        return None
    u = ops.linear(x, p["weight_xh"])
    return u + p["bias_xh"] if "bias_xh" in p else u


def inputs(ops: Ops, p: Parameters, x: Tensor) -> Tensor:
    """W x + b, of one step or of all: [..., I] → [..., G·H]. The two biases of bias="double" only ever act as a sum."""
    z = ops.linear(x, p["weight_ih"])
    if "bias_ih" in p:
        return z + (p["bias_ih"] + p["bias_hh"])
    return z + p["bias"] if "bias" in p else z


def gates(
    ops: Ops, spec: LSTMSpec, peepholes: Tensor | None, z: Tensor, c: Tensor, u: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pre-activations [..., G·H], the old c and what a highway carries → (m, c), each [..., H].

    Elementwise over units.
    """
    part = dict(zip(spec.gate_names, ops.split(z, len(spec.gate_names)), strict=True))
    peep = {}
    if peepholes is not None:
        peep = dict(zip(spec.peephole_names, ops.split(peepholes, len(spec.peephole_names)), strict=True))

    def gate(name: str, seen: Tensor) -> Tensor:
        return spec.gate_activation(ops, clip(part[name] + peep[name] * seen if name in peep else part[name]))

    def clip(v: Tensor) -> Tensor:
        return ops.clip(v, -spec.gate_clip, spec.gate_clip) if spec.gate_clip else v

    g = spec.cell_activation(ops, clip(part["g"]))
    i = gate("i", c) if "i" in part else 1.0
    f = 1.0 - i if spec.coupled_gates else gate("f", c) if "f" in part else 1.0
    c = f * c + i * g
    if spec.cell_clip:
        c = ops.clip(c, -spec.cell_clip, spec.cell_clip)
    m = spec.output_activation(ops, c)
    m = gate("o", c) * m if "o" in part else m
    if u is not None:
        r = gate("r", c)
        m = r * m + (1.0 - r) * u
    return m, c


def output(ops: Ops, spec: LSTMSpec, p: Parameters, m: Tensor) -> Tensor:
    """h from o * ψ(c): [..., H] → [..., P or H]."""
    if not spec.proj_size:
        return m
    h = ops.linear(m, p["weight_hr"])
    return ops.clip(h, -spec.proj_clip, spec.proj_clip) if spec.proj_clip else h
