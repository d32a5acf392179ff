"""The LSTM and its relatives: every variant whose state is h and one or several c.

One direction of one layer. p holds its arrays by role (see `arrays`). With h', c' of the step before:

    i = σ(W_i x + R_i h' + V_i * c' + b_i)
    f = σ(W_f x + R_f h' + V_f * c' + b_f)        or 1 - i, coupled
    g = φ(W_g x + R_g h' + b_g)
    c = f * c' + i * g
    o = σ(W_o x + R_o h' + V_o * c + b_o)         the output gate sees the new c
    m = o * ψ(c)                                  or r * (o * ψ(c)) + (1 - r) * (W_xh x + b_xh), highway,
                                                  with r = σ(W_r x + R_r h' + b_r)
    h = W_hr m                                    or m, unprojected

A gate that the spec lacks is the constant 1. What else a spec may ask for:

    num_blocks      i, f, o are one number a block of units; V * c is then summed over the block
    lanes           c, i, f, g, o exist once a lane, and m is pooled over the lanes (lanes.py); with attention,
                    i, f, o are each multiplied by the lane's share and c = (1 - f) * c' + i * g
    gate_recurrence each of i, f, o also sees those of the step before, which the state carries behind c
    layer_norm      joint, normalized-state: W x and R h' are each normalised over all gates, scaled by γ_ih, γ_hh;
                    per-gate: their sum is, gate by gate, scaled by γ. b is added behind. ψ sees γ_c·N(c) + β_c,
                    which is also what is stored, except by joint, where the stored c is the raw one

Sources: Hochreiter & Schmidhuber 1997 (blocks); Gers, Schmidhuber & Cummins 2000 (forget gate); Gers & Schmidhuber 2000
(peepholes); Sak, Senior & Beaufays 2014 (projection); Greff et al. 2017, eqs. 1-6 and appendix (all; coupled, absent
and recurrent gates); Srivastava, Greff & Schmidhuber 2015 and He et al. 2017 (highway); Rocki 2016 (lanes); Ba, Kiros &
Hinton 2016, eqs. 20-22 (layer normalisation); Semeniuta, Severyn & Barth 2016 (dropout of g).

The step is written as its parts because a backend may treat them apart: `prepare` for all steps at once, `gates`
elementwise over units for specs that are `elementwise`, so that its derivative is a number a unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..ops import Ops, Tensor
from .cell import LOOP_FIELDS, Array, Cell
from .lanes import attention, pooled
from .norm import normalized

if TYPE_CHECKING:
    from ..spec import LSTMSpec

Parameters = Mapping[str, Tensor]
Given = tuple[Tensor, "Tensor | None", "Tensor | None"]  # z, what a highway carries, what the lanes attend by


def step(ops: Ops, spec: LSTMSpec, p: Parameters, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One step. x: [B, I]; state: (h [B, P or H], c [B, slots·H]). Returns (h, c), same dtype."""
    return advance(ops, spec, p, prepare(ops, spec, p, x), state)


def prepare(ops: Ops, spec: LSTMSpec, p: Parameters, x: Tensor) -> Given:
    """What depends on x alone, of one step or of all: [..., I] → z [..., R], u [..., H], a [..., lanes·H]."""
    a = None
    if "weight_xa" in p:
        a = ops.linear(x, p["weight_xa"])
        a = ops.sigmoid(a + p["bias_xa"] if "bias_xa" in p else a)
    if spec.layer_norm == "none":
        return inputs(ops, p, x), carried(ops, p, x), a
    z = ops.linear(x, p["weight_ih"])
    if spec.layer_norm != "per-gate":
        z = biased(p, p["gamma_ih"] * normalized(ops, z, spec.layer_norm_eps))
    return z, carried(ops, p, x), a


