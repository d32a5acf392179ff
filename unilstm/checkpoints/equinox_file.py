"""equinox's .eqx: arrays one after the other, as numpy.save writes them, without names. A template gives the names."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN, Contents, Entry, Place

DEFAULT_LAYOUT = "equinox"
_LONGEST_LINE = 1 << 20  # of hyperparameters, which equinox's documentation puts before the arrays
_MOST = 10_000  # each has a header of its own, which takes its time to parse
_GUESSED = (
    "the file has no names: three or two arrays in a row have an LSTMCell's shapes; template= (the model, or its "
    "arrays' names in order) or layout='equinox' (--from equinox) settles it"
)


def read(path: Path, template: Any = None) -> Contents:
    """Open a file. template: the model that it was saved from, or the names of its arrays in order."""
    arrays = list(_arrays(path))
    names = [str(n) for n in range(len(arrays))] if template is None else _names(path, template, arrays)
    entries = dict(zip(names, arrays, strict=True))
    if template is not None:
        return Contents(path, entries)
    renamed, told = _guess(arrays)
    return Contents(path, renamed, told=told)


def _arrays(path: Path) -> Iterable[Entry]:
    """Each array's shape and dtype; its data is stepped over."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(1) == b"{":
            file.readline(_LONGEST_LINE)
        else:
            file.seek(0)
        for count in itertools.count(1):
            if file.tell() >= size:
                return
            if count > _MOST:
                raise CheckpointError(f"{path}: has more than {_MOST:,} arrays or names. Save a part of the model.")
            shape, fortran, dtype = _header(path, file)
            end = file.tell() + math.prod(shape) * dtype.itemsize
            if dtype.hasobject or end > size:
                raise CheckpointError(f"{path}: its array {count - 1} is of objects or cut off. {AGAIN}")
            yield Entry(shape, dtype.name, partial(_array, path, file.tell(), shape, fortran, dtype))
            file.seek(end)


def _header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = reader(file)
    except Exception as problem:  # NumPy parses the header as Python text, with all that can raise
        raise CheckpointError(f"{path}: is not a file of equinox's ({problem}). {AGAIN}") from None
    return tuple(shape), fortran, dtype


def _array(path: Path, offset: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> Array:
    flat = np.fromfile(path, dtype, math.prod(shape), offset=offset)
    return np.asarray(flat.reshape(shape, order="F" if fortran else "C"), dtype.newbyteorder("="))


def _names(path: Path, template: Any, arrays: list[Entry]) -> list[str]:
    """The template's arrays by their place in it, in equinox's order; a list of text is that of names already."""
    if isinstance(template, (list, tuple)) and all(isinstance(name, str) for name in template):
        names, shapes = list(template), [None] * len(template)
    else:
        jax = sys.modules.get("jax")
        if jax is None:
            raise CheckpointError(
                f"{path}: template= is a {type(template).__name__}. Give an equinox model, or the names in order."
            )
        found = [
            (jax.tree_util.keystr(place, simple=True, separator="/"), np.shape(leaf))
            for place, leaf in jax.tree_util.tree_flatten_with_path(template)[0]
            if hasattr(leaf, "dtype") or isinstance(leaf, (bool, int, float, complex))  # what equinox saves
        ]
        names, shapes = [name for name, _ in found], [shape for _, shape in found]
    if len(names) != len(arrays):
        raise CheckpointError(
            f"{path}: has {len(arrays)} arrays, but template= has {len(names)}. Give the model it was saved from."
        )
    for name, shape, array in zip(names, shapes, arrays, strict=True):
        if shape is not None and shape != array.shape:
            raise CheckpointError(
                f"{path}: has an array of shape {list(array.shape)} where template= has {name!r} of {list(shape)}. "
                "Give the model it was saved from."
            )
    return names


def _guess(arrays: list[Entry]) -> tuple[dict[str, Entry], tuple[Place, ...]]:
    """weight_ih, weight_hh and, where it has one, bias follow each other in every LSTMCell."""
    names = [str(n) for n in range(len(arrays))]
    places = []
    for n, (first, second) in enumerate(itertools.pairwise(arrays)):
        units = second.shape[-1] if len(second.shape) == 2 else 0
        if not units or second.shape != (4 * units, units) or len(first.shape) != 2 or first.shape[0] != 4 * units:
            continue
        biased = n + 2 < len(arrays) and arrays[n + 2].shape == (4 * units,)
        roles = ("weight_ih", "weight_hh", "bias")[: 2 + biased]
        own = [f"{n}/{role}" for role in roles]
        names[n : n + len(own)] = own
        places.append(Place("equinox", f"{n}/", tuple(own), uncertain=_GUESSED))
    return dict(zip(names, arrays, strict=True)), tuple(places)
