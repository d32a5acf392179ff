"""Cases of specs that somebody gives: a variant that no preset has, or a cell of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from unilstm import cells, layer_masks
from unilstm.spec import LSTMSpec

from .cases import DTYPES, Case, default_cases, wide_cases

KEY = 0x0123456789ABCDEF  # of the masks in training mode
_STACKS = ((1, "reverse"), (2, "bidirectional"))
_LENGTHS = ("none", "short", "full", "ragged")


def spec_cases(specs: Mapping[str, LSTMSpec]) -> tuple[Case, ...]:
    """Each spec as it is, deeper and in other directions, and with every mask; dtypes and lengths taken in turn.

    specs: by the name that the ids shall have. Every check runs on each case.
    """
    turn = itertools.count()
    found = []
    for name, spec in specs.items():
        for variant, one in (*((name, s) for s in _stacks(spec)), (f"{name}-masked", _masked(spec))):
            n = next(turn)
            case = Case(variant, one, DTYPES[n % 2], _LENGTHS[n % 4], thorough=True)
            found.append(replace(case, key=KEY) if layer_masks.names(one) else case)
    return tuple(found)


def selected(wide: bool, specs: Mapping[str, LSTMSpec] | None) -> tuple[Case, ...]:
    """The cases of a run."""
    return spec_cases(specs) if specs is not None else wide_cases() if wide else default_cases()


def _stacks(spec: LSTMSpec) -> Iterator[LSTMSpec]:
    """The spec, and, where it is one layer that runs forward, what it is as part of others."""
    yield spec
    if spec.num_layers == 1 and spec.direction == "forward":
        yield from (spec.replace(num_layers=layers, direction=direction) for layers, direction in _STACKS)


def _masked(spec: LSTMSpec) -> LSTMSpec:
    """The spec with all the masks that its cell can have, where it has none of its own."""
    cell = cells.get(spec.cell)
    dropped: dict[str, Any] = {"dropout": 0.2} if spec.num_layers > 1 else {}
    dropped |= {"input_dropout": 0.2, "zoneout_hidden": 0.2, "zoneout_cell": 0.3}
    dropped |= {"recurrent_dropout": 0.2} if cell.reads_h else {}
    if any(array.role == "weight_hh" for array in cell.arrays(spec, spec.input_size)):
        dropped["weight_dropout"] = 0.2
    return spec.replace(**{field: getattr(spec, field) or p for field, p in dropped.items()})
