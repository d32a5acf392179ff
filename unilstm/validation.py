"""What a spec may be: one check a field, then the combinations. Each error names field, value, rule and cure."""

from __future__ import annotations

import dataclasses
import math
import operator
from functools import cache
from typing import TYPE_CHECKING, Any

from . import cells
from .activations import Activation, parse_activation
from .errors import SpecError

if TYPE_CHECKING:
    from .spec import LSTMSpec

DIRECTIONS = ("forward", "reverse", "bidirectional", "alternating")
MERGES = ("concat", "sum", "mul", "average")
BIASES = ("double", "single", "none")
GATES = ("input", "forget", "output")

LANE_POOLINGS = ("sum", "argmax", "attention", "attention-max")
LAYER_NORMS = ("none", "joint", "per-gate", "normalized-state")
DROPOUT_KINDS = ("state", "per-gate", "candidate")


# One check a field: returns the normalised value or raises.


def _size(field: str, value: Any) -> int:
    rule = f"{field}={value!r} must be a whole number of at least 1. Give the number of features, units or layers."
    try:
        number = operator.index(value)
    except TypeError:
        raise SpecError(rule) from None
    if isinstance(value, bool) or not 1 <= number < 2**31:
        raise SpecError(rule)
    return number


def _optional_size(field: str, value: Any) -> int:
    return 0 if value is None or (value == 0 and not isinstance(value, bool)) else _size(field, value)


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{field}={value!r} must be True or False.")
    return value


def _choice(*options: str) -> Any:
    def check(field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in options:
            raise SpecError(f"{field}={value!r} is unknown. Choose one of: {', '.join(options)}.")
        return str(value)

    return check


def _bias(field: str, value: Any) -> str:
    chosen = {True: "double", False: "none"}[value] if isinstance(value, bool) else value
    return str(_choice(*BIASES)(field, chosen))


def _clip(field: str, value: Any) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value < math.inf):
        raise SpecError(f"{field}={value!r} must be a finite bound above 0, or 0 for no clipping.")
    return float(value)


def _probability(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value < 1):
        raise SpecError(f"{field}={value!r} must be a probability in [0, 1). Give the share of values to drop.")
    return float(value)


def _gates(field: str, value: Any) -> tuple[str, ...]:
    known = isinstance(value, (tuple, list)) and all(isinstance(v, str) and v in GATES for v in value)
    if not known or len(set(value)) < len(value):
        raise SpecError(f"{field}={value!r} must name gates that exist, each once. Choose from: {', '.join(GATES)}.")
    return tuple(gate for gate in GATES if gate in value)


def _eps(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 < value < math.inf):
        raise SpecError(f"{field}={value!r} must be a finite number above 0. The usual one is 1e-5.")
    return float(value)


def _cell(field: str, value: Any) -> str:
    return cells.get(value).name


def _activation(field: str, value: Any) -> Activation:
    return parse_activation(value, field)


CHECKS: dict[str, Any] = {
    "input_size": _size,
    "hidden_size": _size,
    "num_layers": _size,
    "direction": _choice(*DIRECTIONS),
    "merge": _choice(*MERGES),
    "batch_first": _flag,
    "bias": _bias,
    "proj_size": _optional_size,
    "coupled_gates": _flag,
    "peephole": _flag,
    "gate_activation": _activation,
    "cell_activation": _activation,
    "output_activation": _activation,
    "gate_clip": _clip,
    "cell_clip": _clip,
    "proj_clip": _clip,
    "learned_state": _flag,
    "dropout": _probability,
    "gates": _gates,
    "highway": _flag,
    "residual": _flag,
    "num_blocks": _optional_size,
    "lanes": _size,
    "lane_pooling": _choice(*LANE_POOLINGS),
    "layer_norm": _choice(*LAYER_NORMS),
    "layer_norm_eps": _eps,
    "gate_recurrence": _flag,
    "input_dropout": _probability,
    "recurrent_dropout": _probability,
    "recurrent_dropout_kind": _choice(*DROPOUT_KINDS),
    "weight_dropout": _probability,
    "zoneout_hidden": _probability,
    "zoneout_cell": _probability,
    "cell": _cell,
    "num_heads": _size,
    "exponential_forget": _flag,
}


def check_combinations(spec: LSTMSpec) -> None:
    """Refuse what cannot be combined: fields that the cell does not read, and fields that contradict each other."""
    for check in (
        _check_cell,
        _check_layers,
        _check_gates,
        _check_projection,
        _check_blocks,
        _check_lanes,
        _check_norm,
    ):
        check(spec)
    _check_dropout(spec)


def _check_cell(spec: LSTMSpec) -> None:
    cell = cells.get(spec.cell)
    for field, value in _defaults().items():
        given = getattr(spec, field)
        if field not in cells.LOOP_FIELDS | cell.fields and given != value:
            own = ", ".join(sorted(cell.fields)) or "none"
            raise SpecError(
                f"{field}={_shown(given)!r} does nothing to cell={spec.cell!r}, which reads, beside the sizes, "
                f"directions and masks, these fields: {own}. Leave {field} out, or choose another cell."
            )
    if spec.recurrent_dropout and not cell.reads_h:
        raise SpecError(
            f"recurrent_dropout={spec.recurrent_dropout} drops units of h, but cell={spec.cell!r} does not read h. "
            "Omit recurrent_dropout, or use input_dropout."
        )
    if spec.hidden_size % spec.num_heads:
        raise SpecError(
            f"num_heads={spec.num_heads} must divide hidden_size={spec.hidden_size}. "
            "Give hidden_size = heads times units of a head."
        )
    if spec.weight_dropout and all(a.role != "weight_hh" for a in cell.arrays(spec, spec.input_size)):
        raise SpecError(
            f"weight_dropout={spec.weight_dropout} acts on weight_hh, which cell={spec.cell!r} does not have. "
            "Omit weight_dropout."
        )


