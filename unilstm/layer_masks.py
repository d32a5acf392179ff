"""Which masks a spec has in training: names, shapes and what they multiply, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .cells import get
from .masks import Masks
from .spec import LSTMSpec


@dataclass(frozen=True)
class Mask:
    """One mask of one direction of one layer. kind: its name without the place.

    shape: of a call with T steps and B rows. dropped: the probability of a 0. scaled: is the rest 1 / (1 - dropped), as
    in dropout, or 1, as in zoneout?
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    dropped: float
    scaled: bool = True


def of_direction(spec: LSTMSpec, layer: int, direction: int, steps: int = 0, rows: int = 0) -> list[Mask]:
    """The masks beside that of `dropout`, which is the layer's.

    input [B, F]: on x of every step. recurrent: on the h that every step reads, [B, P or H], or, per-gate, that each
    row group reads, [G, B, P or H]; or, candidate, on g [T, B, lanes·H]. weight: on weight_hh. zoneout_hidden
    [T, B, P or H], zoneout_cell [T, B, lanes·H]: 0 keeps the old value.
    """
    h, cell = (rows, spec.state_size), (steps, rows, spec.lanes * spec.hidden_size)
    recurrent = {"state": h, "per-gate": (len(spec.row_groups), *h), "candidate": cell}[spec.recurrent_dropout_kind]
    found: list[tuple[str, tuple[int, ...], float, bool]] = [
        ("input", (rows, spec.layer_input_size(layer)), spec.input_dropout, True),
        ("recurrent", recurrent, spec.recurrent_dropout, True),
        ("weight", _weight_shape(spec, layer), spec.weight_dropout, True),
        ("zoneout_hidden", (steps, *h), spec.zoneout_hidden, False),
        ("zoneout_cell", cell, spec.zoneout_cell, False),
    ]
    place = f"_l{layer}{'_reverse' if direction else ''}"
    return [Mask(kind, kind + place, shape, p, scaled) for kind, shape, p, scaled in found if p]


def _weight_shape(spec: LSTMSpec, layer: int) -> tuple[int, ...]:
    if not spec.weight_dropout:
        return ()
    arrays = get(spec.cell).arrays(spec, spec.layer_input_size(layer))
    return next(a.shape for a in arrays if a.role == "weight_hh")


def drops(spec: LSTMSpec) -> bool:
    """Has a training call any mask? The same as having names, sooner."""
    fields = (spec.input_dropout, spec.recurrent_dropout, spec.weight_dropout, spec.zoneout_hidden, spec.zoneout_cell)
    return any(fields) or bool(spec.dropout and spec.num_layers > 1)


def names(spec: LSTMSpec) -> list[str]:
    """Every mask that a training call needs."""
    found = [f"dropout_l{k}" for k in range(1, spec.num_layers)] if spec.dropout else []
    places = [(k, d) for k in range(spec.num_layers) for d in range(spec.num_directions)]
    return found + [mask.name for k, d in places for mask in of_direction(spec, k, d)]


def get_masks(spec: LSTMSpec, layer: int, masks: Masks | None, x: Any) -> list[dict[str, Any]]:
    """The masks of each direction of a layer by kind; empty where nothing is dropped. x: [T, B, F]."""
    if masks is None:
        return [{} for _ in range(spec.num_directions)]
    steps, rows = x.shape[0], x.shape[1]
    return [
        {m.kind: masks.get(m.name, m.shape, m.dropped, x, m.scaled) for m in of_direction(spec, layer, d, steps, rows)}
        for d in range(spec.num_directions)
    ]
