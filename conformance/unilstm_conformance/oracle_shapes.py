"""Who has which shape, for the oracle. Everything is checked, so that a wrong layout cannot pass as some other LSTM."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .tape import Array, as_float64

if TYPE_CHECKING:  # the oracle reads a spec that it is given; running it imports nothing of unilstm
    from unilstm.spec import LSTMSpec


class Sizes:
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

    def shape(self, name: str, slots: int) -> tuple[int, ...]:
        """Of an output. slots: how many vectors of H a state c is made of; a single one has no axis of its own."""
        several = (slots,) * (slots > 1)
        shapes: dict[str, tuple[int, ...]] = {
            "y": (*self.at(self.B, self.T), self.O),
            "h_n": (self.spec.num_layers * self.D, self.B, self.P),
            "c_n": (self.spec.num_layers * self.D, self.B, *several, self.H),
            "c_all": (*self.at(self.B, self.T), *((self.D * slots, self.H) if slots > 1 else (self.D * self.H,))),
        }
        if name not in shapes:
            raise ValueError(f"{name} is not an output. Probe only {', '.join(shapes)}.")
        return shapes[name]

    def lengths(self, lengths: Sequence[int] | np.ndarray[Any, Any] | None) -> list[int]:
        """Each row's number of steps."""
        steps = [self.T] * self.B if lengths is None else [operator.index(n) for n in lengths]
        if len(steps) != self.B or not all(0 <= n <= self.T for n in steps):
            raise ValueError(f"lengths={steps} must be {self.B} numbers from 0 to {self.T}.")
        return steps

    def masks(self, masks: Mapping[str, ArrayLike], arrays: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """The masks given, checked: in training there must be those that the spec has, and no others."""
        shapes = self.mask_shapes({name: np.shape(array) for name, array in arrays.items()})
        if set(masks) != set(shapes):
            raise ValueError(f"the masks are {sorted(masks)}, but the spec has {sorted(shapes)}. Give these.")
        return {name: as_float64(f"mask {name}", masks[name], shape) for name, shape in shapes.items()}

    def mask_shapes(self, parameters: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The masks that the spec has, time-major, by name; l0 and l0_reverse stand for every layer and direction:

        dropout_l1 [T, B, F] multiplies the input of layer 1 (never of layer 0);
        input_l0, input_l0_reverse [B, F] the input of one direction, after that;
        recurrent_l0 [B, P] the h that every step reads; or [groups, B, P] where each group of rows has its own
            (recurrent_dropout_kind="per-gate"); or [T, B, lanes·H] the candidate g ("candidate");
        weight_l0, shaped as weight_hh_l0, these weights;
        zoneout_hidden_l0 [T, B, P], zoneout_cell_l0 [T, B, lanes·H], 0 or 1: does a step take its new h and c?

        parameters: the shapes of the spec's arrays.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for k in range(self.spec.num_layers):
            if self.spec.dropout and k:
                shapes[f"dropout_l{k}"] = (self.T, self.B, self.O)
            for own in (f"_l{k}", f"_l{k}_reverse")[: self.D]:
                shapes |= self._direction_masks(k, own, parameters.get(f"weight_hh{own}", ()))
        return shapes

    def _direction_masks(self, k: int, own: str, weight_hh: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        spec, B, T, cells = self.spec, self.B, self.T, self.spec.lanes * self.H
        recurrent = {"state": (B, self.P), "per-gate": (len(row_groups(spec)), B, self.P), "candidate": (T, B, cells)}
        drawn: dict[str, tuple[float, tuple[int, ...]]] = {
            "input": (spec.input_dropout, (B, self.input_size(k))),
            "recurrent": (spec.recurrent_dropout, recurrent[spec.recurrent_dropout_kind]),
            "weight": (spec.weight_dropout, weight_hh),
            "zoneout_hidden": (spec.zoneout_hidden, (T, B, self.P)),
            "zoneout_cell": (spec.zoneout_cell, (T, B, cells)),
        }
        return {kind + own: shape for kind, (p, shape) in drawn.items() if p}


Gate = tuple[int, str]  # a lane and one of i f g o r


def row_groups(spec: LSTMSpec) -> list[Gate]:
    """What the rows of an LSTM's weights are for, group by group, each a lane and a gate.

    For each lane the gates that have weights, in the order i f g o; then, for all lanes together, r.
    """
    absent = [gate[0] for gate in ("input", "forget", "output") if gate not in spec.gates]
    absent += ["f"] * spec.coupled_gates
    letters = [letter for letter in "ifgo" if letter not in absent]
    return [(lane, letter) for lane in range(spec.lanes) for letter in letters] + [(0, "r")] * spec.highway
