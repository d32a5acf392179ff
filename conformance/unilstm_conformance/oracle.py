"""The oracle: what every LSTM variant computes, written out from the papers in float64, one row and one gate at a time.

Everything else in this project is judged against it, so it shares no code with what it judges: it reads the fields of
an LSTMSpec, and needs NumPy and the tape beside it. It is meant to be checked by eye against

    Hochreiter & Schmidhuber 1997 (the cell), Gers, Schmidhuber & Cummins 2000 (the forget gate),
    Gers & Schmidhuber 2000 (peepholes), Greff et al. 2017, section II and appendix (all of it in one notation; CIFG,
    NIG, NFG, NOG), Sak, Senior & Beaufays 2014 (projection), Schuster & Paliwal 1997 (two directions), Zhou & Xu 2015
    (alternating directions), He, Lee, Lewis & Zettlemoyer 2017, eqs. 7-9 (highway), Peters et al. 2018 (residual),
    Zaremba, Sutskever & Vinyals 2014 (dropout between layers), Gal & Ghahramani 2016 (dropout of the h that is read).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .tape import Array, Leaves, Var, activated, as_float64, clipped, gradients, joined

if TYPE_CHECKING:  # the oracle reads a spec that it is given; running it imports nothing of unilstm
    from unilstm.spec import LSTMSpec

Row = dict[int, Var]  # one row of a batch: the vector of each time step that the row really has
Place = tuple[str, tuple[Any, ...], Var]  # which output, where in it, and what is there


@dataclass(frozen=True)
class Result:
    """What one call computed.

    y: [B, T, O], or [T, B, O] if the spec is not batch_first. h_n: [L·D, B, P or H]. c_n: [L·D, B, H].
    c_all: every step's c of the last layer, axes as y, [.., .., D·H], forward first; 0 at and past a row's length.
    gradients: of sum(y·p_y) + sum(h_n·p_h) + sum(c_n·p_c) + sum(c_all·p), over the probes given: for "x", for "h_0"
    and "c_0" if they were given, and for every parameter by its canonical name. Without probes, {}.
    """

    y: Array
    h_n: Array
    c_n: Array
    c_all: Array
    gradients: dict[str, Array]


def run(
    spec: LSTMSpec,
    arrays: Mapping[str, ArrayLike],
    x: ArrayLike,
    h_0: ArrayLike | None = None,
    c_0: ArrayLike | None = None,
    lengths: Sequence[int] | np.ndarray[Any, Any] | None = None,
    *,
    masks: Mapping[int, ArrayLike] | None = None,
    recurrent_masks: Mapping[tuple[int, int], ArrayLike] | None = None,
    probes: Mapping[str, ArrayLike] | None = None,
) -> Result:
    """Run an LSTM over a batch.

    arrays: the parameters by canonical name. x: [B, T, I], or [T, B, I] if the spec is not batch_first.
    h_0 [L·D, B, P or H], c_0 [L·D, B, H]: where not given, the learned state, else 0. lengths: [B]; all T if not given.
    masks: multipliers [T, B, F] for the input of a layer > 0, by layer: dropout, drawn and scaled already.
    recurrent_masks: multipliers [B, P or H] for the h that every step reads, by (layer, direction), drawn likewise.
    probes: weights for the outputs "y", "h_n", "c_n", "c_all", shaped as these; their weighted sum is differentiated.
    Raises ValueError if an array does not fit the spec and the batch.
    """
    sizes = _Sizes(spec, np.shape(x))
    leaves = Leaves(arrays)
    stack = [[_Cell(sizes, leaves, layer, d) for d in range(sizes.D)] for layer in range(spec.num_layers)]
    leaves.check_all_read()
    leaves.add("x", x, (*sizes.at(sizes.B, sizes.T), spec.input_size))
    if h_0 is not None:
        leaves.add("h_0", h_0, sizes.shape("h_n"))
    if c_0 is not None:
        leaves.add("c_0", c_0, sizes.shape("c_n"))
    drawn = {layer: sizes.mask(layer, mask) for layer, mask in (masks or {}).items()}
    recurrent = {place: sizes.recurrent_mask(place, mask) for place, mask in (recurrent_masks or {}).items()}
    places: list[Place] = []
    for b, length in enumerate(sizes.lengths(lengths)):
        places += _row(sizes, leaves, stack, drawn, recurrent, b, length)
    outputs = {name: np.zeros(sizes.shape(name)) for name in ("y", "h_n", "c_n", "c_all")}
    for name, where, value in places:
        outputs[name][where] = value.value
    return Result(**outputs, gradients={} if probes is None else _gradients(sizes, leaves, places, probes))


@dataclass(frozen=True)
class _Gate:
    """One gate's own weights: W [H, in], R [H, P or H], its biases [H], and its peephole p [H] if it has one."""

    W: Var
    R: Var
    biases: tuple[Var, ...]
    p: Var | None

    def __call__(self, x: Var, h: Var, c: Var) -> Var:
        """W x + R h + b + p ⊙ c: what the gate's activation is applied to."""
        a = self.W @ x + self.R @ h
        for b in self.biases:
            a = a + b
        return a if self.p is None else a + self.p * c


