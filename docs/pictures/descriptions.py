"""What each preset's cell looks like: one Cell of declared parts a preset. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """The parts of a cell beyond vanilla's.

    note: the line beside the title. absent: the gate that is the constant 1. coupled: f = 1 - i. linear: those of g and
    ψ that are the identity. peephole: drawn as the variant's own ("new") or as its baseline's ("base").
    gate_recurrence: the gates of the step before reach these. frame: it is drawn as one "block" or
    "lane" of several. pooling: what joins the lanes. attention: a softmax over lanes scales the
    gates. kind: the skeleton, "lstm", "slstm" or "minlstm". The others are parts that are there or not.
    """

    note: str = ""
    absent: str = ""
    coupled: bool = False
    linear: tuple[str, ...] = ()
    peephole: str = ""
    gate_recurrence: bool = False
    frame: str = ""
    pooling: str = ""
    attention: bool = False
    norm: bool = False
    projection: bool = False
    highway: bool = False
    zoneout: bool = False
    input_mask: bool = False
    weight_mask: bool = False
    kind: str = "lstm"


CELLS: dict[str, Cell] = {
    "vanilla": Cell(note="three gates, nothing else"),
    "peephole": Cell(note="i and f also see the old c, o the new one", peephole="new"),
    "cifg": Cell(note="one gate decides both what enters and what stays", coupled=True, peephole="base"),
    "no-input-gate": Cell(note="i = 1", absent="i", peephole="base"),
    "no-forget-gate": Cell(note="f = 1: c only ever adds up", absent="f", peephole="base"),
    "no-output-gate": Cell(note="o = 1", absent="o", peephole="base"),
    "no-input-activation": Cell(note="φ is the identity", linear=("g",), peephole="base"),
    "no-output-activation": Cell(note="ψ is the identity", linear=("ψ",), peephole="base"),
    "full-gate-recurrence": Cell(
        note="the gates also see all gates of the step before", gate_recurrence=True, peephole="base"
    ),
    "lstm-1997": Cell(note="memory blocks; no forget gate yet", absent="f", frame="block"),
    "lstm-2000": Cell(note="memory blocks, with a forget gate", frame="block"),
    "lstm-2002": Cell(note="memory blocks, whose gates see the block's cells", peephole="new", frame="block"),
    "projected": Cell(note="h is a linear map of the cell's output, P < H", projection=True),
    "layer-norm": Cell(note="W x, R h′ and what ψ sees are normalised", norm=True),
    "zoneout": Cell(note="each unit may keep its old value", zoneout=True),
    "awd": Cell(note="R loses entries, x loses features, for all steps alike", weight_mask=True, input_mask=True),
    "alternating-highway": Cell(note="layers run forward and backward in turn", highway=True),
    "array": Cell(note="K cells a unit, summed", frame="lane", pooling="Σ"),
    "stochastic-array": Cell(note="K cells a unit, the one most open speaks", frame="lane", pooling="max o"),
    "attention-array": Cell(
        note="K cells a unit, a softmax shares them out", frame="lane", pooling="Σ", attention=True
    ),
    "slstm": Cell(note="exponential gates, a normaliser n, a stabiliser m", kind="slstm"),
    "minlstm": Cell(note="gates see x only; f and i share out a whole", linear=("g",), kind="minlstm"),
}
