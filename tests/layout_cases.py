"""Cases for the layout tables: golden files of other systems, and small ones written by hand."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

import unilstm
from unilstm import Weights, layouts
from unilstm.layouts import Layout, engine

Array = np.ndarray[Any, np.dtype[Any]]
GOLDEN = importlib.resources.files("unilstm_conformance") / "golden"
FOLDERS = {
    "torch": "torch",
    "paddle": "paddle",
    "keras": "keras",
    "flax_linen": "flax",
    "flax_nnx": "nnx",
    "equinox": "equinox",
    "haiku": "haiku",
    "onnx": "onnx",
    "jax_cudnn": "jax-cudnn",
    "allennlp": "allennlp",
    "lmp": "lmp",
    "arraylstm": "arraylstm",
    "haste": "haste",
}
# A whole model each: see the last tests.
MODELS = ("keras/model", "lmp/language_model_1997", "lmp/language_model_2000", "lmp/language_model_2002")
# Which class of array-lstm a vector is of, its config does not say.
CLASSES = {"lstm": "LSTM", "array": "ArrayLSTM", "stochastic": "StochasticArrayLSTM"}
CLASSES |= {"attention": "AttentionArrayLSTM", "attention_max": "AttentionArrayLSTM"}
CASES = [
    f"{folder}/{file.name[:-4]}"
    for folder in FOLDERS
    for file in sorted((GOLDEN / folder).iterdir(), key=lambda f: f.name)
    if file.name.endswith(".npz") and f"{folder}/{file.name[:-4]}" not in MODELS
]


def usual(name: str) -> dict[str, Any]:
    """The fields that the plainest spec of a layout has."""
    return {"bias": layouts.get(name).bias} | ({"num_blocks": 1} if name == "lmp" else {})


def directions(name: str, num_layers: int) -> list[str]:
    """The directions that a layout holds in a stack of so many layers; none where it holds no such stack."""
    forms = layouts.get(name).forms
    if num_layers > 1 and not any(form.stacks for form in forms):
        return []
    if any(form.alternating for form in forms):
        return ["alternating"] if num_layers > 1 else ["forward", "reverse"]
    both = any(form.names.two or form.tensors[0].span != "direction" for form in forms)
    return ["forward", "bidirectional"] if both else ["forward"]


@dataclass
class Golden:
    config: dict[str, Any]
    weights: dict[str, Array]
    inputs: dict[str, Array]
    outputs: dict[str, Array]


def golden(case: str) -> Golden:
    with (GOLDEN / f"{case}.npz").open("rb") as file, np.load(file, allow_pickle=False) as npz:
        config = json.loads(str(npz["meta"]))["config"]
        kinds = ({k[len(p) :]: npz[k] for k in npz.files if k.startswith(p)} for p in ("w/", "in/", "out/"))
        system, _, name = case.partition("/")
        return Golden(config | ({"cell": CLASSES[name]} if system == "arraylstm" else {}), *kinds)


def bound(case: str) -> float:
    """Of the absolute error. onnxruntime ran in float32; Keras's σ and tanh had float32's accuracy, in float64 too."""
    if case.startswith("onnx/"):
        return 2e-5
    return 2**-22 if case.startswith("keras/") and case != "keras/activations" else 1e-10


def error(case: str, layout: Layout) -> float:
    """The largest error of y, h_n and c_n (lmp: of every c) of a golden case, read by a layout."""
    g = golden(case)
    weights = engine.read(layout, g.weights, "", g.config)
    pairs = compared(case, g, weights)
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return float(max(np.abs(a - b).max() for a, b in pairs))


def compared(case: str, g: Golden, weights: Weights) -> list[tuple[Array, Array]]:
    """Ours and theirs, axes as ours."""
    i, o, spec = g.inputs, g.outputs, weights.spec
    y, c_n = o["y"], o.get("c_n")
    lengths = i["mask"].sum(axis=1) if "mask" in i else i.get("lengths")
    state = (i["h_0"], i["c_0"]) if "h_0" in i else None
    if case.startswith("lmp/"):  # [B, H] and [B, blocks, units]: one layer, blocks apart
        state = tuple(s.reshape(1, -1, spec.hidden_size) for s in (i["h_0"], i["c_0"]))
    if case.startswith("onnx/"):  # [T, D, B, H]
        y = np.concatenate(list(np.moveaxis(y, 1, 0)), axis=-1)
    if case.startswith("arraylstm/") and spec.lanes > 1:  # [lanes, B, H]
        c_n = np.moveaxis(c_n, 0, 1)[None]
    if g.config.get("go_backwards"):  # Keras leaves the outputs in the order they were computed in
        y = y[:, ::-1]
    ours, (h_n, our_c_n), every_c = unilstm.LSTM(weights, backend="numpy")(
        i["x"], state, lengths=lengths, masks=masks(i), return_cell_sequence=True
    )
    if "mask" in i:  # Keras repeats the last output where the mask ends a row, unilstm gives 0: compare up to there
        ours, y = ours[i["mask"]], y[i["mask"]]
    if c_n is None:
        return [(ours, y), (every_c, o["c_all"].reshape(every_c.shape))]
    return [(ours, y), (h_n, o["h_n"]), (our_c_n, c_n)]


def masks(inputs: dict[str, Array]) -> dict[str, Array] | None:
    if "zoneout_mask" in inputs:
        return {"zoneout_hidden_l0": inputs["zoneout_mask"]}
    if "recurrent_mask" in inputs:
        return {f"recurrent_l{k}": mask for k, mask in enumerate(inputs["recurrent_mask"])}
    return None


def layout_of(case: str) -> Layout:
    return layouts.get(FOLDERS[case.split("/")[0]])


# By hand. One unit (two where said), input_size=2: numbers say which gate and which array they are of.

CANONICAL: dict[str, Any] = {
    "weight_ih_l0": [[1, 2], [3, 4], [5, 6], [7, 8]],
    "weight_hh_l0": [[11], [12], [13], [14]],
    "bias_ih_l0": [21, 22, 23, 24],
    "bias_hh_l0": [31, 32, 33, 34],
    "bias_l0": [21, 22, 23, 24],
    "weight_ch_l0": [41, 42, 43],
}
KERNELS: dict[str, Any] = {"kernel": [[1, 3, 5, 7], [2, 4, 6, 8]], "recurrent": [[11, 12, 13, 14]]}
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
        {"kernel": KERNELS["kernel"], "recurrent_kernel": KERNELS["recurrent"], "bias": CANONICAL["bias_l0"]},
        {},
    ),
    "flax": ("flax", SPLIT, {}),
    "nnx-LSTMCell": ("nnx", {k.replace("if/", "if_/"): a for k, a in SPLIT.items()}, {"cell": "LSTMCell"}),
    "nnx-OptimizedLSTMCell": (
        "nnx",
        {
            "dense_i/kernel": KERNELS["kernel"],
            "dense_h/kernel": KERNELS["recurrent"],
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