class _Cell:
    """One direction of one layer."""

    def __init__(self, sizes: _Sizes, leaves: Leaves, layer: int, direction: int) -> None:
        self.spec = spec = sizes.spec
        self.right_to_left = (
            direction == 1 or spec.direction == "reverse" or (spec.direction == "alternating" and layer % 2 == 1)
        )
        own = f"_l{layer}" + ("_reverse" if direction == 1 else "")
        H, P = sizes.H, sizes.P
        absent = [gate[0] for gate in ("input", "forget", "output") if gate not in spec.gates]
        absent += ["f"] * spec.coupled_gates + ["r"] * (not spec.highway)
        letters = [letter for letter in "ifgor" if letter not in absent]
        p_letters = [letter for letter in letters if letter in "ifo"]
        rows = (len(letters) * H,)
        W = leaves.parameter("weight_ih" + own, (*rows, sizes.input_size(layer)))
        R = leaves.parameter("weight_hh" + own, (*rows, P))
        roles = {"double": ("bias_ih", "bias_hh"), "single": ("bias",), "none": ()}[str(spec.bias)]
        biases = [leaves.parameter(role + own, rows) for role in roles]
        p = leaves.parameter("weight_ch" + own, (len(p_letters) * H,)) if spec.peephole else None

        def gate(letter: str) -> _Gate:
            n, m = letters.index(letter) * H, p_letters.index(letter) * H if letter in p_letters else 0
            own_p = p[m : m + H] if p and letter in p_letters else None
            return _Gate(W[n : n + H], R[n : n + H], tuple(b[n : n + H] for b in biases), own_p)

        self.g = gate("g")
        # None has no weights: it is 1, or 1 - i.
        self.i, self.f, self.o, self.r = (gate(letter) if letter in letters else None for letter in "ifor")
        self.W_xh = leaves.parameter("weight_xh" + own, (H, sizes.input_size(layer))) if spec.highway else None
        self.b_xh = leaves.parameter("bias_xh" + own, (H,)) if spec.highway and spec.bias == "double" else None
        self.W_hr = leaves.parameter("weight_hr" + own, (P, H)) if spec.proj_size else None
        self.h_0 = leaves.parameter("h_0" + own, (P,)) if spec.learned_state else Var(np.zeros(P))
        self.c_0 = leaves.parameter("c_0" + own, (H,)) if spec.learned_state else Var(np.zeros(H))

    def step(self, x: Var, h: Var, c: Var) -> tuple[Var, Var]:
        """One step: the new h and c from x and the old ones (Greff et al. 2017, section II; g and h are their z and y).

            i = σ(W_i x + R_i h + b_i + p_i ⊙ c)
            f = σ(W_f x + R_f h + b_f + p_f ⊙ c), or 1 - i where the gates are coupled
            g = φ(W_g x + R_g h + b_g)
            c' = f ⊙ c + i ⊙ g
            o = σ(W_o x + R_o h + b_o + p_o ⊙ c')
            m = o ⊙ ψ(c')
            h' = m, or W_hr m where there is a projection

        A gate i, f or o that the spec leaves out is 1. With a highway (He et al. 2017, eqs. 7-9), m is instead

            r ⊙ o ⊙ ψ(c') + (1 - r) ⊙ (W_xh x + b_xh), where r = σ(W_r x + R_r h + b_r)

        What a spec may clip: the argument of every σ and φ; c', before o and ψ see it; the projected h'.
        """
        one = Var(np.ones(c.value.shape))
        i = self.σ(self.i(x, h, c)) if self.i else one
        f = 1.0 - i if self.spec.coupled_gates else self.σ(self.f(x, h, c)) if self.f else one
        g = self.φ(self.g(x, h, c))
        c = clipped(f * c + i * g, self.spec.cell_clip)
        o = self.σ(self.o(x, h, c)) if self.o else one
        m = o * self.ψ(c)
        if self.r and self.W_xh:
            r = self.σ(self.r(x, h, c))
            carried = self.W_xh @ x + self.b_xh if self.b_xh else self.W_xh @ x
            m = r * m + (1.0 - r) * carried
        return clipped(self.W_hr @ m, self.spec.proj_clip) if self.W_hr else m, c

    def σ(self, a: Var) -> Var:
        kind = self.spec.gate_activation
        return activated(clipped(a, self.spec.gate_clip), kind.name, kind.alpha, kind.beta)

    def φ(self, a: Var) -> Var:
        kind = self.spec.cell_activation
        return activated(clipped(a, self.spec.gate_clip), kind.name, kind.alpha, kind.beta)

    def ψ(self, c: Var) -> Var:
        kind = self.spec.output_activation
        return activated(c, kind.name, kind.alpha, kind.beta)

    def read(self, row: Row, h: Var, c: Var, mask: Array | None) -> tuple[Row, Row, Var, Var]:
        """Read a row, from its first step on or from its last step back: each step's h and c, and the final h and c.

        mask: multiplies the h that each step reads, the initial one too, not the h that it makes.
        """
        hs: Row = {}
        cs: Row = {}
        for t in sorted(row, reverse=self.right_to_left):
            h, c = self.step(row[t], h if mask is None else h.scaled(mask), c)
            hs[t], cs[t] = h, c
        return hs, cs, h, c


