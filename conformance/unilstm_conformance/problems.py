"""A case made concrete: its arrays, and what the oracle says of them. Worked out once, for all backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from unilstm.masks import NUMPY_WORDS, keep_mask, split_key, stream, uniform
from unilstm.parameters import parameters
from unilstm.weights import Weights

from . import oracle
from .cases import Case

Array = np.ndarray[Any, np.dtype[Any]]
OUTPUTS = ("y", "h_n", "c_n")
PADDING = 1e3  # what x holds at and past a row's length: finite, so that it may be computed with, and hard to overlook
# More than the default cases, which several backends and checks share; a few hundred kB each at most.
_KEPT = 256


@dataclass(frozen=True, eq=False)
class Problem:
    """The arrays of one call, in one dtype, axes as the spec has them; read-only.

    x may be [T, I], and the states then have no axis for the batch. key: of the dropout masks in training mode;
    masks: those masks themselves, by name, in its place.
    probes: what the outputs are multiplied by before they are summed up and differentiated, by name, see OUTPUTS.
    lengths_form: how a backend is given the lengths: 0 as a list, 1 as a NumPy array, 2 as a native tensor.
    """

    weights: Weights
    x: Array
    h_0: Array | None = None
    c_0: Array | None = None
    lengths: Array | None = None
    key: int | None = None
    masks: Mapping[str, Array] | None = None
    probes: Mapping[str, Array] = field(default_factory=dict)
    lengths_form: int = 1

    @property
    def dtype(self) -> str:
        return self.weights.dtype

    @property
    def inputs(self) -> dict[str, Array]:
        """What can be differentiated by: x and, where they are given, h_0 and c_0."""
        given = {"x": self.x, "h_0": self.h_0, "c_0": self.c_0}
        return {name: value for name, value in given.items() if value is not None}


class _Draw:
    """Values from the project's own generator, so that a case is the same with every version of NumPy."""

    def __init__(self, case: Case) -> None:
        self.case, self.stream = case, 0

    def __call__(self, shape: tuple[int, ...], bound: float) -> Array:
        self.stream += 1
        values = (2.0 * uniform(self.case.seed, self.stream, shape) - 1.0) * bound
        values = values.astype(self.case.dtype)
        values.flags.writeable = False
        return values


@lru_cache(_KEPT)
def problem(case: Case) -> Problem:
    spec, draw = case.spec, _Draw(case)
    bound = case.gain / spec.hidden_size**0.5
    weights = Weights(spec, {name: draw(p.shape, bound) for name, p in parameters(spec).items()})
    x = draw(axes(case, spec.input_size), 1.5)
    lengths = None if case.row_lengths is None else np.array(case.row_lengths)
    if lengths is not None:
        x = np.where(valid(case)[..., None], x, np.asarray(PADDING, case.dtype))
        x.flags.writeable = lengths.flags.writeable = False
    count = spec.num_layers * spec.num_directions
    h, c = (count, case.batch, spec.state_size), (count, case.batch, spec.hidden_size)
    h_0, c_0 = (draw(h, 0.8), draw(c, 1.2)) if case.state else (None, None)
    shapes = {"y": axes(case, spec.output_size), "h_n": h, "c_n": c}
    probes = {name: draw(shape, 1.0) for name, shape in shapes.items()}
    return Problem(weights, x, h_0, c_0, lengths, case.key, None, probes, case.seed % 3)


@lru_cache(_KEPT)
def reference(case: Case, training: bool = False) -> oracle.Result:
    """What the oracle computes, with gradients. training: with the dropout masks of the case's key."""
    p = problem(case)
    call = case.spec, p.weights, p.x, p.h_0, p.c_0, p.lengths
    return oracle.run(*call, masks=drawn_masks(case) if training else None, probes=p.probes)


def drawn_masks(case: Case) -> dict[str, Array]:
    """The masks of the case's key by name, time-major."""
    spec, masks = case.spec, {}
    shape: tuple[int, ...]
    for k in range(spec.num_layers):
        if spec.dropout and k:
            shape = case.steps, case.batch, spec.layer_input_size(k)
            masks[f"dropout_l{k}"] = _mask(case, f"dropout_l{k}", shape, spec.dropout)
        for own in (f"_l{k}", f"_l{k}_reverse")[: spec.num_directions]:
            if spec.recurrent_dropout:
                name, shape = f"recurrent{own}", (case.batch, spec.state_size)
                masks[name] = _mask(case, name, shape, spec.recurrent_dropout)
    return masks


def _mask(case: Case, name: str, shape: tuple[int, ...], dropped: float) -> Array:
    """Computed here with NumPy's words alone."""
    assert case.key is not None
    low, high = split_key(case.key)
    key, like = (np.uint64(low), np.uint64(high)), np.zeros((), case.dtype)
    return np.asarray(keep_mask(_MaskOps, key, stream(name), shape, dropped, like))


class _MaskOps:
    """The four operations that a mask needs."""

    words = NUMPY_WORDS
    reshape = staticmethod(np.reshape)
    where = staticmethod(np.where)

    @staticmethod
    def full(value: float, like: Array) -> Any:
        return like.dtype.type(value)


def axes(case: Case, features: int) -> tuple[int, ...]:
    """The shape of a sequence, in the order of the spec."""
    lead = (case.batch, case.steps) if case.spec.batch_first else (case.steps, case.batch)
    return (*lead, features)


def valid(case: Case) -> Array:
    """[B, T] or [T, B], as the spec has it: is this step before its row's length?"""
    lengths = np.array(case.row_lengths or (case.steps,) * case.batch)
    inside = np.arange(case.steps)[None, :] < lengths[:, None]
    return inside if case.spec.batch_first else inside.T
