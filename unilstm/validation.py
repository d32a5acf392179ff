"""What a spec may be: one check a field, then the combinations. Each error names field, value, rule and cure."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from .activations import Activation, parse_activation
from .errors import SpecError

if TYPE_CHECKING:
    from .spec import LSTMSpec

DIRECTIONS = ("forward", "reverse", "bidirectional", "alternating")
MERGES = ("concat", "sum", "mul", "average")
BIASES = ("double", "single", "none")
GATES = ("input", "forget", "output")

# Fields of the design that later releases bring to life. Their inert value is accepted, any other is refused: a field
# that is taken and ignored would be a wrong number found late.
_NOT_YET: dict[str, Any] = {
    "num_blocks": 0,
    "lanes": 1,
    "lane_pooling": "sum",
    "layer_norm": "none",
    "layer_norm_eps": 1e-5,
    "input_dropout": 0.0,
    "recurrent_dropout_kind": "state",
    "weight_dropout": 0.0,
    "zoneout_hidden": 0.0,
    "zoneout_cell": 0.0,
}


def check_not_yet(spec: LSTMSpec) -> None:
    """Refuse a field of a later release that has any value but its inert one, to which it is normalised."""
    for field, inert in _NOT_YET.items():
        value = getattr(spec, field)
        if value != inert or isinstance(value, bool) != isinstance(inert, bool):
            raise SpecError(f"{field}={value!r} is not supported yet. Leave {field} out (it is {inert!r}).")
        object.__setattr__(spec, field, inert)


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
    "recurrent_dropout": _probability,
}


def check_combinations(spec: LSTMSpec) -> None:
    if spec.proj_size >= spec.hidden_size:
        raise SpecError(
            f"proj_size={spec.proj_size} must be smaller than hidden_size={spec.hidden_size}. "
            "Omit proj_size for an unprojected LSTM."
        )
    if spec.proj_clip and not spec.proj_size:
        raise SpecError(f"proj_clip={spec.proj_clip} needs a projection. Set proj_size, or omit proj_clip.")
    if spec.merge != "concat" and spec.direction != "bidirectional":
        raise SpecError(
            f"merge={spec.merge!r} joins two directions, but direction={spec.direction!r} has one. "
            "Use direction='bidirectional', or omit merge."
        )
    if spec.direction == "alternating" and spec.num_layers == 1:
        raise SpecError(
            "direction='alternating' needs at least 2 layers to alternate. Use direction='forward', or more layers."
        )
    if spec.dropout and spec.num_layers == 1:
        raise SpecError(
            f"dropout={spec.dropout} acts between layers, but num_layers=1. Omit dropout, or use more layers."
        )
    if spec.coupled_gates and not {"input", "forget"} <= set(spec.gates):
        raise SpecError(
            f"coupled_gates=True makes f = 1 - i, but gates={spec.gates!r} lacks one of the two. "
            "Omit coupled_gates, or keep the input and the forget gate."
        )
    if spec.peephole and not spec.gates:
        raise SpecError("peephole=True needs a gate to reach, but gates=() has none. Omit peephole, or keep a gate.")
    if spec.residual:
        _check_residual(spec)


def _check_residual(spec: LSTMSpec) -> None:
    if spec.num_layers == 1:
        raise SpecError("residual=True acts from the second layer on, but num_layers=1. Omit residual, or add layers.")
