"""Small cases for the layout tables, written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm.layouts import Layout, engine

# By hand. One unit (two where said), input_size=2: numbers say which gate and which array they are of.

CANONICAL: dict[str, Any] = {
    "weight_ih_l0": [[1, 2], [3, 4], [5, 6], [7, 8]],
    "weight_hh_l0": [[11], [12], [13], [14]],
    "bias_ih_l0": [21, 22, 23, 24],
    "bias_hh_l0": [31, 32, 33, 34],
    "bias_l0": [21, 22, 23, 24],
    "weight_ch_l0": [41, 42, 43],
}
KERNELS: dict[str, Any] = {"kernel": [[1, 3, 5, 7], [2, 4, 6, 8]], "recurrent_kernel": [[11, 12, 13, 14]]}
SPLIT: dict[str, Any] = {
    **{f"i{g}/kernel": [[a], [b]] for g, (a, b) in zip("ifgo", CANONICAL["weight_ih_l0"], strict=True)},
    **{f"h{g}/kernel": [[a]] for g, (a,) in zip("ifgo", CANONICAL["weight_hh_l0"], strict=True)},
    **{f"h{g}/bias": [a] for g, a in zip("ifgo", CANONICAL["bias_l0"], strict=True)},
}
FOUR: dict[str, Any] = {role: CANONICAL[f"{role}_l0"] for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
SIZES = {"input_size": 2, "hidden_size": 1, "num_layers": 1, "bidirectional": False}
LITERAL: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "torch-LSTM": ("torch", {f"{role}_l0": a for role, a in FOUR.items()}, {}),
    "torch-LSTMCell": ("torch", FOUR, {}),
    "paddle-cells": ("paddle", {f"0.cell.{role}": a for role, a in FOUR.items()}, {}),
    "paddle-aliases": ("paddle", {f"{role}_l0": a for role, a in FOUR.items()}, {}),
    "keras": (
        "keras",
        KERNELS | {"bias": CANONICAL["bias_l0"]},
        {},
    ),
    "flax": ("flax", SPLIT, {}),
    "nnx-LSTMCell": ("nnx", {k.replace("if/", "if_/"): a for k, a in SPLIT.items()}, {"cell": "LSTMCell"}),
    "nnx-OptimizedLSTMCell": (
        "nnx",
        {
            "dense_i/kernel": KERNELS["kernel"],
            "dense_h/kernel": KERNELS["recurrent_kernel"],
            "dense_h/bias": CANONICAL["bias_l0"],
        },
        {"cell": "OptimizedLSTMCell"},
    ),
    "equinox": (
        "equinox",
        {"weight_ih": FOUR["weight_ih"], "weight_hh": FOUR["weight_hh"], "bias": FOUR["bias_ih"]},
        {},
    ),
    "haiku": (
        "haiku",
        {"linear/w": [[1, 5, 3, 7], [2, 6, 4, 8], [11, 13, 12, 14]], "linear/b": [21, 23, 22 - 1, 24]},
        {},
    ),
    "onnx": (
        "onnx",
        {
            "W": [[[1, 2], [7, 8], [3, 4], [5, 6]]],
            "R": [[[11], [14], [12], [13]]],
            "B": [[21, 24, 22, 23, 31, 34, 32, 33]],
            "P": [[41, 43, 42]],
        },
        {},
    ),
    "jax-cudnn": ("jax-cudnn", {"weights": [*range(1, 9), *range(11, 15), *range(21, 25), *range(31, 35)]}, SIZES),
}
LITERAL["keras-cudnn"] = (
    "keras-cudnn",
    # [in, H] a gate, H = 1; the biases of x, then those of h.
    KERNELS | {"bias": CANONICAL["bias_ih_l0"] + CANONICAL["bias_hh_l0"]},
    {},
)
# Projections, and two directions: the backward one's numbers are larger by 100.
LITERAL |= {
    "paddle-projected": (
        "paddle",
        {
            "0.cell.weight_ih": np.zeros((12, 2)),
            "0.cell.weight_hh": np.zeros((12, 2)),
            "0.cell.weight_ho": [[51, 52], [53, 54], [55, 56]],
        },
        {},
    ),
}
TWO = {
    "keras": ("forward_lstm_5/lstm_cell/", "backward_lstm_5/lstm_cell/"),
    "flax": ("forward_rnn/cell/", "backward_rnn/cell/"),
    "nnx-LSTMCell": ("forward_rnn/cell/", "backward_rnn/cell/"),
    "nnx-OptimizedLSTMCell": ("forward_rnn/", "backward_rnn/"),
    "equinox": ("forward/", "backward/"),
    "haiku": ("forward_lstm/", "backward_lstm/"),
}
# A highway: a fifth gate, and below the input's gates the value it carries.
HIGHWAY: dict[str, Any] = {
    "weight_ih_l0": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]],
    "weight_xh_l0": [[61, 62]],
    "weight_hh_l0": [[11], [12], [13], [14], [15]],
    "bias_ih_l0": [21, 22, 23, 24, 25],
    "bias_xh_l0": [63],
    "bias_hh_l0": [31, 32, 33, 34, 35],
    "bias_l0": [31, 32, 33, 34, 35],
}
_INPUT_HIGHWAY = {
    "input_linearity.weight": HIGHWAY["weight_ih_l0"] + HIGHWAY["weight_xh_l0"],
    "input_linearity.bias": HIGHWAY["bias_ih_l0"] + HIGHWAY["bias_xh_l0"],
}
_STATE_HIGHWAY = {
    "state_linearity.weight": HIGHWAY["weight_hh_l0"],
    "state_linearity.bias": HIGHWAY["bias_hh_l0"],
}
_PLAIN = {
    "input_linearity.weight": FOUR["weight_ih"],
    "input_linearity.bias": FOUR["bias_ih"],
    "state_linearity.weight": FOUR["weight_hh"],
    "state_linearity.bias": FOUR["bias_hh"],
}
_HIGHWAY_SINGLE = {k: a for k, a in (_INPUT_HIGHWAY | _STATE_HIGHWAY).items() if k != "input_linearity.bias"}
_PLAIN_SINGLE = {k: a for k, a in _PLAIN.items() if k != "input_linearity.bias"}
_PLAIN_SINGLE["state_linearity.bias"] = CANONICAL["bias_l0"]
for name, tensors, config in (
    ("allennlp-highway", _INPUT_HIGHWAY | _STATE_HIGHWAY, {"use_highway": True}),
    ("allennlp-highway-single", _HIGHWAY_SINGLE, {"use_input_projection_bias": False}),
    ("allennlp-single", _PLAIN_SINGLE, {}),
    ("allennlp", _PLAIN, {"use_highway": False}),
):
    LITERAL[name] = ("allennlp", {f"cell.{k}": a for k, a in tensors.items()}, config | {"go_forward": False})
    LITERAL[f"{name}-old"] = ("allennlp", dict(tensors), config)
    LITERAL[f"{name}-stack"] = ("allennlp", {f"layer_0.cell.{k}": a for k, a in tensors.items()}, {"num_layers": 1})
for name, words in TWO.items():
    layout, mapping, config = LITERAL[name]
    both = {word + k: np.add(a, plus) for word, plus in zip(words, (0, 100), strict=True) for k, a in mapping.items()}
    LITERAL[f"{name}-two"] = (layout, both, config)


def literal(name: str, layout: Layout) -> bool:
    """Does a layout read a literal case as it should?"""
    _, mapping, config = LITERAL[name]
    read = engine.read(layout, {k: np.array(a, np.float64) for k, a in mapping.items()}, "", config)
    if name == "paddle-projected":
        return np.array_equal(read["weight_hr_l0"], [[51, 53, 55], [52, 54, 56]])
    if "highway" in name:
        return all(np.array_equal(a, HIGHWAY[k]) for k, a in read.items()) and read.spec.highway
    return all(
        np.array_equal(a, np.add(CANONICAL[k[:-8]], 100) if k.endswith("_reverse") else CANONICAL[k])
        for k, a in read.items()
    )
