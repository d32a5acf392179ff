"""A case made concrete: its arrays, and what the oracle says of them. Worked out once, for all backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from unilstm.masks import NUMPY_WORDS, keep_mask, split_key, uniform
from unilstm.parameters import Parameter, parameters
from unilstm.spec import LSTMSpec
from unilstm.weights import Weights

from . import oracle
from .cases import Case
from .oracle_shapes import Sizes
from .tape import noise

Array = np.ndarray[Any, np.dtype[Any]]
OUTPUTS = ("y", "h_n", "c_n")
PADDING = 1e3  # what x holds at and past a row's length: finite, so that it may be computed with, and hard to overlook
# More than the default cases, which several backends and checks share; a few hundred kB each at most.
_KEPT = 384


@dataclass(frozen=True, eq=False)
class Problem:
    """The arrays of one call, in one dtype, axes as the spec has them; read-only.

    x may be [T, I], and the states then have no axis for the batch. key: of the dropout masks in training mode;
    masks: those masks themselves, by name, in its place.
    probes: what the outputs are multiplied by before they are summed up and differentiated, by name, see OUTPUTS; with
    one for "c_all", which is every step's c, the call asks for that, too.
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

    def __call__(self, shape: tuple[int, ...], bound: float | Array, around: float | Array = 0.0) -> Array:
        self.stream += 1
        values = around + (2.0 * uniform(self.case.seed, self.stream, shape) - 1.0) * bound
        values = values.astype(self.case.dtype)
        values.flags.writeable = False
        return values

    def parameter(self, p: Parameter) -> Array:
        if p.role.startswith("gamma"):  # scales; near 0 they would hide what they scale
            return self(p.shape, 0.5, around=1.0)
        bound = self.case.gain / self.case.spec.hidden_size**0.5
        return self.cell(p.shape, bound) if p.role == "c_0" else self(p.shape, bound)

    def cell(self, shape: tuple[int, ...], bound: float) -> Array:
        """A state c. The normaliser of an sLSTM is a sum of positive numbers: its slot is drawn from [0.5, 1.5)."""
        if self.case.spec.cell != "slstm":
            return self(shape, bound)
        normaliser = (np.arange(shape[-2]) == 1)[:, None]
        return self(shape, np.where(normaliser, 0.5, bound), around=np.where(normaliser, 1.0, 0.0))


@lru_cache(_KEPT)
def problem(case: Case) -> Problem:
    spec, draw = case.spec, _Draw(case)
    weights = Weights(spec, {name: draw.parameter(p) for name, p in parameters(spec).items()})
    x = draw(axes(case, spec.input_size), 1.5)
    lengths = None if case.row_lengths is None else np.array(case.row_lengths)
    if lengths is not None:
        x = np.where(valid(case)[..., None], x, np.asarray(PADDING, case.dtype))
        x.flags.writeable = lengths.flags.writeable = False
    h, c = state_shapes(spec, case.batch)
    h_0, c_0 = (draw(h, 0.8), draw.cell(c, 1.2)) if case.state else (None, None)
    shapes = {"y": axes(case, spec.output_size), "h_n": h, "c_n": c}
    probes = {name: draw(shape, 1.0) for name, shape in shapes.items()}
    return Problem(weights, x, h_0, c_0, lengths, case.key, None, probes, case.seed % 3)


def state_shapes(spec: LSTMSpec, rows: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of h and c."""
    lead, slots = (spec.num_layers * spec.num_directions, rows), (spec.slots,) * (spec.slots > 1)
    return (*lead, spec.state_size), (*lead, *slots, spec.hidden_size)


@lru_cache(_KEPT)
def reference(case: Case, training: bool = False) -> oracle.Result:
    """What the oracle computes, with gradients. training: with the masks of the case's key."""
    p = problem(case)
    call = case.spec, p.weights, p.x, p.h_0, p.c_0, p.lengths
    return oracle.run(*call, masks=drawn_masks(case) if training else None, probes=p.probes)


NOISE = 2.0**-26
_SAMPLES = 3


@lru_cache(_KEPT)
def growth(case: Case, training: bool = False) -> dict[str, float]:
    """How errors grow in this case: by how much the oracle's numbers move where each of its operations errs at random.

    The largest move of each output, and of each gradient by its name, in units of an operation's largest error.
    """
    moves: dict[str, float] = {}
    want = _named(reference(case, training))
    for sample in range(_SAMPLES):
        with noise(NOISE, case.seed + sample):
            moved = _named(reference.__wrapped__(case, training))
        for name, value in moved.items():
            move = float(np.abs(value - want[name]).max(initial=0.0)) / NOISE
            moves[name] = max(move, moves.get(name, 0.0))
    return moves


def _named(result: oracle.Result) -> dict[str, Array]:
    return {name: getattr(result, name) for name in OUTPUTS} | result.gradients


def amplification(case: Case, training: bool = False) -> float:
    """What multiplies the bounds of a case, see tolerances.py; 1 without asking the oracle where it cannot be more."""
    if case.spec.layer_norm == "none" and case.spec.cell != "slstm":
        return 1.0
    return reference(case, training).amplification


def drawn_masks(case: Case) -> dict[str, Array]:
    """The masks of the case's key by name, time-major; {} where the spec has none."""
    shapes = {name: p.shape for name, p in parameters(case.spec).items()}
    wanted = Sizes(case.spec, problem(case).x.shape).mask_shapes(shapes)
    return {name: _mask(case, name, shape) for name, shape in wanted.items()}


# Each kind of mask: the field that says how much it drops, and the number of its stream of random bits, to which layer
# and direction are added. Zoneout replaces what it drops, so that nothing has to be scaled up.
KINDS = {
    "recurrent": ("recurrent_dropout", 1),
    "input": ("input_dropout", 2),
    "weight": ("weight_dropout", 3),
    "zoneout_hidden": ("zoneout_hidden", 4),
    "zoneout_cell": ("zoneout_cell", 5),
}


def _mask(case: Case, name: str, shape: tuple[int, ...]) -> Array:
    """Computed here with NumPy's words alone."""
    assert case.key is not None
    kind, _, place = name.partition("_l")
    layer, _, reverse = place.partition("_")
    dropped, number = KINDS.get(kind, ("dropout", 0))
    stream = int(layer) if kind == "dropout" else number << 24 | int(layer) << 1 | bool(reverse)
    low, high = split_key(case.key)
    key, like = (np.uint64(low), np.uint64(high)), np.zeros((), case.dtype)
    scaled = not kind.startswith("zoneout")
    return np.asarray(keep_mask(_MaskOps, key, stream, shape, getattr(case.spec, dropped), like, scaled))


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
