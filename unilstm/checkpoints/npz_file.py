"""NumPy's .npz: a zip of arrays. No array of objects is read, because those are pickles."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .archives import check_sums, parts
from .contents import AGAIN, Contents, Entry, values
from .metadata import KEY

DEFAULT_LAYOUT = None
_LEAST, _RATIO = 64 << 20, 16  # bytes a small file may unpack to, and the ratio for a large one; weights hardly shrink


def read(path: Path) -> Contents:
    """Open a file: the arrays' headers are read and checked, the arrays are not read yet."""
    found = parts(path, compressed=True)
    claimed, size = sum(part.file_size for part in found), path.stat().st_size
    if claimed > max(_LEAST, _RATIO * size):
        raise CheckpointError(f"{path}: claims {claimed} bytes of data in a file of {size}. {AGAIN}")
    check_sums(path, found)
    entries: dict[str, Entry] = {}
    with zipfile.ZipFile(path) as archive:
        for part in found:
            name = part.filename.removesuffix(".npy")
            with archive.open(part) as file:
                shape, dtype = _header(path, name, file, part.file_size)
            entries[name] = Entry(shape, dtype.newbyteorder("=").name, partial(_array, path, part.filename))
    about = entries.pop(KEY, None)
    return Contents(path, entries, {KEY: str(about.read())} if about and about.dtype.startswith("str") else {})


def write(path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None:
    """Not compressed, so that it can be mapped into memory. The metadata is an array of text."""
    text = {KEY: np.array(metadata[KEY])} if KEY in metadata else {}
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, array in {**arrays, **text}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(values(array)), allow_pickle=False)


def _header(path: Path, name: str, file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = reader(file)
    except Exception as problem:  # NumPy parses the header as Python text, with all that can raise
        raise CheckpointError(f"{path}: {name!r} is no NumPy array ({problem}). {AGAIN}") from None
    if dtype.hasobject:
        raise CheckpointError(
            f"{path}: {name!r} holds Python objects, which is a pickle; opening it could run any code. Save it as an "
            "array of numbers in the program that wrote it."
        )
    if math.prod(shape) * dtype.itemsize + file.tell() != size:
        raise CheckpointError(f"{path}: {name!r} has shape {list(shape)}, but {size} bytes. {AGAIN}")
    return tuple(shape), dtype


def _array(path: Path, part: str) -> Array:
    with zipfile.ZipFile(path) as archive, archive.open(part) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    return np.asarray(array, array.dtype.newbyteorder("="))
