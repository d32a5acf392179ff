"""paddle.save files of a state_dict: a pickle of NumPy arrays. Needs no Paddle, for reading or writing."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..parameters import Array
from .contents import Contents, Entry, values
from .nesting import leaves
from .pickles import NumpyArray, read_plain
from .signatures import refuse_other

DEFAULT_LAYOUT = "paddle"
_NAMES = "StructuredToParameterName@@"  # a table of Paddle's own names, which its state_dicts carry along


def read(path: Path) -> Contents:
    """Open a file. A tensor below the top of nested dicts is stored as (its name in Paddle, its array)."""
    refuse_other(path, "a file of paddle.save's")
    with path.open("rb") as file:
        loaded = read_plain(path, file, path.stat().st_size)
    if isinstance(loaded, dict):
        loaded.pop(_NAMES, None)
    found = leaves(path, loaded, lambda value: _array_of(value) is not None)
    return Contents(path, {leaf.name: _entry(_array_of(leaf.value), leaf.holder) for leaf in found})


def write(path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None:
    """A state_dict as paddle.save writes it. The format has no room for metadata."""
    state = {name: np.ascontiguousarray(values(array)) for name, array in arrays.items()}
    with path.open("wb") as file:
        pickle.dump(state, file, protocol=4)


def _array_of(value: Any) -> NumpyArray | None:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    return value if isinstance(value, NumpyArray) else None


def _entry(array: NumpyArray | None, holder: str) -> Entry:
    assert array is not None
    return Entry(array.shape, array.type.newbyteorder("=").name, array.array, holder)
