"""What a layout holds of a spec: every field that its table speaks of can have another value than the usual one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from layout_cases import own_fields, usual
from unilstm import LSTMSpec, SpecError, UnsupportedByLayout, Weights, layouts
from unilstm.layouts.losses import hold

pytestmark = pytest.mark.filterwarnings("error")

# field → values of it, with what they need beside them.
OTHER: dict[str, list[dict[str, Any]]] = {
    "num_layers": [
        {"num_layers": 2},
        {"num_layers": 2, "residual": True},
        {"num_layers": 2, "direction": "alternating"},
    ],
    "direction": [{"direction": "reverse"}, {"direction": "bidirectional"}],
    "merge": [{"merge": "average", "direction": "bidirectional"}],
    "batch_first": [{"batch_first": False}],
    "bias": [{"bias": "none"}, {"bias": "single"}],
    "proj_size": [{"proj_size": 3}],
    "coupled_gates": [{"coupled_gates": True}],
    "peephole": [{"peephole": True}],
    "gate_activation": [{"gate_activation": "relu"}],
    "cell_activation": [{"cell_activation": "relu", "output_activation": "relu"}],
    "output_activation": [{"cell_activation": "relu", "output_activation": "relu"}],
    "gate_clip": [{"gate_clip": 2.0}],
    "cell_clip": [{"cell_clip": 2.0}],
    "proj_clip": [{"proj_clip": 2.0, "proj_size": 3}],
    "learned_state": [{"learned_state": True}],
    "dropout": [{"dropout": 0.4, "num_layers": 2}],
    "gates": [{"gates": ("input", "output")}],
    "num_blocks": [{"num_blocks": 3}],
    "lanes": [{"lanes": 2}],
    "lane_pooling": [{"lane_pooling": "attention-max", "lanes": 2}],
    "layer_norm": [
        {"layer_norm": "joint"},
        {"layer_norm": "normalized-state"},
        {"layer_norm": "per-gate", "layer_norm_eps": 1e-12},
    ],
    "layer_norm_eps": [{"layer_norm_eps": 1e-12, "layer_norm": "per-gate"}, {"layer_norm_eps": 1e-2}],
    "highway": [{"highway": True}],
    "residual": [{"residual": True, "num_layers": 2}],
    "input_dropout": [{"input_dropout": 0.2}],
    "recurrent_dropout": [
        {"recurrent_dropout": 0.2},
        {"recurrent_dropout": 0.2, "recurrent_dropout_kind": "per-gate"},
        {"recurrent_dropout": 0.1, "recurrent_dropout_kind": "candidate", "layer_norm": "per-gate"},
    ],
    "weight_dropout": [{"weight_dropout": 0.3}],
    "zoneout_hidden": [{"zoneout_hidden": 0.1}],
}
OTHER["recurrent_dropout_kind"] = OTHER["recurrent_dropout"][1:]
# Of one value in these: the two always have it, the dropout of the third is of one kind, the usual one.
ONE = [
    ("addons-peephole", "peephole"),
    ("addons-layer-norm", "layer_norm"),
    ("addons-layer-norm", "recurrent_dropout_kind"),
]


def candidates(name: str, field: str) -> Iterator[LSTMSpec]:
    for fields in OTHER[field]:
        eps = {"layer_norm_eps": 1e-12} if fields.get("layer_norm") == "per-gate" else {}
        with contextlib.suppress(SpecError):
            yield LSTMSpec(4, 6, **usual(name) | eps | fields)


def exact(name: str, spec: LSTMSpec) -> bool:
    try:
        held = hold(layouts.get(name), spec)
    except UnsupportedByLayout:
        return False
    return not set(held.losses) - {"fixed-state"}


def varies(name: str, field: str) -> bool:
    layout = layouts.get(name)
    return (name, field) not in ONE and (field != "bias" or layout.bias_optional or len(layout.biases) > 1)


SPOKEN_OF = [(name, field) for name in layouts.LAYOUTS for field in own_fields(name) if varies(name, field)]


@pytest.mark.parametrize(("name", "field"), SPOKEN_OF)
def test_a_field_can_have_another_value(name: str, field: str) -> None:
    plain = LSTMSpec(4, 6, **usual(name))
    other = [spec for spec in candidates(name, field) if getattr(spec, field) != getattr(plain, field)]
    other = [spec for spec in other if exact(name, spec)]
    assert other
    for spec in other:
        weights = Weights.initial(spec, 0, init="keras", dtype="float64")
        mapping = weights.to_layout(name, allow="fixed-state")
        assert Weights.from_layout(name, mapping, **weights.layout_config(name)) == weights
