"""A mistake in a mapping, an argument or a conversion is named, with its value, its rule and the next step."""

from __future__ import annotations

import re

import numpy as np
import pytest

from layout_cases import Mapping, stored, without
from unilstm import LayoutError, SpecError, Weights, layouts

pytestmark = pytest.mark.filterwarnings("error")

TORCH, KERAS, ONNX = stored("torch"), stored("keras"), stored("onnx", batch_first=False)
AUGMENTED = stored("allennlp", num_layers=2, direction="alternating", highway=True)
F32, F64 = np.float32, np.float64

# case → (layout, mapping, config, what the message must say)
READING: dict[str, tuple[str, Mapping, Mapping, str]] = {
    "missing-weight": ("torch", without(TORCH, "weight_hh_l0"), {}, "'weight_hh_l0' is missing; in LSTMSpec(4, 6"),
    "missing-input-weight": ("torch", without(TORCH, "weight_ih_l0"), {}, "'weight_ih_l0' is missing"),
    "missing-bias": ("torch", without(TORCH, "bias_hh_l0"), {}, "'bias_hh_l0' is missing; in LSTMSpec(4, 6"),
    "missing-gate": ("flax", without(stored("flax"), "cell/hg/bias"), {}, "'cell/hg/bias' is missing"),
    "missing-layer": (
        "torch",
        TORCH | {"weight_ih_l2": TORCH["weight_ih_l0"]},
        {},
        "there are tensors of layer 2, but none of layer 1. Give every layer.",
    ),
    "missing-direction": (
        "keras",
        {k: a for k, a in stored("keras", direction="bidirectional").items() if "backward" not in k},
        {},
        "'backward_lstm/lstm_cell/kernel' is missing",
    ),
    "extra": (
        "torch",
        TORCH | {"fc.weight": np.zeros(3, F32)},
        {},
        "'fc.weight' is not part of an LSTM in layout 'torch'",
    ),
    "extra-several": (
        "keras",
        KERAS | {"a": F32(0), "b": F32(0)},
        {},
        "'a', 'b' are not part of an LSTM in layout 'keras'",
    ),
    "several": ("keras", KERAS | {"lstm_cell/kernel": KERAS["kernel"]}, {}, "belong to different LSTMs"),
    "another-layout": ("torch", KERAS, {}, "no tensor of layout 'torch' is among 'kernel', 'recurrent_kernel', 'bias'"),
    "empty": ("torch", {}, {}, "the mapping is empty."),
    "not-text": ("torch", {1: TORCH["bias_ih_l0"]}, {}, "the name 1 is a int. Give a mapping of names to arrays."),  # type: ignore[dict-item]
    "no-mapping": ("torch", [1], {}, "mapping is a list. Give a mapping of names to arrays."),  # type: ignore[dict-item]
    "prefix-needed": (
        "torch",
        {f"model.lstm.{k}": a for k, a in TORCH.items()},
        {},
        "LSTMs found there: layout='torch' at prefix='model.lstm.'.",
    ),
    "rows-not-divisible": (
        "torch",
        TORCH | {"weight_ih_l0": np.zeros((23, 4), F32)},
        {},
        "'weight_ih_l0' has shape [23, 4]: 23 on axis 0 is not 4 x hidden_size.",
    ),
    "haiku-rows": (
        "haiku",
        stored("haiku") | {"lstm/linear/w": np.zeros((5, 24), F32)},
        {},
        "'lstm/linear/w' has shape [5, 24]: 5 on axis 0 is not input_size + hidden_size with hidden_size 6.",
    ),
    "misshapen": (
        "torch",
        TORCH | {"weight_hh_l0": np.zeros((24, 5), F32)},
        {},
        "'weight_hh_l0' has shape [24, 5], but must have [24, 6] in LSTMSpec(4, 6",
    ),
    "gru": (
        "torch",
        {"weight_ih_l0": np.zeros((12, 4)), "weight_hh_l0": np.zeros((12, 4))},
        {},
        "'weight_hh_l0' has shape [12, 4], but must have [12, 3]",
    ),
    "too-few-axes": ("torch", TORCH | {"weight_hh_l0": np.zeros(24, F32)}, {}, "must have 2 axes"),
    "three-directions": ("onnx", ONNX | {"W": np.zeros((3, 24, 4), F32)}, {}, "the first of 1 or 2 directions"),
    "flat-size": (
        "jax-cudnn",
        stored("jax-cudnn"),
        {"input_size": 4, "hidden_size": 8, "num_layers": 1, "bidirectional": False},
        "'weights' has shape [288], but must have [448]",
    ),
    "flat-without-sizes": (
        "jax-cudnn",
        stored("jax-cudnn"),
        {"hidden_size": 6},
        "input_size is not told by the arrays of layout 'jax-cudnn'. Give input_size=.",
    ),
    "mixed-dtypes": (
        "torch",
        TORCH | {"bias_hh_l0": np.zeros(24, F64)},
        {},
        "'bias_hh_l0' is float64, but 'weight_ih_l0' is float32. Convert them to one dtype.",
    ),
    "integers": (
        "torch",
        TORCH | {"bias_hh_l0": np.zeros(24, np.int32)},
        {},
        "'bias_hh_l0' has dtype int32. Convert it",
    ),
    "no-array": ("torch", TORCH | {"bias_hh_l0": [[1], [1, 2]]}, {}, "'bias_hh_l0' cannot be read as an array"),
    "aliases-disagree": (
        "paddle",
        (p := stored("paddle")) | {"weight_ih_l0": p["weight_ih_l0"] + 1},
        {},
        "'weight_ih_l0' and '0.cell.weight_ih' are two names of one tensor, but they disagree.",
    ),
    "alias-of-nothing": ("paddle", p | {"bias_hh_l7": p["bias_hh_l0"]}, {}, "'bias_hh_l7' is not a name of"),
    "peephole-of-unknown-layout": ("onnx", ONNX | {"P": np.zeros((1, 17), F32)}, {}, "but must have [1, 18]"),
    "unknown-argument": (
        "torch",
        TORCH,
        {"num_layer": 1},
        "'num_layer' is not an argument of layout 'torch'. It accepts: input_size, hidden_size, num_layers, bias,",
    ),
    "size-contradicts": (
        "keras",
        KERAS,
        {"units": 8},
        "units=8 contradicts the arrays: units is 6. Leave units out, or correct it.",
    ),
    "layers-contradict": ("torch", TORCH, {"num_layers": 2}, "num_layers=2 contradicts the arrays: num_layers is 1."),
    "bias-contradicts": ("torch", TORCH, {"bias": False}, "bias=False contradicts the arrays: bias is 'double'."),
    "paddle-bias": (
        "paddle",
        p,
        {"bias_ih_attr": False},
        "bias_ih_attr=False contradicts the arrays: bias is 'double'.",
    ),
    "one-direction": (
        "torch",
        TORCH,
        {"bidirectional": True},
        "bidirectional=True contradicts the arrays: there is one direction.",
    ),
    "two-directions": (
        "keras",
        stored("keras", direction="bidirectional"),
        {"merge_mode": None},
        "merge_mode=None contradicts the arrays: there are two directions.",
    ),
    "arguments-contradict": (
        "onnx",
        ONNX,
        {"direction": "reverse", "activations": ["Sigmoid", "Tanh", "Tanh"] * 2},
        "contradicts the arrays: there is one direction.",
    ),
    "another-cell": (
        "nnx",
        stored("nnx"),
        {"cell": "OptimizedLSTMCell"},
        "cell='OptimizedLSTMCell' contradicts the arrays: form is 'LSTMCell'.",
    ),
    "unknown-value": (
        "paddle",
        p,
        {"direction": "backward"},
        "direction='backward' is none of those that unilstm can read: 'forward', 'bidirect', 'bidirectional'.",
    ),
    "unknown-activation": ("keras", KERAS, {"activation": "gelu"}, "activation='gelu' is none of those"),
    "array-for-a-flag": ("torch", TORCH, {"bias": np.ones(2)}, "is none of those that unilstm can read: True, False."),
    "highway-contradicts": (
        "allennlp",
        AUGMENTED,
        {"use_highway": False},
        "use_highway=False contradicts the arrays: use_highway is True.",
    ),
    "no-highway-contradicts": (
        "allennlp",
        stored("allennlp"),
        {"use_highway": True},
        "use_highway=True contradicts the arrays: use_highway is False.",
    ),
    "input-bias-contradicts": (
        "allennlp",
        AUGMENTED,
        {"use_input_projection_bias": False},
        "use_input_projection_bias=False contradicts the arrays: bias is 'double'.",
    ),
    "stack-backward": (
        "allennlp",
        AUGMENTED,
        {"go_forward": False},
        "go_forward=False contradicts the arrays: form is 'StackedAlternatingLstm'.",
    ),
    "single-layer-of-two": (
        "allennlp",
        {k.removeprefix("layer_0."): a for k, a in AUGMENTED.items() if k.startswith("layer_0.")},
        {"num_layers": 2},
        "num_layers=2 contradicts the arrays: num_layers is 1.",
    ),
    "missing-state-bias": (
        "allennlp",
        without(stored("allennlp"), "layer_0.cell.state_linearity.bias"),
        {},
        "'layer_0.cell.state_linearity.bias' is missing",
    ),
    "missing-highway-bias": (
        "allennlp",
        without(AUGMENTED, "layer_1.cell.input_linearity.bias"),
        {},
        "'layer_1.cell.input_linearity.bias' is missing",
    ),
    "highway-in-one-layer": (
        "allennlp",
        AUGMENTED | {"layer_1.cell.input_linearity.weight": np.zeros((24, 6), F32)},
        {},
        "'layer_1.cell.input_linearity.weight' has shape [24, 6], but must have [36, 6]",
    ),
    "five-blocks": (
        "allennlp",
        AUGMENTED | {"layer_0.cell.input_linearity.weight": np.zeros((30, 4), F32)},
        {},
        "'layer_0.cell.input_linearity.bias' has shape [36], but must have [30]",
    ),
    "onnx-two-activations": ("onnx", ONNX, {"activations": ["Tanh"] * 2}, "must have 3 names, or 6 for two directions"),
    "onnx-unknown-activation": (
        "onnx",
        ONNX,
        {"activations": ["Tanh", "Gelu", "Tanh"]},
        "has 'Gelu', which is none of",
    ),
    "onnx-too-many-alphas": (
        "onnx",
        ONNX,
        {"activation_alpha": [0.1]},
        "activation_alpha=[0.1] has 1 more values than",
    ),
    "onnx-directions-differ": (
        "onnx",
        stored("onnx", direction="bidirectional"),
        {"activations": ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"]},
        "differ between the directions",
    ),
}


@pytest.mark.parametrize("case", READING)
def test_reading_says_what_is_wrong(case: str) -> None:
    layout, mapping, config, message = READING[case]
    with pytest.raises(LayoutError, match=re.escape(message)):
        Weights.from_layout(layout, mapping, **config)


def test_reading_under_a_prefix_says_so() -> None:
    mapping = {f"rnn.{k}": a for k, a in without(TORCH, "bias_hh_l0").items()}
    with pytest.raises(LayoutError, match=re.escape("'bias_hh_l0' is missing") + ".*" + re.escape("prefix='rnn.'")):
        Weights.from_layout("torch", mapping, prefix="rnn.")
    with pytest.raises(
        LayoutError, match=re.escape("no name starts with prefix='lstm.'. The names are 'rnn.weight_ih")
    ):
        Weights.from_layout("torch", mapping, prefix="lstm.")


@pytest.mark.parametrize("config", [{"dropout": 2.0}, {"batch_first": "yes"}], ids=str)
def test_impossible_values_are_errors_of_the_spec(config: Mapping) -> None:
    with pytest.raises(SpecError, match=next(iter(config))):
        Weights.from_layout("torch", TORCH, **config)


def test_unknown_layout_lists_those_there_are() -> None:
    with pytest.raises(LayoutError, match=r"layout 'pytorch' is unknown\. Choose one of: torch, paddle, keras, flax"):
        layouts.get("pytorch")
