"""The parameters of a model beside its LSTM's: names and shapes, as data; and the initial values of all of them.

Names are those of a framework's modules: `embedding.weight` [V, E], `input.weight` [I, E], `input.bias`, `lstm.…` (the
LSTM's canonical names), `output.weight` [E, O], `output.bias` of a language model; `embedding.weight` [V, I], `lstm.…`,
`fc.weight` [C, F], `fc.bias` of a classifier.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import parameters as lstm_parameters
from ..errors import SpecError
from ..masks import uniform
from ..parameters import Array, Parameter
from .spec import LanguageModelSpec, ModelSpec, SequenceClassifierSpec

LSTM = "lstm."


def shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter by name, the LSTM's included, in the order of the computation."""
    lstm = {LSTM + name: p.shape for name, p in lstm_parameters.parameters(spec.lstm).items()}
    if isinstance(spec, LanguageModelSpec):
        width, given = spec.lstm.input_size, spec.lstm.output_size
        before: dict[str, tuple[int, ...]] = {"embedding.weight": (spec.vocab_size, spec.d_emb)}
        before |= {"input.weight": (width, spec.d_emb), "input.bias": (width,)}
        return before | lstm | {"output.weight": (spec.d_emb, given), "output.bias": (spec.d_emb,)}
    assert isinstance(spec, SequenceClassifierSpec)
    before = {"embedding.weight": (spec.vocab_size, spec.lstm.input_size)} if spec.vocab_size else {}
    return before | lstm | {"fc.weight": (spec.num_classes, spec.features), "fc.bias": (spec.num_classes,)}


def is_decayed(name: str) -> bool:
    """Does weight decay act on it? On weights, not on biases, norms and states, as in the language-model-playground."""
    return name.rpartition(".")[2].startswith("weight")


@dataclass(frozen=True)
class LmpInit:
    """The language-model-playground's initial values.

    U(init_lower, init_upper) for all but the gates' biases: input gate U(init_ib, 0), output gate U(init_ob, 0), forget
    gate U(0, init_fb). Where an LSTM has two biases the second is 0; learned states are 0, scales of a norm 1.
    """

    init_lower: float = -0.1
    init_upper: float = 0.1
    init_ib: float = -1.0
    init_ob: float = -1.0
    init_fb: float = 1.0

    def __post_init__(self) -> None:
        for low, high in (("init_lower", "init_upper"),):
            if not getattr(self, low) < getattr(self, high):
                raise SpecError(f"{low}={getattr(self, low)} must be below {high}={getattr(self, high)}.")
        for name, sign, rule in (
            ("init_ib", -1, "not above 0"),
            ("init_ob", -1, "not above 0"),
            ("init_fb", 1, "not below 0"),
        ):
            if getattr(self, name) * sign < 0:
                raise SpecError(
                    f"{name}={getattr(self, name)} must be {rule}, because the bias is drawn from there to 0."
                )


def initial_values(spec: ModelSpec, seed: int, init: str | LmpInit) -> dict[str, Array]:
    """Float64 initial values by name; the same for every backend.

    init: "torch", "keras" or "orthogonal", as unilstm.parameters.initial_values, for the LSTM, and torch's values
    around it: U(±1/√in) for weights and biases of linear layers, N(0, 1) for embeddings, 0 for that of the padding;
    or "lmp", or an LmpInit with numbers of its own, for all.
    """
    if init == "lmp":
        init = LmpInit()
    if isinstance(init, LmpInit):
        return {name: _lmp(spec, init, seed, name, shape) for name, shape in shapes(spec).items()}
    lstm = lstm_parameters.initial_values(spec.lstm, seed, init)
    return {
        name: lstm[name.removeprefix(LSTM)] if name.startswith(LSTM) else _torch(spec, seed, name, shape)
        for name, shape in shapes(spec).items()
    }


def _uniform(seed: int, name: str, shape: tuple[int, ...], low: float, high: float) -> Array:
    return low + (high - low) * uniform(seed, zlib.crc32(name.encode()), shape)


def _torch(spec: Any, seed: int, name: str, shape: tuple[int, ...]) -> Array:
    if name == "embedding.weight":
        u = uniform(seed, zlib.crc32(name.encode()), (2, *shape))
        values = np.sqrt(-2.0 * np.log1p(-u[0])) * np.cos(2.0 * np.pi * u[1])  # Box & Muller 1958
        if spec.padding_idx is not None:
            values[spec.padding_idx] = 0.0
        return np.asarray(values)
    fan_in = shapes(spec)[name.replace("bias", "weight")][1]
    return _uniform(seed, name, shape, -(fan_in**-0.5), fan_in**-0.5)


def _lmp(spec: ModelSpec, init: LmpInit, seed: int, name: str, shape: tuple[int, ...]) -> Array:
    values = _uniform(seed, name, shape, init.init_lower, init.init_upper)
    if not name.startswith(LSTM):
        return values
    p = lstm_parameters.parameters(spec.lstm)[name.removeprefix(LSTM)]
    if p.role.startswith("gamma"):
        return np.ones(shape)
    if p.role in ("bias_hh", "beta_c", "h_0", "c_0"):
        return np.zeros(shape)
    if p.role in ("bias_ih", "bias"):
        _gate_biases(p, init, seed, values)
    return values


def _gate_biases(p: Parameter, init: LmpInit, seed: int, values: Array) -> None:
    for gate, rows in p.rows():
        bounds = {"i": (init.init_ib, 0.0), "o": (init.init_ob, 0.0), "f": (0.0, init.init_fb)}.get(gate)
        if bounds is not None:
            drawn = _uniform(seed, p.name, values.shape, *bounds)  # the same numbers, spread differently
            values[rows] = drawn[rows]
