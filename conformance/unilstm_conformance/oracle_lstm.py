"""The oracle's LSTM: one direction of one layer, every variant of its equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .oracle_cells import Parameter, State, WeightedCell
from .oracle_shapes import Gate, row_groups
from .tape import Array, Var
from .tape_functions import (
    activated,
    block_sums,
    chosen,
    clipped,
    joined,
    larger,
    normalised,
    repeated,
    softmax,
    summed,
)

if TYPE_CHECKING:
    from unilstm.spec import LSTMSpec


@dataclass(frozen=True)
class Lane:
    """What one lane of an LSTM makes of one step: its gates i f o, those that there are, its c and m, each [H]."""

    gates: dict[str, Var]
    c: Var
    m: Var


class LSTMCell(WeightedCell):
    """The LSTM and all that a spec may add to it. Each of its gates is a group of rows of the weights."""

    def __init__(self, spec: LSTMSpec, parameter: Parameter, input_size: int) -> None:
        H, lanes, end = spec.hidden_size, spec.lanes, 0
        self.rows: dict[Gate, slice] = {}
        for lane, letter in row_groups(spec):
            size = spec.num_blocks if spec.num_blocks and letter in "ifo" else H
            self.rows[lane, letter] = slice(end, end + size)
            end += size
        letters = [letter for lane, letter in self.rows if lane == 0 and letter in "ifo"]
        self.remembered = letters if spec.gate_recurrence else []
        self.cells, self.slots = lanes, lanes + len(self.remembered)
        super().__init__(spec, parameter, input_size, end, spec.proj_size or H)
        roles = {"none": (), "per-gate": ("gamma",)}.get(spec.layer_norm, ("gamma_ih", "gamma_hh"))
        self.gammas = [parameter(role, (end,)) for role in roles]
        normed, biased = spec.layer_norm != "none", spec.bias != "none"
        self.γ = parameter("gamma_c", (lanes * H,)) if normed else None
        self.β = parameter("beta_c", (lanes * H,)) if normed and biased else None
        self.peepholes(parameter, [(lane, letter) for lane in range(lanes) for letter in letters])
        self.gate_recurrence(parameter)
        attends = lanes > 1 and spec.lane_pooling in ("attention", "attention-max")
        self.W_xa = parameter("weight_xa", (lanes * H, input_size)) if attends else None
        self.b_xa = parameter("bias_xa", (lanes * H,)) if attends and biased else None
        self.W_xh = parameter("weight_xh", (H, input_size)) if spec.highway else None
        self.b_xh = parameter("bias_xh", (H,)) if spec.highway and spec.bias == "double" else None
        self.W_hr = parameter("weight_hr", (self.P, H)) if spec.proj_size else None

    def peepholes(self, parameter: Parameter, gates: list[Gate]) -> None:
        """p: of each gate that sees the cell, [H]."""
        self.p: dict[Gate, Var] = {}
        if self.spec.peephole:
            p = parameter("weight_ch", (len(gates) * self.H,))
            self.p = {gate: p[n * self.H : (n + 1) * self.H] for n, gate in enumerate(gates)}

    def gate_recurrence(self, parameter: Parameter) -> None:
        """G: from each gate of the step before to each gate, [H, H], by (to, from)."""
        self.G: dict[tuple[str, str], Var] = {}
        if self.spec.gate_recurrence:
            size = len(self.remembered) * self.H
            whole = parameter("weight_gg", (size, size))
            span = {letter: slice(n * self.H, (n + 1) * self.H) for n, letter in enumerate(self.remembered)}
            self.G = {(a, b): whole[span[a], span[b]] for a in span for b in span}

    def step(self, x: Var, h: Var, c: State, mask: Array | None) -> tuple[Var, State]:
        """One step of one lane (Greff et al. 2017, section II; g and h are their z and y):

            i = σ(W_i x + R_i h + b_i + p_i ⊙ c)
            f = σ(W_f x + R_f h + b_f + p_f ⊙ c), or 1 - i where the gates are coupled
            g = φ(W_g x + R_g h + b_g)
            c' = f ⊙ c + i ⊙ g
            o = σ(W_o x + R_o h + b_o + p_o ⊙ c')
            m = o ⊙ ψ(c')
            h' = m, or W_hr m where there is a projection

        A gate i, f or o that the spec leaves out is 1. Several lanes have each their own i f g o and c, read the same x
        and h, and are pooled to one m (Rocki 2016). Where the gates remember (Greff et al. 2017, FGR), each of i f o
        adds Σ_b G_b b, b the i, f and o of the step before. With a highway (He et al. 2017, eqs. 7-9), m becomes

            r ⊙ m + (1 - r) ⊙ (W_xh x + b_xh), where r = σ(W_r x + R_r h + b_r)

        What a spec may clip: the argument of every σ and φ; c', before o and ψ see it; the projected h'.
        """
        z = self.preactivations(x, h, mask)
        for to, sender in self.G:
            z[0, to] = z[0, to] + self.G[to, sender] @ c[1 + self.remembered.index(sender)]
        s, lanes = self.attention(x), range(self.cells)
        made = [self.lane(n, z, c[n], s[n] if s else None, mask) for n in lanes]
        m = self.pooled(made)
        if self.W_xh:
            r = self.σ(z[0, "r"])
            carried = self.W_xh @ x + self.b_xh if self.b_xh else self.W_xh @ x
            m = r * m + (1.0 - r) * carried
        h = clipped(self.W_hr @ m, self.spec.proj_clip) if self.W_hr else m
        return h, (*(lane.c for lane in made), *(made[0].gates[letter] for letter in self.remembered))

    def preactivations(self, x: Var, h: Var, mask: Array | None) -> dict[Gate, Var]:
        """Of each gate, W x + R h + b without peepholes; and normalised, where the spec says so:

        joint, normalized-state: γ_ih N(W x) + γ_hh N(R h) + b, N over all gates together (Ba, Kiros & Hinton 2016,
        eqs. 20-22); per-gate: γ N(W x + R h) + b, N over each gate.
        With a mask on the h that is read: one for all gates, or one for each (Gal & Ghahramani 2016).
        """
        kind = self.spec.recurrent_dropout_kind
        assert self.R is not None
        zx, zh = {}, {}
        for n, (gate, rows) in enumerate(self.rows.items()):
            read = h if mask is None or kind == "candidate" else h.scaled(mask[n] if kind == "per-gate" else mask)
            zx[gate], zh[gate] = self.W[rows] @ x, self.R[rows] @ read
        if self.spec.layer_norm in ("joint", "normalized-state"):
            nx, nh = (self.normalised(joined(*z.values())) for z in (zx, zh))
            γ_ih, γ_hh = self.gammas
            a = {gate: γ_ih[rows] * nx[rows] + γ_hh[rows] * nh[rows] for gate, rows in self.rows.items()}
        elif self.spec.layer_norm == "per-gate":
            (γ,) = self.gammas
            a = {gate: γ[rows] * self.normalised(zx[gate] + zh[gate]) for gate, rows in self.rows.items()}
        else:
            a = {gate: zx[gate] + zh[gate] for gate in self.rows}
        return {gate: self.biased(a[gate], rows) for gate, rows in self.rows.items()}

    def lane(self, n: int, z: dict[Gate, Var], c: Var, s: Var | None, mask: Array | None) -> Lane:
        """Lane n's gates, c and m. s: its attention, which multiplies i f o, and then c' = (1 - f) ⊙ c + i ⊙ g.

        mask: on the candidate g, where the dropout is of that kind (Semeniuta, Severyn & Barth 2016).
        """
        spec, units = self.spec, slice(n * self.H, (n + 1) * self.H)
        one = Var(np.ones(self.H))

        def gate(letter: str, seen: Var) -> Var:
            i_f_or_o = self.gate((n, letter), z, seen)
            return i_f_or_o * s if s else i_f_or_o

        there = [letter for letter in "ifo" if (n, letter) in self.rows]
        i = gate("i", c) if "i" in there else one
        f = gate("f", c) if "f" in there else 1.0 - i if spec.coupled_gates else one
        g = self.φ(z[n, "g"])
        if mask is not None and spec.recurrent_dropout_kind == "candidate":
            g = g.scaled(mask[units])
        c = clipped((1.0 - f if s else f) * c + i * g, spec.cell_clip)
        seen = c
        if self.γ:
            seen = self.γ[units] * self.normalised(c)
            seen = seen + self.β[units] if self.β else seen
        c = c if spec.layer_norm == "joint" else seen
        o = gate("o", c) if "o" in there else one
        return Lane({letter: {"i": i, "f": f, "o": o}[letter] for letter in there}, c, o * self.ψ(seen))

    def gate(self, gate: Gate, z: dict[Gate, Var], c: Var) -> Var:
        """σ(z + p ⊙ c), [H]. A gate of blocks adds up p ⊙ c over each block, and all units of a block share it."""
        a, K = z[gate], self.spec.num_blocks
        if gate in self.p:
            seen = self.p[gate] * c
            a = a + (block_sums(seen, K) if K else seen)
        return repeated(self.σ(a), self.H // K) if K else self.σ(a)

    def attention(self, x: Var) -> list[Var]:
        """Of each lane, softmax over the lanes of sigmoid(W_xa x + b_xa); attention-max: the largest, in every lane."""
        if not self.W_xa:
            return []
        a = self.W_xa @ x + self.b_xa if self.b_xa else self.W_xa @ x
        a = activated(a, "sigmoid", None, None)
        s = softmax([a[n * self.H : (n + 1) * self.H] for n in range(self.cells)])
        if self.spec.lane_pooling == "attention":
            return s
        largest = s[0]
        for other in s[1:]:
            largest = larger(largest, other)
        return [largest] * self.cells

    def pooled(self, lanes: list[Lane]) -> Var:
        """The sum of the lanes' m; argmax: unit by unit the m of the lane whose o is largest, the first of equals."""
        if self.cells == 1 or self.spec.lane_pooling != "argmax":
            return summed([lane.m for lane in lanes])
        m, o = lanes[0].m, lanes[0].gates["o"].value
        for lane in lanes[1:]:
            wins = lane.gates["o"].value > o
            m, o = chosen(wins, lane.m, m), np.where(wins, lane.gates["o"].value, o)
        return m

    def normalised(self, v: Var) -> Var:
        """N(v). Where v is large beside its deviations from its mean, these are what is left of two large numbers."""
        n, scale = normalised(v, self.spec.layer_norm_eps), np.sqrt(v.value.var() + self.spec.layer_norm_eps)
        enlarged = np.abs(v.value).max() / scale / max(1.0, np.abs(n.value).max())
        self.amplification = max(self.amplification, float(enlarged))
        return n

    def σ(self, a: Var) -> Var:
        kind = self.spec.gate_activation
        return activated(clipped(a, self.spec.gate_clip), kind.name, kind.alpha, kind.beta)

    def φ(self, a: Var) -> Var:
        kind = self.spec.cell_activation
        return activated(clipped(a, self.spec.gate_clip), kind.name, kind.alpha, kind.beta)

    def ψ(self, c: Var) -> Var:
        kind = self.spec.output_activation
        return activated(c, kind.name, kind.alpha, kind.beta)
