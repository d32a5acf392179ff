"""The strategy for specs draws valid ones, of every kind that there is."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings

from unilstm import LSTMSpec
from unilstm.parameters import parameters
from unilstm_conformance.strategies import random_spec, specs


@settings(max_examples=50, deadline=None)
@given(specs(max_size=8))
def test_a_drawn_spec_survives_json_and_has_parameters(spec: LSTMSpec) -> None:
    assert LSTMSpec.from_json(spec.to_json()) == spec
    assert parameters(spec)
    assert max(spec.input_size, spec.hidden_size) <= 8


@settings(max_examples=10, deadline=None)
@given(specs(cell="slstm"))
def test_a_cell_can_be_asked_for(spec: LSTMSpec) -> None:
    assert spec.cell == "slstm"


def test_a_seed_names_one_spec() -> None:
    assert random_spec(5) == random_spec(5) != random_spec(6)
    assert {random_spec(seed, cell="minlstm").cell for seed in range(9)} == {"minlstm"}


def test_draws_meet_every_field_and_every_choice() -> None:
    found = [random_spec(seed) for seed in range(500)]
    fields = {f.name for f in dataclasses.fields(LSTMSpec) if f.default is not dataclasses.MISSING}
    default = LSTMSpec(1, 1)
    assert not {field for field in fields if all(getattr(s, field) == getattr(default, field) for s in found)}
    choices = {
        "cell": 3,
        "direction": 4,
        "merge": 4,
        "bias": 3,
        "layer_norm": 4,
        "lane_pooling": 4,
        "recurrent_dropout_kind": 3,
        "gates": 8,
        "num_layers": 3,
    }
    for field, count in choices.items():
        assert len({getattr(spec, field) for spec in found}) == count, field
    for place in ("gate_activation", "cell_activation", "output_activation"):
        assert len({getattr(spec, place).name for spec in found}) == 11, place
