"""MXNet's .params: a list of arrays and a list of their names. Needs no MXNet."""

from __future__ import annotations

import math
import re
import struct
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN, Contents, Entry, check_count

DEFAULT_LAYOUT = "mxnet"
_LIST, _DENSE_32, _DENSE_64 = 0x112, 0xF993FAC9, 0xF993FACA  # the file's, and those of arrays of MXNet 1.x and 2.x
_DENSE, _LONGEST = 0, 4096
_TYPES = ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "?")


class Stored(NamedTuple):
    """Where in the file an array lies."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def array(self) -> Array:
        return np.fromfile(self.path, "<" + self.dtype, math.prod(self.shape), offset=self.offset).reshape(self.shape)


def read(path: Path) -> Contents:
    """Open a file. Gluon's "_unfused.0.l_cell.i2h_weight" is named "l0_i2h_weight", as the module's API does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic, _, count = _numbers(file, "<QQQ")
        if magic != _LIST:
            raise CheckpointError(f"{path}: is not a file of MXNet's. {AGAIN}")
        check_count(path, count)
        arrays = [_array(path, file, size) for _ in range(count)]
        (names,) = _numbers(file, "<Q")
        if names != count:
            raise CheckpointError(f"{path}: has {count} arrays, but {names} names. Save them with names, as a dict.")
        entries: dict[str, Entry] = {}
        for stored in arrays:
            (length,) = _numbers(file, "<Q")
            if length > _LONGEST:
                raise CheckpointError(f"{path}: has a name of {length} characters. {AGAIN}")
            name = _name(file.read(length).decode("utf-8", "replace"))
            if name in entries:
                raise CheckpointError(f"{path}: two arrays come to the name {name!r}. {AGAIN}")
            dtype = np.dtype(stored.dtype).name
            entries[name] = Entry(stored.shape, dtype, partial(Stored.array, stored))
    return Contents(path, entries)


def _array(path: Path, file: IO[bytes], size: int) -> Stored:
    """The header of one array; its data is stepped over."""
    magic, storage = _numbers(file, "<Ii")
    if magic not in (_DENSE_32, _DENSE_64) or storage != _DENSE:
        raise CheckpointError(f"{path}: holds a sparse array, or one of an MXNet before 1.0. Save it as a dense one.")
    (axes,) = _numbers(file, "<i")
    if not 0 <= axes <= 32:
        raise CheckpointError(f"{path}: has an array of {axes} axes. {AGAIN}")
    shape = _numbers(file, f"<{axes}q")
    _, _, kind = _numbers(file, "<iii")
    if min((0, *shape)) < 0 or not 0 <= kind < len(_TYPES):
        raise CheckpointError(f"{path}: has an array of shape {list(shape)} and type {kind}. {AGAIN}")
    stored = Stored(path, file.tell(), shape, _TYPES[kind])
    end = stored.offset + math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
    if end > size:
        raise CheckpointError(f"{path}: claims an array of shape {list(shape)}, past the end of the file. {AGAIN}")
    file.seek(end)
    return stored


def _numbers(file: IO[bytes], form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _name(name: str) -> str:
    name = re.sub(r"_unfused\.(\d+)\.([lr])_cell\.", r"\2\1_", name)
    return re.sub(r"_([lr]\d+_[ih]2h_(?:weight|bias))$", r".\1", name)
