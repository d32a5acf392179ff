"""The golden vectors: what independent systems computed, read through their own weight layouts, and the check of it."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np

from unilstm.spec import LSTMSpec
from unilstm.weights import Weights

from . import oracle
from .execution import Target, call, differentiate
from .measure import Measurement, compare
from .problems import Array, Problem, state_shapes
from .tolerances import PAIR_FACTOR, eps, gradient_units, output_units

# The systems: folder of golden/ to the layout's name.
LAYOUTS = {
    "torch": "torch",
    "paddle": "paddle",
    "flax_linen": "flax",
    "flax_nnx": "nnx",
    "equinox": "equinox",
    "haiku": "haiku",
    "jax_cudnn": "jax-cudnn",
    "onnx": "onnx",
    "keras": "keras",
    "allennlp": "allennlp",
    "haste": "haste",
    "arraylstm": "arraylstm",
    "lmp": "lmp",
}
# Their files do not say which of array-lstm's classes they are of.
_CLASSES = {
    "lstm": "LSTM",
    "array": "ArrayLSTM",
    "stochastic": "StochasticArrayLSTM",
    "attention": "AttentionArrayLSTM",
    "attention_max": "AttentionArrayLSTM",
}
# Keras's float64 σ and tanh had the accuracy of float32 where these vectors were made (its relu and hard_sigmoid not).
_KERAS_EXACT = ("keras/activations",)
# Models with more in them than an LSTM; for the tests of checkpoints and of models.
_NOT_A_LAYER = ("keras/model", *(f"lmp/language_model_{year}" for year in (1997, 2000, 2002)))
# What a system got wrong. Paddle 3.3.1 takes 0 for the initial h of each row shorter than the batch in the gradient of
# the backward direction's weight_hh; difference quotients of its own outputs contradict it.
WRONG_GRADIENTS = {"paddle/bidirect_lengths": ("weight_hh_l0_reverse", "weight_hh_l1_reverse")}


@dataclass(frozen=True)
class Vector:
    """One golden vector. Takes the place of a Case in a cell of the matrix.

    accuracy: the dtype whose rounding errors the numbers carry. gradients: by canonical name.
    """

    id: str
    weights: Weights
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    gradients: Mapping[str, Array]
    accuracy: str

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def variant(self) -> str:
        return self.id

    @property
    def spec(self) -> LSTMSpec:
        return self.weights.spec

    @property
    def dtype(self) -> str:
        return self.weights.dtype

    @property
    def seed(self) -> None:
        """Nothing is drawn."""

    def problem(self) -> Problem:
        i, probes = self.inputs, {"y": "p_y", "h_n": "p_h", "c_n": "p_c", "c_all": "p_c_all"}
        lengths = i["mask"].sum(axis=1) if "mask" in i else i.get("lengths")  # Keras masks steps; here, past a length
        given = {name: i[stored] for name, stored in probes.items() if stored in i}
        if given:
            h_n, c_n = state_shapes(self.spec, _size(self)[0])
            unprobed = {"y": self.outputs["y"].shape, "h_n": h_n, "c_n": c_n}
            given = {name: np.zeros(shape, self.dtype) for name, shape in unprobed.items()} | given
        return Problem(self.weights, i["x"], i.get("h_0"), i.get("c_0"), lengths, masks=self._masks(), probes=given)

    def _masks(self) -> dict[str, Array] | None:
        """Of a vector that was computed in training."""
        masks = {f"recurrent_l{k}": mask for k, mask in enumerate(self.inputs.get("recurrent_mask", ()))}
        if "zoneout_mask" in self.inputs:
            masks["zoneout_hidden_l0"] = self.inputs["zoneout_mask"]
        return masks or None

    def amplification(self) -> float:
        """What multiplies the bounds, see tolerances.py; the oracle knows."""
        if self.spec.layer_norm == "none":
            return 1.0
        p = self.problem()
        return oracle.run(self.spec, p.weights, p.x, p.h_0, p.c_0, p.lengths, masks=p.masks).amplification


def ids() -> tuple[str, ...]:
    """The vectors there are, as folder/name."""
    found = (f"{system}/{file.name[:-4]}" for system in LAYOUTS for file in _files(system))
    return tuple(name for name in found if name not in _NOT_A_LAYER)


def _files(system: str) -> list[Traversable]:
    folder = importlib.resources.files(__package__) / "golden" / system
    if not folder.is_dir():
        return []
    return sorted((file for file in folder.iterdir() if file.name.endswith(".npz")), key=lambda file: file.name)


@cache
def vector(name: str) -> Vector:
    """Read a golden vector; raises LayoutError where its weights do not fit the system's layout."""
    path = importlib.resources.files(__package__) / "golden" / f"{name}.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
        config = json.loads(str(npz["meta"]))["config"]
        kinds = ({k[len(p) :]: npz[k] for k in npz.files if k.startswith(p)} for p in ("w/", "in/", "out/", "grad/"))
        arrays, inputs, outputs, gradients = kinds
    system, _, case = name.partition("/")
    if system == "arraylstm":
        config["cell"] = _CLASSES[case]
    weights = Weights.from_layout(LAYOUTS[system], arrays, **config)
    for found in (inputs, outputs, gradients):
        _canonical_axes(system, weights.spec, found)
    if config.get("go_backwards"):  # Keras leaves the outputs in the order they were computed in
        outputs["y"] = outputs["y"][:, ::-1]
    gradients = _canonical(gradients, weights, LAYOUTS[system], config)
    rough = system == "keras" and name not in _KERAS_EXACT
    return Vector(name, weights, inputs, outputs, gradients, "float32" if rough else weights.dtype)


