"""What the arrays and the arguments of one system say against each other is named; and what its arguments say."""

from __future__ import annotations

import re

import numpy as np
import pytest

from layout_cases import Mapping, stored, without
from layout_equations import FIXTURES
from unilstm import LayoutError, LSTMSpec, Weights

pytestmark = pytest.mark.filterwarnings("error")

KERAS = stored("keras")
LMP = stored("lmp", num_blocks=2, peephole=True)
LANES, ATTENTION = stored("arraylstm", lanes=2), stored("arraylstm", lanes=2, lane_pooling="attention")
NORM = stored("haste", layer_norm="joint")
TF, TF_NORM = stored("tensorflow", peephole=True), stored("tensorflow", layer_norm="per-gate", layer_norm_eps=1e-12)
ADDONS = stored("addons-layer-norm")
ELMO = stored("elmo")
TWO_WAYS = FIXTURES["allennlp/StackedBidirectionalLstm-plain-cell."]().weights
F32 = np.float32

# case → (layout, mapping, config, what the message must say)
READING: dict[str, tuple[str, Mapping, Mapping, str]] = {
    "lmp-missing-gate": (
        "lmp",
        without(LMP, *(name for name in LMP if "fg" in name)),
        {},
        "'pc_c2fg' is missing; in LSTMSpec(4, 6",
    ),
    "lmp-missing-peephole": ("lmp", without(LMP, "pc_c2og"), {}, "'pc_c2og' is missing; in LSTMSpec(4, 6"),
    "lmp-a-gate-a-unit": (
        "lmp",
        LMP | {"fc_h2ig.weight": np.zeros((6, 6), F32)},
        {},
        "'fc_h2ig.weight' has shape [6, 6], but must have [2, 6]",
    ),
    "lmp-peephole-turned": (
        "lmp",
        LMP | {"pc_c2og": np.zeros((1, 3, 2), F32)},
        {},
        "'pc_c2og' has shape [1, 3, 2], but must have [1, 2, 3]",
    ),
    "lmp-state-not-zero": (
        "lmp",
        LMP | {"c_0": np.ones((1, 2, 3), F32)},
        {},
        "'c_0' is an initial state that is not zero. Give learned_state=True",
    ),
    "lmp-learned-state-missing": ("lmp", without(LMP, "c_0"), {"learned_state": True}, "'c_0' is missing"),
    "lmp-half-of-its-units": ("lmp", LMP, {"n_blk": 2}, "n_blk=2 says too little by itself. Give n_blk= and d_blk="),
    "lmp-other-units": (
        "lmp",
        LMP,
        {"n_blk": 3, "d_blk": 2},
        "n_blk=3, d_blk=2 contradicts the arrays: num_blocks is 2.",
    ),
    "lmp-another-class": ("lmp", LMP, {"cell": "LSTM1997"}, "cell='LSTM1997' contradicts the arrays: form is"),
    "lanes-which-class": (
        "arraylstm",
        LANES,
        {},
        "cell is not told by the arrays of layout 'arraylstm'. Give cell=: 'ArrayLSTM' or 'StochasticArrayLSTM'.",
    ),
    "lanes-are-not-one": ("arraylstm", LANES, {"cell": "LSTM"}, "cell='LSTM' contradicts the arrays: k is 2."),
    "lanes-contradict": ("arraylstm", LANES, {"cell": "ArrayLSTM", "k": 3}, "k=3 contradicts the arrays: k is 2."),
    "lanes-no-attention": (
        "arraylstm",
        LANES,
        {"cell": "AttentionArrayLSTM"},
        "cell='AttentionArrayLSTM' contradicts the arrays: lane_pooling is 'sum' or 'argmax'.",
    ),
    "attention-all-the-same": (
        "arraylstm",
        ATTENTION,
        {"cell": "ArrayLSTM"},
        "cell='ArrayLSTM' contradicts the arrays: lane_pooling is 'attention' or 'attention-max'.",
    ),
    "attention-missing": ("arraylstm", without(ATTENTION, "i2a.bias"), {}, "'i2a.bias' is missing"),
    "lanes-not-whole": (
        "arraylstm",
        {"i2h.weight": np.zeros((36, 4)), "h2h.weight": np.zeros((36, 6))},
        {"cell": "ArrayLSTM"},
        "'i2h.weight' has 9 rows a gate, which is not lanes x hidden_size with hidden_size 6.",
    ),
    "norm-missing": ("haste", without(NORM, "beta_h"), {}, "'beta_h' is missing"),
    "norm-contradicts": (
        "haste",
        NORM,
        {"layer_norm": False},
        "layer_norm=False contradicts the arrays: layer_norm is 'joint'.",
    ),
    "norm-of-one": ("haste", NORM | {"gamma": np.zeros((1, 24), F32)}, {}, "but must have [2, 24]"),
    "keras-two-dropouts": (
        "keras",
        KERAS,
        {"dropout": 0.1, "recurrent_dropout": 0.2},
        "dropout=0.1 beside recurrent_dropout=0.2 has a mask a gate in Keras",
    ),
    "custom-lstms-dropout-of-two-ways": (
        "custom-lstms",
        stored("custom-lstms", num_layers=2, direction="bidirectional"),
        {"dropout": True},
        "dropout=True contradicts the arrays: there are two directions.",
    ),
    "custom-lstms-no-eps": (
        "custom-lstms",
        stored("custom-lstms", layer_norm="normalized-state"),
        {"decompose_layernorm": True},
        "decompose_layernorm=True is none of those that unilstm can read: False. Its own norm divides without eps.",
    ),
    "tensorflow-norm-has-no-peepholes": (
        "tensorflow",
        TF_NORM,
        {"use_peepholes": True},
        "use_peepholes=True contradicts the arrays: use_peepholes is False.",
    ),
    "tensorflow-norm-has-no-clip": ("tensorflow", TF_NORM, {"cell_clip": 3.0}, "cell_clip=3.0 contradicts the arrays"),
    "tensorflow-only-the-norm-drops": (
        "tensorflow",
        TF,
        {"dropout_keep_prob": 0.5},
        "dropout_keep_prob=0.5 contradicts the arrays: form is 'LSTMCell'.",
    ),
    "tensorflow-basic-has-no-peepholes": (
        "tensorflow",
        TF,
        {"cell": "BasicLSTMCell"},
        "cell='BasicLSTMCell' contradicts the arrays: use_peepholes is True.",
    ),
    "tensorflow-peephole-missing": (
        "tensorflow",
        without(TF, "lstm_cell/w_f_diag"),
        {},
        "'lstm_cell/w_f_diag' is missing",
    ),
    "tensorflow-norm-missing": (
        "tensorflow",
        without(TF_NORM, "layer_norm_basic_lstm_cell/forget/beta"),
        {},
        "'layer_norm_basic_lstm_cell/forget/beta' is missing",
    ),
    "addons-third-bias": (
        "addons-layer-norm",
        ADDONS | {"bias": np.ones(24, F32)},
        {},
        "'bias' is a bias beside two others, and not zero. Give add_bias=True to add it to one of them, 'bias_hh_l0'",
    ),
    "addons-third-bias-misshapen": (
        "addons-layer-norm",
        ADDONS | {"bias": np.ones(6, F32)},
        {"add_bias": True},
        "'bias' has shape [6], but must have [24]",
    ),
    "addons-peephole-missing": (
        "addons-peephole",
        KERAS,
        {},
        "'input_gate_peephole_weights' is missing, which PeepholeLSTMCell always has.",
    ),
    "awd-dropouts": ("awd", stored("awd"), {"dropouti": 0.4}, "dropouti=0.4 and dropouth=0.0 must be equal"),
    "awd-without-raw": (
        "awd",
        {name.replace("_raw", ""): array for name, array in stored("awd").items()},
        {},
        "'weight_hh_l0_raw' is missing",
    ),
    "cudnn-is-not-keras": ("keras", stored("keras-cudnn"), {}, "'bias' has shape [48], but must have [24]"),
    "keras-is-not-cudnn": ("keras-cudnn", KERAS, {}, "'bias' has shape [24], but must have [48]"),
    "elmo-unprojected": (
        "elmo",
        without(ELMO, "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_P_0"),
        {},
        "'RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_P_0' is missing, which forward always has.",
    ),
    "elmo-both-directions": (
        "elmo",
        ELMO | {name.replace("RNN_0", "RNN_1"): array for name, array in ELMO.items()},
        {},
        "are not part of an LSTM in layout 'elmo'. Give the prefix= of one LSTM",
    ),
    "forget-bias-no-number": (
        "tensorflow",
        TF,
        {"forget_bias": "1"},
        "forget_bias='1' must be a finite number, which is added to f.",
    ),
    "forget-bias-infinite": (
        "tensorflow",
        TF,
        {"forget_bias": float("inf")},
        "forget_bias=inf must be a finite number",
    ),
    "keep-prob-no-number": (
        "tensorflow",
        TF_NORM,
        {"dropout_keep_prob": "half"},
        "dropout_keep_prob='half' cannot be read: ",
    ),
    "units-no-number": ("lmp", LMP, {"n_blk": None, "d_blk": 3}, "n_blk=None, d_blk=3 cannot be read: "),
    "add-bias-no-flag": (
        "addons-layer-norm",
        ADDONS,
        {"add_bias": "no"},
        "add_bias='no' is none of those that unilstm can read: False, True.",
    ),
    "allennlp-dropout-of-layers": (
        "allennlp",
        TWO_WAYS,
        {"layer_dropout_probability": 0.1},
        "layer_dropout_probability=0.1 is none of those that unilstm can read: 0.0. Its masks are those",
    ),
    "allennlp-one-way": (
        "allennlp",
        TWO_WAYS,
        {"bidirectional": False},
        "bidirectional=False contradicts the arrays: form is 'StackedBidirectionalLstm'.",
    ),
}


