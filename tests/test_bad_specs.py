"""Fields that contradict each other: the error names them with their values, and a cure; and the cure cures."""

from __future__ import annotations

import re
from typing import Any

import pytest

from unilstm import LSTMSpec, SpecError

SLSTM, MINLSTM = {"cell": "slstm"}, {"cell": "minlstm"}
TWO_LANES = {"lanes": 2}
OPEN = ("input", "output")  # the gates without the forget gate

# (the fields, what the message must name, how it says to cure, the fields as cured). None takes a field out.
IMPOSSIBLE: list[tuple[dict[str, Any], tuple[str, ...], str, dict[str, Any]]] = [
    ({"proj_size": 6}, ("proj_size=6", "hidden_size=6"), "Omit proj_size", {"proj_size": None}),
    ({"proj_clip": 1.0}, ("proj_clip=1.0",), "Set proj_size", {"proj_size": 2}),
    ({"merge": "sum"}, ("merge='sum'", "direction='forward'"), "Use direction=", {"direction": "bidirectional"}),
    (
        {"merge": "mul", "direction": "alternating", "num_layers": 2},
        ("merge='mul'", "direction='alternating'"),
        "omit merge",
        {"merge": None},
    ),
    ({"direction": "alternating"}, ("direction='alternating'", "2 layers"), "more layers", {"num_layers": 2}),
    ({"dropout": 0.5}, ("dropout=0.5", "num_layers=1"), "more layers", {"num_layers": 2}),
    ({"residual": True}, ("residual=True", "num_layers=1"), "add layers", {"num_layers": 2}),
    (
        {"coupled_gates": True, "gates": OPEN},
        ("coupled_gates=True", f"gates={OPEN!r}"),
        "Omit coupled_gates",
        {"coupled_gates": None},
    ),
    (
        {"coupled_gates": True, "gates": ("forget", "output")},
        ("coupled_gates=True", "gates=('forget', 'output')"),
        "keep the input and the forget gate",
        {"gates": ("input", "forget")},
    ),
    ({"peephole": True, "gates": ()}, ("peephole=True", "gates=()"), "keep a gate", {"gates": ("forget",)}),
    ({"gate_recurrence": True, "gates": ()}, ("gate_recurrence=True", "gates=()"), "keep a gate", {"gates": OPEN}),
    ({"gate_recurrence": True, "lanes": 2}, ("gate_recurrence=True", "lanes=2"), "Omit one of", {"lanes": None}),
    (
        {"gate_recurrence": True, "num_blocks": 2},
        ("gate_recurrence=True", "num_blocks=2"),
        "Omit one of",
        {"gate_recurrence": None},
    ),
    ({"num_blocks": 4}, ("num_blocks=4", "hidden_size=6"), "Give hidden_size =", {"hidden_size": 8}),
    ({"num_blocks": 12}, ("num_blocks=12", "hidden_size=6"), "Give hidden_size =", {"hidden_size": 24}),
    ({"num_blocks": 2, "gates": ()}, ("num_blocks=2", "gates=()"), "keep a gate", {"gates": ("output",)}),
    ({"lane_pooling": "argmax"}, ("lane_pooling='argmax'", "lanes=1"), "give more lanes", TWO_LANES),
    (
        {"lane_pooling": "attention"},
        ("lane_pooling='attention'", "lanes=1"),
        "Omit lane_pooling",
        {"lane_pooling": None},
    ),
    (
        {"lane_pooling": "argmax", "gates": ("input", "forget"), **TWO_LANES},
        ("lane_pooling='argmax'", "gates=('input', 'forget')"),
        "Keep the output gate",
        {"gates": ("output",)},
    ),
    (
        {"lane_pooling": "attention", "coupled_gates": True, **TWO_LANES},
        ("lane_pooling='attention'", "coupled_gates=True"),
        "Use three free gates",
        {"coupled_gates": None},
    ),
    (
        {"lane_pooling": "attention-max", "gates": OPEN, **TWO_LANES},
        ("lane_pooling='attention-max'", f"gates={OPEN!r}"),
        "pool otherwise",
        {"lane_pooling": "sum"},
    ),
    ({"layer_norm": "joint", "hidden_size": 1}, ("layer_norm='joint'", "hidden_size"), "add units", {"hidden_size": 2}),
    (
        {"layer_norm": "per-gate", "num_blocks": 1},
        ("layer_norm='per-gate'", "num_blocks"),
        "more blocks",
        {"num_blocks": 2},
    ),
    ({"layer_norm_eps": 0.1}, ("layer_norm_eps=0.1",), "Set layer_norm", {"layer_norm": "joint"}),
    (
        {"recurrent_dropout_kind": "candidate"},
        ("recurrent_dropout_kind='candidate'", "recurrent_dropout=0"),
        "Set recurrent_dropout",
        {"recurrent_dropout": 0.1},
    ),
    (
        {"recurrent_dropout_kind": "per-gate", "zoneout_cell": 0.1},
        ("recurrent_dropout_kind='per-gate'", "recurrent_dropout=0"),
        "omit its kind",
        {"recurrent_dropout_kind": None},
    ),
    ({**SLSTM, "peephole": True}, ("peephole=True", "cell='slstm'"), "Leave peephole out", {"peephole": None}),
    ({**SLSTM, "proj_size": 2}, ("proj_size=2", "cell='slstm'"), "choose another cell", {"cell": "lstm"}),
    ({**SLSTM, "gate_clip": 3.0}, ("gate_clip=3.0", "cell='slstm'"), "Leave gate_clip out", {"gate_clip": None}),
    ({**SLSTM, "lanes": 2}, ("lanes=2", "cell='slstm'"), "Leave lanes out", {"lanes": None}),
    ({**SLSTM, "layer_norm": "joint"}, ("layer_norm='joint'", "cell='slstm'"), "another cell", {"cell": None}),
    (
        {**SLSTM, "cell_activation": "relu"},
        ("cell_activation='relu'", "cell='slstm'"),
        "choose another cell",
        {"cell": "minlstm"},
    ),
    (
        {**SLSTM, "recurrent_dropout": 0.1, "recurrent_dropout_kind": "per-gate"},
        ("recurrent_dropout_kind='per-gate'", "cell='slstm'"),
        "Leave recurrent_dropout_kind out",
        {"recurrent_dropout_kind": None},
    ),
    ({**SLSTM, "num_heads": 4}, ("num_heads=4", "hidden_size=6"), "Give hidden_size =", {"hidden_size": 8}),
    ({"num_heads": 2}, ("num_heads=2", "cell='lstm'"), "choose another cell", SLSTM),
    ({"exponential_forget": True}, ("exponential_forget=True", "cell='lstm'"), "another cell", SLSTM),
    (
        {**MINLSTM, "recurrent_dropout": 0.1},
        ("recurrent_dropout=0.1", "cell='minlstm'"),
        "use input_dropout",
        {"recurrent_dropout": None, "input_dropout": 0.1},
    ),
    (
        {**MINLSTM, "weight_dropout": 0.1},
        ("weight_dropout=0.1", "cell='minlstm'"),
        "Omit weight_dropout",
        {"weight_dropout": None},
    ),
    ({**MINLSTM, "highway": True}, ("highway=True", "cell='minlstm'"), "Leave highway out", {"highway": None}),
    (
        {**MINLSTM, "coupled_gates": True},
        ("coupled_gates=True", "cell='minlstm'"),
        "choose another cell",
        {"cell": "lstm"},
    ),
    ({**MINLSTM, "num_heads": 2}, ("num_heads=2", "cell='minlstm'"), "choose another cell", SLSTM),
]
IDS = ["-".join(f"{field}={value}" for field, value in fields.items()) for fields, *_ in IMPOSSIBLE]
CURE = r"(Omit|Use|Set|Give|Keep|Leave|Add|Choose) [^.]*\.$"


def made(fields: dict[str, Any]) -> LSTMSpec:
    given = {"input_size": 4, "hidden_size": 6, **fields}
    return LSTMSpec.from_dict({field: value for field, value in given.items() if value is not None})


@pytest.mark.parametrize(("fields", "named", "cure", "cured"), IMPOSSIBLE, ids=IDS)
class TestImpossibleCombination:
    def test_is_refused_by_name_value_and_cure(
        self, fields: dict[str, Any], named: tuple[str, ...], cure: str, cured: dict[str, Any]
    ) -> None:
        with pytest.raises(SpecError) as caught:
            made(fields)
        message = str(caught.value)
        for words in (*named, cure):
            assert words in message
        assert re.search(CURE, message), f"no cure ends the message: {message}"

    def test_is_cured_as_the_message_says(
        self, fields: dict[str, Any], named: tuple[str, ...], cure: str, cured: dict[str, Any]
    ) -> None:
        spec = made({**fields, **cured})
        assert LSTMSpec.from_json(spec.to_json()) == spec