def _check_layers(spec: LSTMSpec) -> None:
    if spec.merge != "concat" and spec.direction != "bidirectional":
        raise SpecError(
            f"merge={spec.merge!r} joins two directions, but direction={spec.direction!r} has one. "
            "Use direction='bidirectional', or omit merge."
        )
    if spec.num_layers > 1:
        return
    if spec.direction == "alternating":
        raise SpecError(
            "direction='alternating' needs at least 2 layers to alternate. Use direction='forward', or more layers."
        )
    if spec.dropout:
        raise SpecError(
            f"dropout={spec.dropout} acts between layers, but num_layers=1. Omit dropout, or use more layers."
        )
    if spec.residual:
        raise SpecError("residual=True acts from the second layer on, but num_layers=1. Omit residual, or add layers.")


def _check_gates(spec: LSTMSpec) -> None:
    if spec.coupled_gates and not {"input", "forget"} <= set(spec.gates):
        raise SpecError(
            f"coupled_gates=True makes f = 1 - i, but gates={spec.gates!r} lacks one of the two. "
            "Omit coupled_gates, or keep the input and the forget gate."
        )
    for field, what in (("peephole", "to reach"), ("gate_recurrence", "to see again")):
        if getattr(spec, field) and not spec.gates:
            raise SpecError(f"{field}=True needs a gate {what}, but gates=() has none. Omit {field}, or keep a gate.")
    for field, off, why in (
        ("lanes", 1, "several lanes"),
        ("num_blocks", 0, "blocks, whose gates are one number each"),
    ):
        if spec.gate_recurrence and getattr(spec, field) != off:
            raise SpecError(
                f"gate_recurrence=True is defined for one gate a unit (Greff et al. 2017), not for {why}: "
                f"{field}={getattr(spec, field)}. Omit one of the two."
            )


def _check_projection(spec: LSTMSpec) -> None:
    if spec.proj_size >= spec.hidden_size:
        raise SpecError(
            f"proj_size={spec.proj_size} must be smaller than hidden_size={spec.hidden_size}. "
            "Omit proj_size for an unprojected LSTM."
        )
    if spec.proj_clip and not spec.proj_size:
        raise SpecError(f"proj_clip={spec.proj_clip} needs a projection. Set proj_size, or omit proj_clip.")


def _check_blocks(spec: LSTMSpec) -> None:
    if not spec.num_blocks:
        return
    if spec.hidden_size % spec.num_blocks:
        raise SpecError(
            f"num_blocks={spec.num_blocks} must divide hidden_size={spec.hidden_size}. "
            "Give hidden_size = blocks times units of a block."
        )
    if not spec.gates:
        raise SpecError(
            f"num_blocks={spec.num_blocks} shares gates within a block, but gates=() has none. "
            "Omit num_blocks, or keep a gate."
        )


def _check_lanes(spec: LSTMSpec) -> None:
    if spec.lane_pooling != "sum" and spec.lanes == 1:
        raise SpecError(
            f"lane_pooling={spec.lane_pooling!r} joins lanes, but lanes=1. Omit lane_pooling, or give more lanes."
        )
    if spec.lane_pooling == "argmax" and "output" not in spec.gates:
        raise SpecError(
            f"lane_pooling='argmax' chooses the lane by its output gate, which gates={spec.gates!r} lacks. "
            "Keep the output gate, or pool otherwise."
        )
    if spec.lane_pooling.startswith("attention") and (len(spec.gates) < 3 or spec.coupled_gates):
        what = "coupled_gates=True" if spec.coupled_gates else f"gates={spec.gates!r}"
        raise SpecError(
            f"lane_pooling={spec.lane_pooling!r} multiplies each of the gates i, f, o by the lane's share, "
            f"but {what} has not all three. Use three free gates, or pool otherwise."
        )


def _check_norm(spec: LSTMSpec) -> None:
    if spec.layer_norm == "none":
        if spec.layer_norm_eps != _defaults()["layer_norm_eps"]:
            raise SpecError(
                f"layer_norm_eps={spec.layer_norm_eps} needs a norm. Set layer_norm, or omit layer_norm_eps."
            )
        return
    if spec.hidden_size == 1:
        raise SpecError(
            f"layer_norm={spec.layer_norm!r} needs hidden_size above 1: one number, normalised, is always 0. "
            "Omit layer_norm, or add units."
        )
    if spec.layer_norm == "per-gate" and spec.num_blocks == 1:
        raise SpecError(
            "layer_norm='per-gate' needs num_blocks above 1: the one number of a gate, normalised, is always 0. "
            "Use layer_norm='joint', or more blocks."
        )


def _check_dropout(spec: LSTMSpec) -> None:
    if spec.recurrent_dropout_kind != "state" and not spec.recurrent_dropout:
        raise SpecError(
            f"recurrent_dropout_kind={spec.recurrent_dropout_kind!r} says what is dropped, but recurrent_dropout=0. "
            "Set recurrent_dropout, or omit its kind."
        )


def _shown(value: Any) -> Any:
    return value.to_json() if isinstance(value, Activation) else value


@cache
def _defaults() -> dict[str, Any]:
    """What each field is where nobody sets it, as its check gives it. The sizes have no default."""
    from .spec import LSTMSpec  # which imports this file

    there = {f.name: f.default for f in dataclasses.fields(LSTMSpec) if f.default is not dataclasses.MISSING}
    return {field: CHECKS[field](field, value) for field, value in there.items()}