@pytest.mark.parametrize("case", READING)
def test_reading_says_what_is_wrong(case: str) -> None:
    layout, mapping, config, message = READING[case]
    with pytest.raises(LayoutError, match=re.escape(message)):
        Weights.from_layout(layout, mapping, **config)


def test_a_third_bias_is_added_where_a_caller_says_so() -> None:
    bias = np.linspace(-1, 1, 24).astype(F32)
    weights = Weights.from_layout("addons-layer-norm", ADDONS | {"bias": bias}, add_bias=True)
    assert np.array_equal(weights["bias_hh_l0"], ADDONS["recurrent_norm/beta"] + bias)
    assert np.array_equal(weights["bias_ih_l0"], ADDONS["kernel_norm/beta"])
    assert not weights.to_layout("addons-layer-norm")["bias"].any()
    lacking = without(ADDONS, "bias")  # use_bias=False
    assert Weights.from_layout("addons-layer-norm", lacking) == Weights.from_layout("addons-layer-norm", ADDONS)


def test_states_of_lmp_may_be_left_out_or_learned() -> None:
    spec = LSTMSpec(4, 6, bias="single", num_blocks=2, peephole=True)
    assert Weights.from_layout("lmp", without(LMP, "h_0", "c_0")).spec == spec
    states = {"h_0": np.full((1, 6), 2, F32), "c_0": np.arange(6, dtype=F32).reshape(1, 2, 3)}
    weights = Weights.from_layout("lmp", LMP | states, learned_state=True)
    assert weights.spec == spec.replace(learned_state=True)
    assert np.array_equal(weights["c_0_l0"], np.arange(6))
    back = weights.to_layout("lmp", allow="fixed-state")
    assert all(back[name].tobytes() == array.tobytes() for name, array in (LMP | states).items())


