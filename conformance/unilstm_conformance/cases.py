"""The cases: which spec is tried with which sizes, lengths, dtype and state. problems.py makes their arrays."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from unilstm.cells import get as registered
from unilstm.presets import PRESETS, preset
from unilstm.spec import LSTMSpec

from .variants import ACTIVATIONS, VARIANTS

DTYPES = ("float32", "float64")
LENGTHS = ("none", "full", "ragged", "short")
Stack = tuple[int, str]  # layers, direction
STACKS: tuple[Stack, ...] = (
    (1, "forward"),
    (1, "reverse"),
    (1, "bidirectional"),
    (3, "forward"),
    (3, "reverse"),
    (3, "bidirectional"),
    (3, "alternating"),
)


@dataclass(frozen=True)
class Case:
    """One spec on one batch.

    variant: the equations' name in the id. gain: weights are U(±gain/√H), 1 being the usual initialisation.
    lengths: none given; all full; ragged, with 0, 1 and T among them; short, where no row reaches T.
    state: is an initial state given? key: of the dropout masks in training mode, None in evaluation mode.
    stress: "all" paths, or "native" for one more combination of layers, directions and lengths for those paths that
    have code of their own for it; the composed path runs the same lines for every spec, so it needs fewer.
    thorough: do the costlier checks run too?
    """

    variant: str
    spec: LSTMSpec
    dtype: str = "float32"
    lengths: str = "none"
    batch: int = 4
    steps: int = 6
    state: bool = True
    key: int | None = None
    gain: float = 2.5
    stress: str = "all"
    thorough: bool = False

    @property
    def id(self) -> str:
        return f"{self.variant}-L{self.spec.num_layers}-{self.spec.direction}-{self.dtype}-{self.lengths}"

    @property
    def seed(self) -> int:
        """Of the arrays; from the id, so that adding a case does not change the others."""
        return zlib.crc32(self.id.encode())

    @property
    def row_lengths(self) -> tuple[int, ...] | None:
        """The lengths of the rows, in no order; None where the call gives none."""
        if self.lengths == "none":
            return None
        t = self.steps
        rows = {"full": (t,), "ragged": (t - 2, 0, 1, t), "short": (1, 0, t - 1, t - 2)}[self.lengths]
        return tuple(max(0, n) for n in itertools.islice(itertools.cycle(rows), self.batch))


# Odd sizes that no two axes share, so that a transposed or misread axis cannot fit by chance.
_SIZES: tuple[dict[str, Any], ...] = ({"input_size": 4, "hidden_size": 6}, {"input_size": 3, "hidden_size": 5})
# What presets ask for, for each of them.
_NEEDS: dict[str, tuple[int, int]] = {"proj_size": (4, 2), "num_blocks": (3, 1), "lanes": (3, 2)}


def preset_case(name: str, stack: Stack, size: int = 0, **fields: Any) -> Case:
    """A preset on a stack of layers. fields: those of Case."""
    layers, direction = stack
    needs = {need: _NEEDS[need][size] for need in PRESETS[name].needs}
    spec = preset(name, **_SIZES[size], **needs, num_layers=layers, direction=direction)
    return Case(name, spec, key=KEY if drops(spec) else None, **fields)


def trained(spec: LSTMSpec) -> LSTMSpec:
    """The spec with every mask that its cell and its layers can have, beside those it has already."""
    cell = registered(spec.cell)
    fields = {"input_dropout"} | ({"dropout"} if spec.num_layers > 1 else set())
    if cell.linear is None:  # zoneout would keep the steps of such a cell from running all at once
        fields |= {"zoneout_hidden", "zoneout_cell"}
    if cell.reads_h:
        fields.add("recurrent_dropout")
    if any(array.role == "weight_hh" for array in cell.arrays(spec, spec.input_size)):
        fields.add("weight_dropout")
    return spec.replace(**{field: getattr(spec, field) or DROPPING[field] for field in sorted(fields)})


# The fields that drop something in training, each with a probability to try it with.
DROPPING = {
    "dropout": 0.25,
    "input_dropout": 0.3,
    "recurrent_dropout": 0.3,
    "weight_dropout": 0.2,
    "zoneout_hidden": 0.2,
    "zoneout_cell": 0.3,
}
KEY = 0xC0FFEE


def drops(spec: LSTMSpec) -> bool:
    """Has it masks in training?"""
    return any(getattr(spec, field) for field in DROPPING)


_OTHER: tuple[Stack, ...] = ((1, "forward"), (1, "reverse"))
_COMPOSED: dict[str, tuple[Stack, ...]] = {
    "vanilla": ((1, "forward"), (1, "reverse"), (3, "bidirectional"), (3, "alternating")),
    "peephole": ((1, "forward"), (1, "reverse"), (3, "bidirectional")),
    "cifg": ((1, "forward"), (1, "bidirectional"), (3, "alternating")),
    "projected": ((1, "reverse"), (1, "bidirectional"), (3, "forward")),
    "no-input-gate": ((1, "forward"),),
    "no-forget-gate": ((3, "bidirectional"),),
    "no-output-gate": ((1, "reverse"),),
    "no-input-activation": ((1, "forward"),),
    "no-output-activation": ((1, "bidirectional"),),
    "alternating-highway": ((3, "alternating"), (1, "forward")),
    "full-gate-recurrence": ((1, "forward"),),
    "lstm-1997": ((3, "alternating"),),
    "lstm-2000": ((1, "reverse"),),
    "lstm-2002": ((1, "bidirectional"),),
    "layer-norm": ((1, "forward"), (3, "bidirectional")),
    "zoneout": ((1, "reverse"),),
    "awd": ((3, "forward"),),
    "array": ((1, "bidirectional"),),
    "stochastic-array": ((3, "forward"),),
    "attention-array": ((1, "forward"),),
    "slstm": ((1, "forward"), (3, "bidirectional")),
    "minlstm": ((1, "forward"), (3, "bidirectional")),
}


def _presets() -> Iterator[Case]:
    """Each preset on stacks that, over all presets, meet each direction, depth, dtype and kind of lengths."""
    turn = itertools.count()
    for name in PRESETS:
        for stack in _COMPOSED.get(name, _OTHER):
            n = next(turn)
            yield preset_case(
                name, stack, n % 2, dtype=DTYPES[n // 2 % 2], lengths=("ragged", "none", "short", "full")[n % 4]
            )


def _native() -> Iterator[Case]:
    """Every stack × lengths × dtype of the specs that frameworks build in."""
    for (n, stack), lengths, dtype in itertools.product(enumerate(STACKS), ("none", "ragged"), DTYPES):
        for name in ("vanilla", "projected"):
            yield preset_case(name, stack, n % 2, lengths=lengths, dtype=dtype, stress="native")


def _activations() -> Iterator[Case]:
    """Each activation once in each of the three places, and three different ones in each case.

    The usual gain of 1 and few steps: with unbounded gates the state grows exponentially.
    """
    for n, gate in enumerate(ACTIVATIONS):
        cell, output = ACTIVATIONS[(n + 1) % len(ACTIVATIONS)], ACTIVATIONS[(n + 2) % len(ACTIVATIONS)]
        spec = LSTMSpec(**_SIZES[n % 2], gate_activation=gate, cell_activation=cell, output_activation=output)
        variant = "+".join(a if isinstance(a, str) else a[0] for a in (gate, cell, output))
        dtype, lengths = DTYPES[n % 2], ("none", "ragged")[n // 2 % 2]
        yield Case(variant, spec, dtype, lengths, steps=4, gain=1.0)


def _variants() -> Iterator[Case]:
    for variant, fields, about in VARIANTS:
        yield Case(variant, LSTMSpec(**_SIZES[0], **fields), **about)


def _large() -> Iterator[Case]:
    """Long enough for rounding errors to add up and for a fast path to use its blocked code."""
    sizes: dict[str, Any] = {"input_size": 16, "hidden_size": 32}
    for dtype in DTYPES:
        for lengths in ("none", "ragged"):
            yield Case("large", LSTMSpec(**sizes), dtype, lengths, steps=40, stress="native")
    yield Case("large-peephole", LSTMSpec(**sizes, peephole=True), steps=40)


@cache
def default_cases() -> tuple[Case, ...]:
    """The selection for every run: each variant, few combinations, a minute or two in all."""
    cases = [*_presets(), *_native(), *_activations(), *_variants(), *_large()]
    return tuple(_thorough(_unique(cases)))


# Beside those marked above: one of each preset, so that each secondary check meets each set of equations.
_THOROUGH = frozenset(
    {
        ("vanilla", 1, "forward"),
        ("vanilla", 3, "bidirectional"),
        ("peephole", 1, "forward"),
        ("cifg", 3, "alternating"),
        ("projected", 3, "forward"),
        ("alternating-highway", 3, "alternating"),
        ("alternating-highway", 1, "forward"),
        ("lstm-2002", 1, "bidirectional"),
        ("stochastic-array", 3, "forward"),
        ("minlstm", 1, "forward"),
        ("minlstm", 3, "bidirectional"),
    }
)


def _thorough(cases: Iterable[Case]) -> Iterator[Case]:
    for case in cases:
        marked = (case.variant, case.spec.num_layers, case.spec.direction) in _THOROUGH
        yield replace(case, thorough=True) if marked else case


def wide_cases() -> tuple[Case, ...]:
    """The full product of presets, stacks, lengths and dtypes, in evaluation and in training, with and without a state.

    Every check on each. Minutes with NumPy, torch and Paddle; hours with JAX, which compiles each case several times.
    """
    stacks = [(name, n, stack) for name in PRESETS for n, stack in enumerate(STACKS)]
    cases = [
        preset_case(name, stack, n % 2, lengths=lengths, dtype=dtype)
        for name, n, stack in stacks
        for lengths in LENGTHS
        for dtype in DTYPES
    ]
    for case in (*_activations(), *_variants(), *_large()):
        cases += [replace(case, lengths=lengths, dtype=dtype) for lengths in LENGTHS for dtype in DTYPES]
    cases += [replace(c, variant=f"{c.variant}-zero-state", state=False) for c in cases if c.lengths in LENGTHS[::2]]
    cases += [
        replace(case, variant=f"{case.variant}-trained", spec=trained(case.spec), key=KEY)
        for m, lengths in enumerate(("full", "ragged"))
        for name, n, stack in stacks
        for case in (preset_case(name, stack, n % 2, lengths=lengths, dtype=DTYPES[(n + m) % 2]),)
    ]
    return tuple(_unique(replace(case, stress="all", thorough=True) for case in cases))


def _unique(cases: Iterable[Case]) -> Iterator[Case]:
    """The cases, each id once, so that an id names one case. The first of two with one id wins."""
    by_id: dict[str, Case] = {}
    for case in cases:
        by_id.setdefault(case.id, case)
    return iter(by_id.values())