def _canonical_axes(system: str, spec: LSTMSpec, found: dict[str, Array]) -> None:
    """Inputs, outputs or gradients of these, with unilstm's axes."""
    if system == "onnx" and "y" in found:  # [T, D, B, H]: its directions have an axis of their own
        found["y"] = np.concatenate(list(found["y"].swapaxes(0, 1)), axis=-1)
    if system == "arraylstm" and spec.lanes > 1 and "c_n" in found:  # [lanes, B, H]
        found["c_n"] = found["c_n"].swapaxes(0, 1)[None]
    if system == "haste" and "p_c_n" in found:
        found["p_c"] = found.pop("p_c_n")
    if system == "lmp":  # states of its one layer, the units of c block by block
        for name, lead in (("h_0", 1), ("c_0", 1), ("c_all", 0), ("p_c_all", 0)):
            if name in found:
                found[name] = found[name].reshape(*[1] * lead, *found[name].shape[: 2 - lead], spec.hidden_size)


def _canonical(gradients: Mapping[str, Array], weights: Weights, layout: str, config: Any) -> dict[str, Array]:
    """Gradients by canonical name. A layout only moves numbers about, so it reads gradients as it reads weights."""
    known = {name: value for name, value in gradients.items() if name in weights or name in ("x", "h_0", "c_0")}
    foreign = {name: value for name, value in gradients.items() if name not in known}
    return known | dict(Weights.from_layout(layout, foreign, **config)) if foreign else known


def golden(target: Target, case: Vector) -> list[Measurement]:
    """The outputs, states and gradients that another system computed, from its weights, within twice-rounded error."""
    p = case.problem()
    grads: Mapping[str, Array] = {}
    if case.gradients and target.vjp(case.spec) is not None:
        run, grads = differentiate(target, p)
    else:
        run = call(target, p)
    rows, steps = _size(case)
    amplified = case.amplification()
    units = PAIR_FACTOR * output_units(case.spec, steps, amplified)
    measured = [_measure(case, name, getattr(run, name), want, units) for name, want in case.outputs.items()]
    units = PAIR_FACTOR * gradient_units(case.spec, steps, rows, amplified)
    wrong = WRONG_GRADIENTS.get(case.id, ())
    for name, want in case.gradients.items():
        if grads and name not in wrong:
            measured.append(_measure(case, f"gradient of {name}", grads.get(name), want, units))
    return measured


def _size(case: Vector) -> tuple[int, int]:
    """Rows and steps."""
    rows, steps = case.inputs["x"].shape[:2]
    return (rows, steps) if case.spec.batch_first else (steps, rows)


def _measure(case: Vector, what: str, got: Any, want: Array, units: float) -> Measurement:
    if what == "y" and "mask" in case.inputs and isinstance(got, np.ndarray):
        # Past the length Keras repeats the last output and unilstm gives 0, so only the valid steps are compared.
        valid = case.inputs["mask"][..., None]
        got, want = np.where(valid, got, got.dtype.type(0)), np.where(valid, want, 0.0)
    return compare(what, got, want, units * eps(case.accuracy) / eps(case.dtype), case.dtype)