@pytest.mark.parametrize(("layout", "given", "fields"), [
    ("tensorflow", {"num_proj": None, "cell_clip": None, "proj_clip": None}, {}),
    ("tensorflow", {"forget_bias": 0.0}, {}),
    ("haste", {"forget_bias": 2.0, "zoneout": 0.1, "dropout": 0.2}, {"zoneout_hidden": 0.1, "weight_dropout": 0.2}),
    ("lmp", {"init_lower": -0.1, "init_upper": 0.1, "init_ib": -1.0}, {}),
    ("mxnet", {"projection_size": None, "layout": "NTC"}, {"batch_first": True}),
    ("awd", {"dropouti": 0.4, "dropouth": 0.4, "wdrop": 0.5}, {"input_dropout": 0.4, "weight_dropout": 0.5}),
    ("keras", {"dropout": 0.2}, {"input_dropout": 0.2}),
    ("keras", {"recurrent_dropout": 0.2}, {"recurrent_dropout": 0.2, "recurrent_dropout_kind": "per-gate"}),
    ("addons-layer-norm", {"dropout": 0.2, "recurrent_dropout": 0.1}, {"input_dropout": 0.2, "recurrent_dropout": 0.1}),
    ("elmo", {"memory_cell_clip_value": 3.0, "state_projection_clip_value": None}, {"cell_clip": 3.0}),
], ids=lambda value: value if isinstance(value, str) else None)  # fmt: skip
def test_what_arguments_say(layout: str, given: Mapping, fields: Mapping) -> None:
    mapping = stored(layout)
    plain = Weights.from_layout(layout, mapping).spec
    weights = Weights.from_layout(layout, mapping, **given)
    assert weights.spec == plain.replace(**fields)
    assert Weights.from_layout(layout, mapping, **weights.layout_config(layout)).spec == weights.spec


def test_forget_bias_is_added_as_it_is_given() -> None:
    mapping = stored("tensorflow")
    for forget_bias in (0.0, 1.0, 0.25):
        bias = Weights.from_layout("tensorflow", mapping, forget_bias=forget_bias)["bias_l0"]
        assert np.array_equal(bias[6:12], mapping["lstm_cell/bias"][12:18] + F32(forget_bias))
        assert np.array_equal(bias[:6], mapping["lstm_cell/bias"][:6])