def _row(
    sizes: _Sizes,
    leaves: Leaves,
    stack: list[list[_Cell]],
    masks: dict[int, Array],
    recurrent_masks: dict[tuple[int, int], Array],
    b: int,
    length: int,
) -> Iterator[Place]:
    """Row b, alone, through all layers: its part of each output."""
    row: Row = {t: leaves.vars["x"][sizes.at(b, t)] for t in range(length)}
    for layer, cells in enumerate(stack):
        before = row
        if layer in masks:
            row = {t: x.scaled(masks[layer][t, b]) for t, x in row.items()}
        outputs: list[Row] = []
        for d, cell in enumerate(cells):
            n = layer * len(cells) + d
            h = leaves.vars["h_0"][n, b] if "h_0" in leaves.vars else cell.h_0
            c = leaves.vars["c_0"][n, b] if "c_0" in leaves.vars else cell.c_0
            mask = recurrent_masks[layer, d][b] if (layer, d) in recurrent_masks else None
            hs, cs, h, c = cell.read(row, h, c, mask)
            outputs.append(hs)
            yield "h_n", (n, b), h
            yield "c_n", (n, b), c
            if cells is stack[-1]:
                own = slice(d * sizes.H, (d + 1) * sizes.H)
                yield from (("c_all", (*sizes.at(b, t), own), c) for t, c in cs.items())
        row = _merged(sizes.spec.merge, *outputs) if len(outputs) == 2 else outputs[0]
        if sizes.spec.residual and layer > 0:
            row = {t: h + before[t] for t, h in row.items()}
    yield from (("y", sizes.at(b, t), h) for t, h in row.items())