def advance(
    ops: Ops, spec: LSTMSpec, p: Parameters, given: Given, state: tuple[Tensor, Tensor], drop: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The step from what `prepare` returned. drop: the mask of a recurrent dropout of kind per-gate, [G, B, P or H],
    on the h that each row group reads, or candidate, [B, lanes·H], on g."""
    z, u, a = given
    h, c = state
    kept = drop if spec.recurrent_dropout_kind == "candidate" else None
    z = combined(ops, spec, p, z, recurrent(ops, p["weight_hh"], h, spec.row_groups, drop if kept is None else None))
    m, c = gates(ops, spec, p, z, c, u, a, kept)
    return output(ops, spec, p, m), c


def carried(ops: Ops, p: Parameters, x: Tensor) -> Tensor | None:
    """What a highway carries past the cell: [..., I] → [..., H]; None where there is no highway."""
    if "weight_xh" not in p:
        return None
    u = ops.linear(x, p["weight_xh"])
    return u + p["bias_xh"] if "bias_xh" in p else u


def inputs(ops: Ops, p: Parameters, x: Tensor) -> Tensor:
    """W x + b, of one step or of all: [..., I] → [..., R]."""
    return biased(p, ops.linear(x, p["weight_ih"]))


def biased(p: Parameters, z: Tensor) -> Tensor:
    """z + b. The two biases of bias="double" only ever act as a sum."""
    if "bias_ih" in p:
        return z + (p["bias_ih"] + p["bias_hh"])
    return z + p["bias"] if "bias" in p else z


def recurrent(ops: Ops, weight: Tensor, h: Tensor, groups: Groups, drop: Tensor | None) -> Tensor:
    """R h: [B, P or H] → [B, R]; or, with a mask for each row group, R_a (h * mask_a) group by group."""
    if drop is None:
        return ops.linear(h, weight)
    parts, start = [], 0
    for n, (_, size) in enumerate(groups):
        parts.append(ops.linear(h * drop[n], weight[start : start + size]))
        start += size
    return ops.concat(parts)


def combined(ops: Ops, spec: LSTMSpec, p: Parameters, of_x: Tensor, of_h: Tensor) -> Tensor:
    """The pre-activations [..., R] from the parts of x and of h, normalised as the spec says."""
    if spec.layer_norm == "none":
        return of_x + of_h
    if spec.layer_norm == "per-gate":
        parts = _parts(ops, spec.row_groups, of_x + of_h)
        return biased(p, p["gamma"] * ops.concat([normalized(ops, part, spec.layer_norm_eps) for part in parts]))
    return of_x + p["gamma_hh"] * normalized(ops, of_h, spec.layer_norm_eps)


def gates(
    ops: Ops,
    spec: LSTMSpec,
    p: Parameters,
    z: Tensor,
    memory: Tensor,
    u: Tensor | None = None,
    a: Tensor | None = None,
    kept: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Pre-activations [..., R] and what the state remembers [..., slots·H] → (m [..., H], the same of the new state).

    u: what a highway carries. a: [..., lanes·H], what the lanes attend by. kept: [..., lanes·H], a mask on g.
    Elementwise over units where the spec is `elementwise`.
    """
    parts = _parts(ops, spec.row_groups, z)
    count = len(spec.gate_names) - spec.highway
    remembered = [memory] if spec.slots == 1 else ops.split(memory, spec.slots)
    before = remembered[spec.lanes :]  # the gates of the step before, where they are seen again
    if before:
        parts = _seen_again(ops, spec, p["weight_gg"], parts, before)
    shares = None if a is None else attention(ops, spec.lane_pooling, ops.split(a, spec.lanes))
    of_lanes = p.get("gamma_c"), p.get("beta_c"), p.get("weight_ch"), kept
    lanes = []
    for n in range(spec.lanes):
        gamma, beta, peep, keep = of_lanes if spec.lanes == 1 else [_of_lane(ops, spec, v, n) for v in of_lanes]
        lane = _Lane(ops, spec, parts[n * count : (n + 1) * count], peep, gamma, beta)
        lanes.append(lane.run(remembered[n], None if shares is None else shares[n], keep))
    _, m, c, now = lanes[0]
    if spec.lanes > 1:
        m = pooled(ops, spec.lane_pooling, [lane[0] for lane in lanes], [lane[1] for lane in lanes])
        c = ops.concat([lane[2] for lane in lanes])
    m = ops.reshape(m, (-1, spec.hidden_size)) if spec.num_blocks else m
    if u is not None:
        r = spec.gate_activation(ops, _clipped(ops, spec, parts[-1]))
        m = r * m + (1.0 - r) * u
    return m, ops.concat([c, *now]) if before else c


class _Lane:
    """The gates of one lane: pre-activations by letter, peepholes by letter, and how c is normalised."""

    def __init__(self, ops: Ops, spec: LSTMSpec, parts: Sequence[Tensor], peep: Any, gamma: Any, beta: Any) -> None:
        self.ops, self.spec, self.gamma, self.beta = ops, spec, gamma, beta
        self.part = dict(zip(spec.gate_names, parts, strict=False))  # r, the last, is not a lane's
        self.peep: dict[str, Tensor] = {}
        if peep is not None:
            names = spec.peephole_names
            self.peep = dict(zip(names, map(self.units, ops.split(peep, len(names))), strict=True))

    def run(self, c: Tensor, share: Any, kept: Any) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Old c [B, H] → (o, m, c [B, H], the gates that have weights in the order i f o); o and m block by block."""
        ops, spec = self.ops, self.spec
        c = self.units(c)
        g = self.units(spec.cell_activation(ops, _clipped(ops, spec, self.part["g"])))
        g = g if kept is None else g * self.units(kept)
        i = self.gate("i", c)
        f = 1.0 - i if spec.coupled_gates else self.gate("f", c)
        if share is None:
            c = f * c + i * g
        else:
            share = self.units(share)
            c = (1.0 - f * share) * c + i * share * g
        if spec.cell_clip:
            c = ops.clip(c, -spec.cell_clip, spec.cell_clip)
        seen = c
        if self.gamma is not None:
            seen = self.gamma * normalized(ops, self.flat(c), spec.layer_norm_eps)
            seen = self.units(seen if self.beta is None else seen + self.beta)
            c = c if spec.layer_norm == "joint" else seen
        o = self.gate("o", c)
        m = spec.output_activation(ops, seen)
        m = m if o is _ONE else o * m
        m = m if share is None else m * share
        there = [gate for letter, gate in (("i", i), ("f", f), ("o", o)) if letter in self.part]
        return o if share is None else o * share, m, self.flat(c), there

    def gate(self, name: str, seen: Tensor) -> Any:
        """σ of a gate, [B, H], or [B, blocks, 1]; an absent one is 1."""
        if name not in self.part:
            return _ONE
        z = self.part[name]
        z = z if not self.spec.num_blocks else self.ops.reshape(z, (-1, self.spec.num_blocks, 1))
        if name in self.peep:
            of_c = self.peep[name] * seen
            z = z + (self.ops.sum(of_c) if self.spec.num_blocks else of_c)
        return self.spec.gate_activation(self.ops, _clipped(self.ops, self.spec, z))

    def units(self, v: Tensor) -> Tensor:
        """[B, H], as [B, blocks, units of a block] where there are blocks."""
        blocks = self.spec.num_blocks
        return self.ops.reshape(v, (-1, blocks, self.spec.hidden_size // blocks)) if blocks else v

    def flat(self, v: Tensor) -> Tensor:
        return self.ops.reshape(v, (-1, self.spec.hidden_size)) if self.spec.num_blocks else v


_ONE = 1.0


def output(ops: Ops, spec: LSTMSpec, p: Parameters, m: Tensor) -> Tensor:
    """h from o * ψ(c): [..., H] → [..., P or H]."""
    if not spec.proj_size:
        return m
    h = ops.linear(m, p["weight_hr"])
    return ops.clip(h, -spec.proj_clip, spec.proj_clip) if spec.proj_clip else h


def _clipped(ops: Ops, spec: LSTMSpec, z: Tensor) -> Tensor:
    return ops.clip(z, -spec.gate_clip, spec.gate_clip) if spec.gate_clip else z


def _seen_again(ops: Ops, spec: LSTMSpec, weight: Tensor, parts: Any, before: Any) -> list[Tensor]:
    """The parts of z, those of i, f, o with what they see of the gates of the step before."""
    more = iter(ops.split(ops.linear(ops.concat(before), weight), len(before)))
    letters = [letter for letter, _ in spec.row_groups]
    return [part + next(more) if letter in "ifo" else part for letter, part in zip(letters, parts, strict=True)]


def _of_lane(ops: Ops, spec: LSTMSpec, value: Any, lane: int) -> Any:
    """One lane's part of a vector of lanes, or None."""
    return None if value is None else ops.split(value, spec.lanes)[lane]


def _parts(ops: Ops, groups: Groups, z: Tensor) -> Sequence[Tensor]:
    """z [..., R] by row group."""
    sizes = [size for _, size in groups]
    if len(set(sizes)) == 1:
        return ops.split(z, len(sizes))
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    return [z[..., end - size : end] for end, size in zip(ends, sizes, strict=True)]


# The shape of things.

Groups = tuple[tuple[str, int], ...]


def row_groups(spec: LSTMSpec) -> Groups:
    """The row groups of z, letter and size: lane by lane the gates that exist, and then r."""
    blocks, hidden = spec.num_blocks, spec.hidden_size
    one = tuple((letter, blocks if blocks and letter != "g" else hidden) for letter in spec.gate_names if letter != "r")
    return one * spec.lanes + ((("r", hidden),) if spec.highway else ())


def slots(spec: LSTMSpec) -> int:
    """Vectors of H in the state: c of each lane, and the gates that are seen again."""
    return spec.lanes + (len(_gates_with_weights(spec)) if spec.gate_recurrence else 0)


def _gates_with_weights(spec: LSTMSpec) -> str:
    return "".join(letter for letter in spec.gate_names if letter in "ifo")


def elementwise(spec: LSTMSpec) -> bool:
    """Is `gates` elementwise over units, and nothing between z and h but it and the projection?"""
    plain = spec.cell == "lstm" and spec.lanes == 1 and not spec.num_blocks and not spec.gate_recurrence
    return plain and spec.layer_norm == "none" and not (spec.zoneout_hidden or spec.zoneout_cell)


def arrays(spec: LSTMSpec, input_size: int) -> tuple[Array, ...]:
    """The parameters of one direction of one layer, in torch's order as far as torch has them."""
    groups, hidden, lanes = spec.row_groups, spec.hidden_size, spec.lanes * spec.hidden_size
    rows, letters, sizes = sum(n for _, n in groups), "".join(a for a, _ in groups), tuple(n for _, n in groups)
    found: list[tuple[str, tuple[int, ...], str, tuple[int, ...]]] = []

    def add(role: str, shape: tuple[int, ...], of: str = "", sized: tuple[int, ...] = ()) -> None:
        found.append((role, shape, of, sized))

    add("weight_ih", (rows, input_size), letters, sizes)
    add("weight_hh", (rows, spec.state_size), letters, sizes)
    for role in BIASES[str(spec.bias)]:
        add(role, (rows,), letters, sizes)
    for role in NORMS[spec.layer_norm]:
        add(role, (rows,), letters, sizes)
    if spec.layer_norm != "none":
        add("gamma_c", (lanes,))
        if spec.bias != "none":
            add("beta_c", (lanes,))
    if spec.peephole:
        names = spec.peephole_names * spec.lanes
        add("weight_ch", (len(names) * hidden,), names, (hidden,) * len(names))
    if spec.gate_recurrence:
        names = _gates_with_weights(spec)
        add("weight_gg", (len(names) * hidden,) * 2, names, (hidden,) * len(names))
    if spec.lane_pooling.startswith("attention"):
        add("weight_xa", (lanes, input_size))
        if spec.bias != "none":
            add("bias_xa", (lanes,))
    if spec.highway:
        add("weight_xh", (hidden, input_size))
        if spec.bias == "double":  # with one bias it is part of none: the input has a bias only where there are two
            add("bias_xh", (hidden,))
    if spec.proj_size:
        add("weight_hr", (spec.proj_size, hidden))
    return tuple(Array(*one) for one in found)


BIASES = {"double": ("bias_ih", "bias_hh"), "single": ("bias",), "none": ()}
NORMS: dict[str, tuple[str, ...]] = {
    "none": (),
    "joint": ("gamma_ih", "gamma_hh"),
    "normalized-state": ("gamma_ih", "gamma_hh"),
    "per-gate": ("gamma",),
}

CELL = Cell(
    "lstm",
    step,
    arrays,
    LOOP_FIELDS
    | {
        "bias", "proj_size", "gates", "coupled_gates", "peephole", "gate_activation", "cell_activation",
        "output_activation", "gate_clip", "cell_clip", "proj_clip", "num_blocks", "lanes", "lane_pooling", "layer_norm",
        "layer_norm_eps", "highway", "gate_recurrence", "recurrent_dropout_kind",
    },
    slots,
    source="Greff, Srivastava, Koutník, Steunebrink & Schmidhuber 2017, LSTM: A Search Space Odyssey, and those above",
    prepare=prepare,
    advance=advance,
)  # fmt: skip
