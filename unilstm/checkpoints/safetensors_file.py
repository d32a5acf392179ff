"""safetensors files. The library checks the header against the file's size before anything is allocated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN, Contents, Entry, values
from .formats import library

DEFAULT_LAYOUT = None
CARRIES = True  # arrays of anything beside an LSTM
_NAMES = {
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BF16": "bfloat16",
    "BOOL": "bool",
    "C64": "complex64",
}
_CODES = {name: code for code, name in _NAMES.items() if code != "BF16"}


def read(path: Path) -> Contents:
    """Open a file: its header is read and checked, its arrays are not read yet."""
    safetensors = _library()
    try:
        with safetensors.safe_open(path, framework="np") as file:
            names = list(file.keys())  # in a list, because the file itself is not iterable
            slices = {name: file.get_slice(name) for name in names}
            entries = {name: _entry(path, name, s.get_shape(), s.get_dtype()) for name, s in slices.items()}
            return Contents(path, entries, file.metadata() or {})
    except (safetensors.SafetensorError, OSError) as problem:
        raise _unreadable(path, problem) from problem


def write(path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None:
    """One array after the other, so that memory is needed for one of those that come from another file.

    The format: eight bytes, the length of a header; the header, JSON; the arrays, without gaps, row by row. The header
    is filled up with spaces so that the arrays start at a multiple of eight.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, array in arrays.items():
        dtype, shape = _stored_dtype(name, array), list(array.shape)
        end = start + math.prod(shape) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, array in arrays.items():
            # A transposed view must be laid out first, as must numbers in another byte order.
            kind = np.dtype(_stored_dtype(name, array)).newbyteorder("<")
            np.ascontiguousarray(values(array), kind).tofile(file)


def _stored_dtype(name: str, array: Array | Entry) -> str:
    dtype = array.dtype if isinstance(array.dtype, str) else array.dtype.name
    dtype = "float32" if dtype == "bfloat16" else dtype  # which holds every bfloat16, and is what Entry.read gives
    if dtype not in _CODES:
        raise CheckpointError(f"{name!r} is {dtype}, which a safetensors file cannot hold. Leave it out (--only-lstm).")
    return dtype


def _entry(path: Path, name: str, shape: list[int], dtype: str) -> Entry:
    return Entry(tuple(shape), _NAMES.get(dtype, dtype), partial(_array, path, name, dtype))


def _array(path: Path, name: str, dtype: str) -> Array:
    safetensors = _library()
    if dtype not in _NAMES:
        raise CheckpointError(
            f"{path}: {name!r} is {dtype}, which no backend computes in. Save it as float32 with the library it is of."
        )
    try:
        with safetensors.safe_open(path, framework="np") as file:
            if dtype != "BF16":
                return np.asarray(file.get_tensor(name))
        return _bfloat16(path, name)  # safe_open has checked the offsets that this relies on
    except (safetensors.SafetensorError, OSError, ValueError) as problem:
        raise _unreadable(path, problem) from problem


def _bfloat16(path: Path, name: str) -> Array:
    """A bfloat16 array as float32, exactly: a bfloat16 is the upper half of a float32. NumPy's reader has none."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size))[name]
        start, end = entry["data_offsets"]
        file.seek(8 + size + start)
        halves = np.frombuffer(file.read(end - start), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _library() -> Any:
    return library("safetensors", "files", ".safetensors")


def _unreadable(path: Path, problem: Exception) -> CheckpointError:
    reason = str(problem).removeprefix("Error while deserializing header: ")
    return CheckpointError(f"{path}: is not a valid safetensors file ({reason}). {AGAIN}")
