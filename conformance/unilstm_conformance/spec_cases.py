"""Cases of specs that somebody gives: a variant that no preset has, or a cell of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from unilstm.spec import LSTMSpec

from .cases import DTYPES, KEY, Case, default_cases, drops, trained, wide_cases

_STACKS = ((1, "reverse"), (2, "bidirectional"))
_LENGTHS = ("none", "short", "full", "ragged")


def spec_cases(specs: Mapping[str, LSTMSpec]) -> tuple[Case, ...]:
    """Each spec as it is, deeper and in other directions, and with every mask; dtypes and lengths taken in turn.

    specs: by the name that the ids shall have. Every check runs on each case.
    """
    turn = itertools.count()
    found = []
    for name, spec in specs.items():
        for variant, one in (*((name, s) for s in _stacks(spec)), (f"{name}-masked", trained(spec))):
            n = next(turn)
            case = Case(variant, one, DTYPES[n % 2], _LENGTHS[n % 4], thorough=True)
            found.append(replace(case, key=KEY) if drops(one) else case)
    return tuple(found)


def _stacks(spec: LSTMSpec) -> Iterator[LSTMSpec]:
    """The spec, and, where it is one layer that runs forward, what it is as part of others."""
    yield spec
    if spec.num_layers == 1 and spec.direction == "forward":
        yield from (spec.replace(num_layers=layers, direction=direction) for layers, direction in _STACKS)


def selected(wide: bool, specs: Mapping[str, LSTMSpec] | None) -> tuple[Case, ...]:
    """The cases of a run: those of the specs that are given, else the suite's own."""
    return spec_cases(specs) if specs is not None else wide_cases() if wide else default_cases()
