"""Cases for the layout tables: golden files of other systems, and small ones written by hand."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

import unilstm
from layout_equations import FIXTURES
from unilstm import LSTMSpec, SpecError, UnsupportedByLayout, Weights, layouts
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


USUAL: dict[str, dict[str, Any]] = {
    "lmp": {"num_blocks": 1},
    "addons-peephole": {"peephole": True},
    "addons-layer-norm": {"layer_norm": "normalized-state"},
    "elmo": {"proj_size": 1},
    "allennlp-projection": {"proj_size": 1},
}


def usual(name: str, num_layers: int = 1) -> dict[str, Any]:
    """The fields that the plainest spec of a layout has."""
    layout = layouts.get(name)
    residual = num_layers > 1 and any(form.residual for form in layout.forms)
    fields = {"bias": layout.bias, "num_layers": num_layers} | ({"residual": True} if residual else {})
    return fields | USUAL.get(name, {})


def directions(name: str, num_layers: int) -> list[str]:
    """The directions that a layout holds in a stack of so many layers."""
    found = []
    for direction in ("forward", "reverse", "alternating", "bidirectional"):
        with contextlib.suppress(SpecError, UnsupportedByLayout):
            layouts.get(name).config(LSTMSpec(4, 6, direction=direction, **usual(name, num_layers)))
            found.append(direction)
    return found


def own_fields(name: str) -> list[str]:
    """The fields that the table of a layout speaks of, but for the sizes."""
    layout = layouts.get(name)
    found = {field for entry in layout.arguments for field in entry.fields} | {"bias"}
    for form in layout.forms:
        roles = {"weight_ch": "peephole", "weight_hr": "proj_size", "weight_xh": "highway"}
        found |= form.says.keys() | {field for role, field in roles.items() if form.holds(role)}
        there = {"num_layers": form.stacks, "num_blocks": form.blocks, "lanes": form.lanes}
        there |= {"direction": form.alternating or form.names.two is not None, "residual": form.residual}
        found |= {field for field, holds in there.items() if holds}
    return sorted(found - {"input_size", "hidden_size", "form", "forget_offset", "added"})


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


def fixture_error(name: str, layout: Layout) -> float:
    """The largest error of y, h_n and c_n of a fixture, read by a layout."""
    f = FIXTURES[name]()
    weights = engine.read(layout, f.weights, "", f.config)
    swap = weights.spec.batch_first
    y, (h_n, c_n) = unilstm.LSTM(weights, backend="numpy")(f.x.swapaxes(0, 1) if swap else f.x, masks=f.masks)
    pairs = tuple(zip((y.swapaxes(0, 1) if swap else y, h_n, c_n), f.outputs, strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return float(max(np.abs(a - b).max() for a, b in pairs))


def layout_of(case: str) -> Layout:
    return layouts.get(FOLDERS[case.split("/")[0]])


Mapping = dict[str, Any]


def stored(name: str, **fields: Any) -> Mapping:
    """float32 arrays of LSTMSpec(4, 6) in a layout, whatever its biases."""
    spec = LSTMSpec(4, 6, **usual(name) | fields)
    return dict(Weights.initial(spec, 0, init="keras").to_layout(name))


def without(mapping: Mapping, *names: str) -> Mapping:
    return {name: array for name, array in mapping.items() if name not in names}