def _merged(merge: str, forward: Row, backward: Row) -> Row:
    """What a bidirectional layer passes on: the two directions' outputs of the same step, joined."""
    if merge == "concat":
        return {t: joined(forward[t], backward[t]) for t in forward}
    if merge == "mul":
        return {t: forward[t] * backward[t] for t in forward}
    total = {t: forward[t] + backward[t] for t in forward}
    return {"sum": total, "average": {t: v.scaled(0.5) for t, v in total.items()}}[merge]


def _gradients(
    sizes: _Sizes, leaves: Leaves, places: Iterable[Place], probes: Mapping[str, ArrayLike]
) -> dict[str, Array]:
    weights = {name: as_float64(f"probe {name}", probe, sizes.shape(name)) for name, probe in probes.items()}
    terms = [(value, weights[name][where]) for name, where, value in places if name in weights]
    return dict(zip(leaves.vars, gradients(terms, leaves.vars.values()), strict=True))


# Who has which shape. Everything is checked, so that a wrong layout cannot pass as some other LSTM.


class _Sizes:
    """The letters of the shapes: rows B, steps T, directions D, units H, features of h P and of y O."""

    def __init__(self, spec: LSTMSpec, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            raise ValueError(f"x has shape {shape}, but must have 3 axes. The oracle takes batches only.")
        self.spec = spec
        self.B, self.T = shape[:2] if spec.batch_first else (shape[1], shape[0])
        self.D = 2 if spec.direction == "bidirectional" else 1
        self.H, self.P = spec.hidden_size, spec.proj_size or spec.hidden_size
        self.O = self.D * self.P if spec.merge == "concat" else self.P

    def at(self, b: int, t: int) -> tuple[int, int]:
        """Row b and step t in the axis order of x and y."""
        return (b, t) if self.spec.batch_first else (t, b)

    def input_size(self, layer: int) -> int:
        return self.spec.input_size if layer == 0 else self.O

    def shape(self, name: str) -> tuple[int, ...]:
        shapes: dict[str, tuple[int, ...]] = {
            "y": (*self.at(self.B, self.T), self.O),
            "h_n": (self.spec.num_layers * self.D, self.B, self.P),
            "c_n": (self.spec.num_layers * self.D, self.B, self.H),
            "c_all": (*self.at(self.B, self.T), self.D * self.H),
        }
        if name not in shapes:
            raise ValueError(f"{name} is not an output. Probe only {', '.join(shapes)}.")
        return shapes[name]

    def mask(self, layer: int, mask: ArrayLike) -> Array:
        if layer not in range(1, self.spec.num_layers):
            raise ValueError(f"layer {layer} cannot have a mask: not the first, nor beyond the {self.spec.num_layers}.")
        return as_float64(f"mask of layer {layer}", mask, (self.T, self.B, self.O))

    def recurrent_mask(self, place: tuple[int, int], mask: ArrayLike) -> Array:
        if place not in [(layer, d) for layer in range(self.spec.num_layers) for d in range(self.D)]:
            raise ValueError(f"there is no (layer, direction) {place} to mask: {self.spec.num_layers} by {self.D}.")
        return as_float64(f"recurrent mask of {place}", mask, (self.B, self.P))

    def lengths(self, lengths: Sequence[int] | np.ndarray[Any, Any] | None) -> list[int]:
        """Each row's number of steps."""
        steps = [self.T] * self.B if lengths is None else [operator.index(n) for n in lengths]
        if len(steps) != self.B or not all(0 <= n <= self.T for n in steps):
            raise ValueError(f"lengths={steps} must be {self.B} numbers from 0 to {self.T}.")
        return steps
