"""The path for cells whose state is a linear recurrence of x alone: in far fewer rounds than steps.

c_t = a_t * c_{t-1} + b_t composes: (a, b) after (a', b') is (a·a', a·b' + b), which is associative (Blelloch 1990,
Prefix Sums and Their Applications). A backend that can scan such pairs offers ops.associative.
"""

from __future__ import annotations

from typing import Any

from .cells import get
from .ops import Tensor
from .paths import Path
from .run import DirectionResult, LayerCall
from .spec import LSTMSpec


def paths(ops: Any, spec: LSTMSpec) -> tuple[Path, ...]:
    """The path, for cells that could take it; none for the others, whose steps have to wait for one another."""
    if get(spec.cell).linear is None:
        return ()
    return (Path("parallel", lambda layer, call: refusal(spec), lambda layer, call: run(ops, spec, layer, call)),)


def refusal(spec: LSTMSpec) -> str | None:
    """Why the steps cannot all run at once, or None."""
    if spec.zoneout_hidden or spec.zoneout_cell:
        return "zoneout keeps old values, which the scan does not have"
    return None


def run(ops: Any, spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    directions = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
    return [_direction(ops, spec, call, reverse, state, p, masks) for reverse, state, p, masks in directions]


def _direction(
    ops: Any, spec: LSTMSpec, call: LayerCall, reverse: bool, state: Any, p: dict[str, Tensor], masks: dict[str, Tensor]
) -> DirectionResult:
    linear, valid = get(spec.cell).linear, call.valid(ops)
    assert linear is not None  # paths() saw to it
    a, b = linear(ops, spec, p, call.input(ops, masks))
    if valid is not None:  # past a row's length, what was is
        a, b = ops.where(valid, a, ops.full(1.0, a)), ops.where(valid, b, ops.full(0.0, b))
    kept, added = ops.associative(a, b, reverse)
    every_c = kept * state[1] + added
    c = every_c[0 if reverse else -1]
    if valid is None:
        return DirectionResult(every_c, c, c, every_c if call.cells else None)
    y = ops.where(valid, every_c, ops.full(0.0, every_c))
    return DirectionResult(y, ops.where(valid[0], c, state[0]), c, y if call.cells else None)
