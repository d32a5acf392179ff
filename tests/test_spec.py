"""The spec: what it accepts, what it refuses and with what words, and that it survives JSON."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from unilstm import LSTMSpec, SpecError, preset
from unilstm.activations import Activation
from unilstm.presets import PRESETS

IMPOSSIBLE = [
    ({"input_size": 0}, "input_size=0 must be a whole number of at least 1"),
    ({"input_size": float("nan")}, "input_size=nan must be a whole number"),
    ({"hidden_size": float("nan")}, "hidden_size=nan must be a whole number"),
    ({"hidden_size": 6.0}, "hidden_size=6.0 must be a whole number"),
    ({"hidden_size": True}, "hidden_size=True must be a whole number"),
    ({"hidden_size": None}, "hidden_size=None must be a whole number"),
    ({"hidden_size": 2**31}, "hidden_size=2147483648 must be a whole number"),
    ({"num_layers": 0}, "num_layers=0 must be a whole number"),
    ({"num_layers": -1}, "num_layers=-1 must be a whole number"),
    ({"direction": "backward"}, "direction='backward' is unknown. Choose one of: forward, reverse"),
    ({"merge": "max"}, "merge='max' is unknown"),
    ({"merge": "sum"}, "merge='sum' joins two directions, but direction='forward' has one"),
    ({"bias": "triple"}, "bias='triple' is unknown"),
    ({"proj_size": 6}, "proj_size=6 must be smaller than hidden_size=6. Omit proj_size for an unprojected LSTM."),
    ({"proj_size": -1}, "proj_size=-1 must be a whole number"),
    ({"proj_clip": 1.0}, "proj_clip=1.0 needs a projection. Set proj_size"),
    ({"direction": "alternating"}, "direction='alternating' needs at least 2 layers"),
    ({"dropout": 0.5}, "dropout=0.5 acts between layers, but num_layers=1"),
    ({"dropout": 1.0, "num_layers": 2}, "dropout=1.0 must be a probability in [0, 1)"),
    ({"dropout": float("nan"), "num_layers": 2}, "dropout=nan must be a probability"),
    ({"gate_clip": -1.0}, "gate_clip=-1.0 must be a finite bound above 0"),
    ({"cell_clip": float("inf")}, "cell_clip=inf must be a finite bound"),
    ({"cell_clip": float("nan")}, "cell_clip=nan must be a finite bound"),
    ({"peephole": 1}, "peephole=1 must be True or False"),
    ({"coupled_gates": "yes"}, "coupled_gates='yes' must be True or False"),
    ({"batch_first": None}, "batch_first=None must be True or False"),
    ({"gate_activation": "gelu"}, "gate_activation='gelu' is not a known activation"),
    ({"gate_activation": "hard_sigmoid"}, "leaves alpha and beta open. Say which one"),
    ({"cell_activation": ("tanh", 2.0)}, "tanh has no alpha. Leave alpha out."),
    ({"cell_activation": ("elu", float("nan"))}, "alpha must be a finite number"),
    ({"cell_activation": 3}, "cell_activation=3 is not an activation"),
    ({"output_activation": "scaled_tanh"}, "leaves alpha and beta open"),
    ({"layer_norm": "batch"}, "layer_norm='batch' is unknown. Choose one of: none, joint"),
    ({"hidden_size": 1, "layer_norm": "joint"}, "layer_norm='joint' needs hidden_size above 1"),
    ({"layer_norm": "per-gate", "num_blocks": 1}, "layer_norm='per-gate' needs num_blocks above 1"),
    ({"layer_norm_eps": 1e-3}, "layer_norm_eps=0.001 needs a norm. Set layer_norm"),
    ({"layer_norm": "joint", "layer_norm_eps": 0.0}, "layer_norm_eps=0.0 must be a finite number above 0"),
    ({"num_blocks": 4}, "num_blocks=4 must divide hidden_size=6"),
    ({"num_blocks": False}, "num_blocks=False must be a whole number"),
    ({"num_blocks": 2, "gates": ()}, "num_blocks=2 shares gates within a block, but gates=() has none"),
    ({"lane_pooling": "argmax"}, "lane_pooling='argmax' joins lanes, but lanes=1"),
    ({"lanes": 2, "lane_pooling": "max"}, "lane_pooling='max' is unknown"),
    ({"lanes": 2, "lane_pooling": "argmax", "gates": ("input", "forget")}, "by its output gate, which gates="),
    ({"lanes": 2, "lane_pooling": "attention", "coupled_gates": True}, "but coupled_gates=True has not all three"),
    ({"lanes": 2, "lane_pooling": "attention-max", "gates": ("input", "output")}, "has not all three. Use three"),
    ({"lanes": 0}, "lanes=0 must be a whole number of at least 1"),
    ({"gate_recurrence": True, "gates": ()}, "gate_recurrence=True needs a gate to see again"),
    ({"gate_recurrence": True, "lanes": 2}, "gate_recurrence=True is defined for one gate a unit"),
    ({"gate_recurrence": True, "num_blocks": 2}, "not for blocks, whose gates are one number each: num_blocks=2"),
    ({"cell": "gru"}, "cell='gru' is unknown. Registered here: lstm, minlstm, slstm"),
    ({"cell": "slstm", "peephole": True}, "peephole=True does nothing to cell='slstm'"),
    ({"cell": "slstm", "proj_size": 2}, "proj_size=2 does nothing to cell='slstm'"),
    ({"cell": "slstm", "num_heads": 4}, "num_heads=4 must divide hidden_size=6"),
    ({"num_heads": 2}, "num_heads=2 does nothing to cell='lstm'"),
    ({"exponential_forget": True}, "exponential_forget=True does nothing to cell='lstm'"),
    ({"cell": "minlstm", "recurrent_dropout": 0.1}, "recurrent_dropout=0.1 drops units of h, but cell='minlstm'"),
    ({"cell": "minlstm", "weight_dropout": 0.1}, "weight_dropout=0.1 acts on weight_hh, which cell='minlstm' does not"),
    ({"cell": "minlstm", "output_activation": "relu"}, "output_activation='relu' does nothing to cell='minlstm'"),
    ({"gates": ("input", "cell")}, "must name gates that exist, each once"),
    ({"gates": ("input", "input")}, "must name gates that exist, each once"),
    ({"gates": "input"}, "gates='input' must name gates that exist"),
    ({"gates": ("input", "output"), "coupled_gates": True}, "coupled_gates=True makes f = 1 - i, but gates="),
    ({"gates": (), "peephole": True}, "peephole=True needs a gate to reach, but gates=() has none"),
    ({"highway": "yes"}, "highway='yes' must be True or False"),
    ({"residual": True}, "residual=True acts from the second layer on, but num_layers=1"),
    ({"recurrent_dropout": 1.0}, "recurrent_dropout=1.0 must be a probability"),
    ({"recurrent_dropout_kind": "candidate"}, "recurrent_dropout_kind='candidate' says what is dropped, but"),
    ({"zoneout_hidden": 1.0}, "zoneout_hidden=1.0 must be a probability in [0, 1)"),
    ({"zoneout_cell": -0.1}, "zoneout_cell=-0.1 must be a probability"),
    ({"input_dropout": True}, "input_dropout=True must be a probability"),
    ({"units": 3}, "'units' is not a field of LSTMSpec"),
]


@pytest.mark.parametrize(("fields", "words"), IMPOSSIBLE, ids=lambda v: str(v)[:50])
def test_impossible_spec_names_field_value_rule_and_cure(fields: dict, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        LSTMSpec.from_dict({"input_size": 4, "hidden_size": 6, **fields})
    assert words in str(caught.value)


EXAMPLES = [
    LSTMSpec(4, 6),
    LSTMSpec(4, 6, num_layers=3, direction="bidirectional", merge="average", dropout=0.25, bias="single"),
    LSTMSpec(4, 6, bias=False, proj_size=2, proj_clip=0.5, cell_clip=3, direction="reverse"),
    LSTMSpec(4, 6, peephole=True, coupled_gates=True, gate_clip=1.0, learned_state=True, batch_first=False),
    LSTMSpec(4, 6, gate_activation=("hard_sigmoid", 0.2, 0.5), cell_activation={"name": "elu", "alpha": 0.5}),
    LSTMSpec(4, 6, num_layers=2, direction="alternating", output_activation="linear"),
    LSTMSpec(4, 6, gates=("output", "forget"), highway=True, recurrent_dropout=0.5),
    LSTMSpec(4, 6, gates=(), num_layers=2, residual=True),
]


@pytest.mark.parametrize("spec", EXAMPLES, ids=repr)
def test_spec_survives_json_pickle_and_replace(spec: LSTMSpec) -> None:
    assert LSTMSpec.from_json(spec.to_json()) == spec
    assert hash(LSTMSpec.from_json(spec.to_json())) == hash(spec)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.replace(input_size=9).replace(input_size=4) == spec
    assert json.loads(spec.to_json())["hidden_size"] == 6


def test_json_holds_only_what_differs_from_the_default() -> None:
    assert LSTMSpec(4, 6, peephole=True).to_dict() == {"input_size": 4, "hidden_size": 6, "peephole": True}


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"input_size": 4}', "[" * 100_000, '{"input_size": 4, "x": 1}'])
def test_broken_json_is_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError):
        LSTMSpec.from_json(text)


def test_spec_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LSTMSpec(4, 6).hidden_size = 7  # type: ignore[misc]


def test_true_and_false_biases_are_the_frameworks_own() -> None:
    assert (LSTMSpec(4, 6, bias=True).bias, LSTMSpec(4, 6, bias=False).bias) == ("double", "none")


def test_linear_is_an_affine_of_slope_one() -> None:
    assert LSTMSpec(4, 6, cell_activation="linear").cell_activation == Activation("affine", 1.0, 0.0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_spec_and_cites_its_source(name: str) -> None:
    chosen = PRESETS[name]
    needs = dict.fromkeys(chosen.needs, 2)
    spec = preset(name, input_size=4, hidden_size=6, **needs)
    assert spec == LSTMSpec(4, 6, **{**chosen.fields, **needs})
    assert any(char.isdigit() for char in chosen.source)


def test_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(SpecError, match="preset 'lstm' is unknown. Choose one of: vanilla, peephole"):
        preset("lstm", input_size=4, hidden_size=6)


def test_a_preset_says_what_it_needs() -> None:
    with pytest.raises(SpecError, match="preset 'projected' needs proj_size"):
        preset("projected", input_size=4, hidden_size=6)
