"""safetensors files. The library checks the header against the file's size before anything is allocated."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN, Contents, Entry, check_count, values
from .formats import library

DEFAULT_LAYOUT = None
_LONGEST = 16 << 20  # bytes of a header; the arrays of a large model take one MB
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
    _check_header(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as problem:
        raise _unreadable(path, problem) from problem
    with path.open("rb") as opened:  # the library has checked all that is in it: types, shapes, offsets, gaps
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
    header.pop("__metadata__", None)
    ordered = sorted(header, key=lambda name: header[name]["data_offsets"])
    return Contents(path, {name: _entry(path, name, 8 + size, header[name]) for name in ordered}, metadata)


def _check_header(path: Path) -> None:
    """Count the arrays, and the texts of the metadata, before anything is made of them: a million take the library a
    gigabyte. Of an array there is one text, its dtype."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:  # the library says what is wrong
            return
        if size > _LONGEST:
            raise CheckpointError(f"{path}: has a header of {size:,} bytes, more than {_LONGEST:,}. {AGAIN}")
        header = file.read(size)
    arrays = header.count(b'"data_offsets"')
    check_count(path, arrays)
    check_count(path, sum(1 for _ in re.finditer(rb'"\s*:\s*"', header)) - arrays)


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


def _entry(path: Path, name: str, start: int, said: dict[str, Any]) -> Entry:
    shape, dtype, (begin, end) = tuple(said["shape"]), said["dtype"], said["data_offsets"]
    return Entry(shape, _NAMES.get(dtype, dtype), partial(_array, path, name, dtype, shape, start + begin, end - begin))


def _array(path: Path, name: str, dtype: str, shape: tuple[int, ...], offset: int, size: int) -> Array:
    """The array, mapped into memory."""
    if dtype not in _NAMES:
        raise CheckpointError(
            f"{path}: {name!r} is {dtype}, which no backend computes in. Save it as float32 with the library it is of."
        )
    kind = np.dtype("<u2") if dtype == "BF16" else np.dtype(_NAMES[dtype]).newbyteorder("<")
    if not size:
        return np.zeros(shape, "f4" if dtype == "BF16" else kind.newbyteorder("="))
    if offset + size > path.stat().st_size:
        raise CheckpointError(f"{path}: has become shorter since it was opened. {AGAIN}")
    flat = np.memmap(path, kind, "r", offset, (size // kind.itemsize,))
    array = np.ndarray(shape, kind, flat)
    if dtype == "BF16":  # a bfloat16 is the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(array, kind.newbyteorder("="))


def _library() -> Any:
    return library("safetensors", "files", ".safetensors")


def _unreadable(path: Path, problem: Exception) -> CheckpointError:
    reason = str(problem).removeprefix("Error while deserializing header: ")
    return CheckpointError(f"{path}: is not a valid safetensors file ({reason}). {AGAIN}")
