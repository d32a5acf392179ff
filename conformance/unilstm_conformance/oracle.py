"""The oracle: what every LSTM variant computes, written out from the papers in float64, one row and one gate at a time.

Everything else in this project is judged against it, so it shares no code with what it judges: it reads the fields of
an LSTMSpec, and needs NumPy and the tape beside it. Layers, directions, lengths and masks are here; the equations of a
step are in oracle_lstm.py and oracle_cells.py; those of a user's own cell are the user's, see oracle_own.py. All of it
is meant to be checked by eye against

    Hochreiter & Schmidhuber 1997 (the cell, its memory blocks), Gers, Schmidhuber & Cummins 2000 (the forget gate),
    Gers & Schmidhuber 2000 (peepholes), Greff et al. 2017, section II and appendix (all of it in one notation; CIFG,
    NIG, NFG, NOG, FGR), Sak, Senior & Beaufays 2014 (projection), Schuster & Paliwal 1997 (two directions), Zhou & Xu
    2015 (alternating directions), He, Lee, Lewis & Zettlemoyer 2017, eqs. 7-9 (highway), Peters et al. 2018 (residual),
    Rocki 2016 (lanes), Ba, Kiros & Hinton 2016 (layer normalisation), Zaremba, Sutskever & Vinyals 2014 (dropout
    between layers), Gal & Ghahramani 2016 (dropout of the x and h that are read, one mask for all steps), Semeniuta,
    Severyn & Barth 2016 (of the candidate), Merity, Keskar & Socher 2017 (of the weights), Krueger et al. 2017
    (zoneout), Beck et al. 2024 (sLSTM), Feng et al. 2024 (minLSTM).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .oracle_cells import Cell, MinLSTMCell, SLSTMCell, State, slots_of
from .oracle_lstm import LSTMCell
from .oracle_own import OwnCell
from .oracle_shapes import Sizes
from .tape import Array, Leaves, Var, as_float64, gradients
from .tape_functions import joined

if TYPE_CHECKING:  # the oracle reads a spec that it is given; running it imports nothing of unilstm
    from unilstm.spec import LSTMSpec

Row = dict[int, Var]  # one row of a batch: the vector of each time step that the row really has
Place = tuple[str, tuple[Any, ...], Var]  # which output, where in it, and what is there
CELLS: dict[str, Any] = {"lstm": LSTMCell, "slstm": SLSTMCell, "minlstm": MinLSTMCell}


@dataclass(frozen=True)
class Result:
    """What one call computed.

    y: [B, T, O], or [T, B, O] if the spec is not batch_first. h_n: [L·D, B, P or H]. c_n: [L·D, B, H], or, where the
    state c has several slots, [L·D, B, slots, H].
    c_all: every step's c of the last layer, axes as y, [.., .., D·H] or [.., .., D·slots, H], forward first; 0 at and
    past a row's length.
    gradients: of sum(y·p_y) + sum(h_n·p_h) + sum(c_n·p_c) + sum(c_all·p), over the probes given: for "x", for "h_0"
    and "c_0" if they were given, and for every parameter by its canonical name. Without probes, {}.
    amplification: how many times larger, at worst, an operation makes the relative errors of what it is given, where
    it is more than the once or twice of sums, products and activations; at least 1. See tolerances.py.
    """

    y: Array
    h_n: Array
    c_n: Array
    c_all: Array
    gradients: dict[str, Array]
    amplification: float


def run(
    spec: LSTMSpec,
    arrays: Mapping[str, ArrayLike],
    x: ArrayLike,
    h_0: ArrayLike | None = None,
    c_0: ArrayLike | None = None,
    lengths: Sequence[int] | np.ndarray[Any, Any] | None = None,
    *,
    masks: Mapping[str, ArrayLike] | None = None,
    probes: Mapping[str, ArrayLike] | None = None,
) -> Result:
    """Run an LSTM over a batch.

    arrays: the parameters by canonical name. x: [B, T, I], or [T, B, I] if the spec is not batch_first.
    h_0 and c_0, as h_n and c_n: where not given, the learned state, else 0. lengths: [B]; all T if not given.
    masks: of a call in training, all that the spec has, drawn and scaled already; see Sizes.mask_shapes. Without them
    the call is one in evaluation: nothing is dropped, and zoneout takes its expectation.
    probes: weights for the outputs "y", "h_n", "c_n", "c_all", shaped as these; their weighted sum is differentiated.
    Raises ValueError if an array does not fit the spec and the batch.
    """
    sizes, leaves = Sizes(spec, np.shape(x)), Leaves(arrays)
    drawn = None if masks is None else sizes.masks(masks, arrays)
    stack = [[_Direction(sizes, leaves, drawn, layer, d) for d in range(sizes.D)] for layer in range(spec.num_layers)]
    leaves.check_all_read()
    slots = stack[0][0].cell.slots
    leaves.add("x", x, (*sizes.at(sizes.B, sizes.T), spec.input_size))
    if h_0 is not None:
        leaves.add("h_0", h_0, sizes.shape("h_n", slots))
    if c_0 is not None:
        leaves.add("c_0", c_0, sizes.shape("c_n", slots))
    places: list[Place] = []
    for b, length in enumerate(sizes.lengths(lengths)):
        places += _row(sizes, leaves, stack, drawn or {}, b, length)
    outputs = {name: np.zeros(sizes.shape(name, slots)) for name in ("y", "h_n", "c_n", "c_all")}
    for name, where, value in places:
        outputs[name][where] = value.value
    weights = {n: as_float64(f"probe {n}", probe, sizes.shape(n, slots)) for n, probe in (probes or {}).items()}
    amplification = max(direction.cell.amplification for layer in stack for direction in layer)
    found = {} if probes is None else _gradients(leaves, places, weights)
    return Result(**outputs, gradients=found, amplification=amplification)


class _Direction:
    """One direction of one layer: its cell, its order of steps and its masks."""

    def __init__(self, sizes: Sizes, leaves: Leaves, masks: Mapping[str, Array] | None, layer: int, d: int) -> None:
        self.spec, self.own = sizes.spec, f"_l{layer}" + ("_reverse" if d == 1 else "")
        way = self.spec.direction
        self.right_to_left = d == 1 or way == "reverse" or (way == "alternating" and layer % 2 == 1)
        self.masks = masks

        def parameter(role: str, shape: tuple[int, ...]) -> Var:
            v = leaves.parameter(role + self.own, shape)
            dropped = self.mask("weight") if role == "weight_hh" else None
            return v if dropped is None else v.scaled(dropped)

        self.cell: Cell = CELLS.get(self.spec.cell, OwnCell)(self.spec, parameter, sizes.input_size(layer))

    def mask(self, kind: str) -> Array | None:
        return None if self.masks is None else self.masks.get(kind + self.own)

    def read(self, row: Row, b: int, h: Var, c: State) -> tuple[Row, dict[int, State], Var, State]:
        """Read row b, from its first step on or from its last step back: each step's h and c, and the final h and c."""
        hs: Row = {}
        cs: dict[int, State] = {}
        dropped = self.mask("input")
        for t in sorted(row, reverse=self.right_to_left):
            x = row[t] if dropped is None else row[t].scaled(dropped[b])
            new_h, new_c = self.cell.step(x, h, c, self.recurrent(t, b))
            h, c = self.zoneout(t, b, h, new_h, c, new_c)
            hs[t], cs[t] = h, c
        return hs, cs, h, c

    def recurrent(self, t: int, b: int) -> Array | None:
        """The recurrent dropout's mask for step t of row b: [groups, P], [lanes·H] or [P]."""
        mask, kind = self.mask("recurrent"), self.spec.recurrent_dropout_kind
        if mask is None:
            return None
        return mask[:, b] if kind == "per-gate" else mask[t, b] if kind == "candidate" else mask[b]

    def zoneout(self, t: int, b: int, h: Var, new_h: Var, c: State, new_c: State) -> tuple[Var, State]:
        """The new state where the masks of step t and row b say so, else the old one; in evaluation their expectation.

        What c holds beside cells is always new. Several slots that are one cell share its mask (Krueger et al. 2017).
        """
        spec, cells = self.spec, self.cell.cells
        if spec.zoneout_hidden:
            taken = self.mask("zoneout_hidden")
            new_h = _held(h, new_h, 1.0 - spec.zoneout_hidden if taken is None else taken[t, b])
        if spec.zoneout_cell:
            mask = self.mask("zoneout_cell")
            lanes = [1.0 - spec.zoneout_cell] * spec.lanes if mask is None else np.split(mask[t, b], spec.lanes)
            held = (_held(c[n], new_c[n], lanes[n % spec.lanes]) for n in range(cells))
            new_c = (*held, *new_c[cells:])
        return new_h, new_c


def _held(old: Var, new: Var, taken: float | Array) -> Var:
    """taken ⊙ new + (1 - taken) ⊙ old."""
    return new.scaled(taken) + old.scaled(1.0 - taken)


def _row(
    sizes: Sizes,
    leaves: Leaves,
    stack: list[list[_Direction]],
    masks: Mapping[str, Array],
    b: int,
    length: int,
) -> Iterator[Place]:
    """Row b, alone, through all layers: its part of each output."""
    row: Row = {t: leaves.vars["x"][sizes.at(b, t)] for t in range(length)}
    for layer, directions in enumerate(stack):
        before = row
        if f"dropout_l{layer}" in masks:
            row = {t: x.scaled(masks[f"dropout_l{layer}"][t, b]) for t, x in row.items()}
        outputs: list[Row] = []
        for d, direction in enumerate(directions):
            n, cell = layer * len(directions) + d, direction.cell
            h = leaves.vars["h_0"][n, b] if "h_0" in leaves.vars else cell.h_0
            c = slots_of(leaves.vars["c_0"][n, b], cell.slots) if "c_0" in leaves.vars else cell.c_0
            hs, cs, h, c = direction.read(row, b, h, c)
            outputs.append(hs)
            yield "h_n", (n, b), h
            yield from (("c_n", (n, b, *slot), v) for slot, v in _numbered(c))
            if directions is stack[-1]:
                for t, c in cs.items():
                    for slot, v in _numbered(c):
                        own = d * len(c) + slot[0] if slot else slice(d * sizes.H, (d + 1) * sizes.H)
                        yield "c_all", (*sizes.at(b, t), own), v
        row = _merged(sizes.spec.merge, *outputs) if len(outputs) == 2 else outputs[0]
        if sizes.spec.residual and layer > 0:
            row = {t: h + before[t] for t, h in row.items()}
    yield from (("y", sizes.at(b, t), h) for t, h in row.items())


def _numbered(c: State) -> Iterable[tuple[tuple[int, ...], Var]]:
    """Each slot of a state with its index, which a single one does not have."""
    return [((), c[0])] if len(c) == 1 else [((n,), v) for n, v in enumerate(c)]


def _merged(merge: str, forward: Row, backward: Row) -> Row:
    """What a bidirectional layer passes on: the two directions' outputs of the same step, joined."""
    if merge == "concat":
        return {t: joined(forward[t], backward[t]) for t in forward}
    if merge == "mul":
        return {t: forward[t] * backward[t] for t in forward}
    total = {t: forward[t] + backward[t] for t in forward}
    return {"sum": total, "average": {t: v.scaled(0.5) for t, v in total.items()}}[merge]


def _gradients(leaves: Leaves, places: Iterable[Place], probes: Mapping[str, Array]) -> dict[str, Array]:
    terms = [(value, probes[name][where]) for name, where, value in places if name in probes]
    return dict(zip(leaves.vars, gradients(terms, leaves.vars.values()), strict=True))
