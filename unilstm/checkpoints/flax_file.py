"""flax.serialization's .msgpack: nested dicts of arrays. Needs msgpack, not flax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN, MOST_ARRAYS, Contents, Entry, values
from .formats import library
from .nesting import Leaf, leaves

DEFAULT_LAYOUT = "flax"
_ARRAY, _SCALAR = 1, 3  # flax's extension types; 2 is a Python complex
_CHUNKED = "__msgpack_chunked_array__"  # the key of an array that was too large for one extension
_PIECE = 1 << 30  # bytes of an array, above which it is written in pieces
_LONGEST = 4096  # items of a list; state_dicts have dicts in their place
_MOST_ITEMS = 3 * MOST_ARRAYS  # of all dicts and lists
_DTYPES = {"bool", *(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64)), "bfloat16"}
_DTYPES |= {"float16", "float32", "float64"}


class Packed:
    """An array as it lies in the file: shape, dtype and bytes."""

    def __init__(self, data: bytes) -> None:
        shape, dtype, buffer = _unpack(data)
        self.shape, self.dtype, self.buffer = _shape(shape), str(dtype), buffer
        if self.dtype not in _DTYPES or not isinstance(buffer, bytes):
            raise ValueError(f"an array of {dtype!r}")
        size = 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize
        if math.prod(self.shape) * size != len(buffer):
            raise ValueError(f"an array of shape {list(self.shape)} with {len(buffer)} bytes")

    def array(self) -> Array:
        if self.dtype == "bfloat16":
            halves = np.frombuffer(self.buffer, "<u2").astype(np.uint32) << 16
            return halves.view(np.float32).reshape(self.shape)
        return np.frombuffer(self.buffer, self.dtype).reshape(self.shape)


def read(path: Path) -> Contents:
    """Open a file; arrays are named by their place, joined by "/"."""
    library("msgpack", "flax", ".msgpack")
    loaded = _unpack(path.read_bytes())
    found = leaves(path, loaded, _is_array, "/")
    return Contents(path, {leaf.name: _entry(path, leaf) for leaf in found})


def _unpack(data: bytes) -> Any:
    """Lists are bounded because msgpack makes room for as many items as a list says it has; and all dicts and lists
    together, because one byte is enough for an empty one."""
    msgpack = library("msgpack", "flax", ".msgpack")
    left = _MOST_ITEMS

    def counted(container: Any) -> Any:
        nonlocal left
        left -= 1 + len(container)
        if left < 0:
            raise ValueError(f"more than {_MOST_ITEMS:,} items")
        return container

    return msgpack.unpackb(
        data,
        object_hook=counted,
        list_hook=counted,
        ext_hook=_extension,
        strict_map_key=False,
        use_list=True,
        max_array_len=_LONGEST,
        max_map_len=MOST_ARRAYS,
    )


def _extension(code: int, data: bytes) -> Any:
    return Packed(data) if code in (_ARRAY, _SCALAR) else None


def _is_array(value: Any) -> bool:
    return isinstance(value, Packed) or (isinstance(value, dict) and value.get(_CHUNKED) is True)


def _shape(value: Any) -> tuple[int, ...]:
    sizes = tuple(value.values()) if isinstance(value, dict) else tuple(value)
    if len(sizes) > 32 or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ValueError(f"a shape {sizes!r}")
    return sizes


def _entry(path: Path, leaf: Leaf) -> Entry:
    if isinstance(leaf.value, Packed):
        return Entry(leaf.value.shape, leaf.value.dtype, leaf.value.array, leaf.holder)
    chunks = leaf.value.get("chunks")
    chunks = list(chunks.values()) if isinstance(chunks, dict) else chunks
    shape = _shape(leaf.value.get("shape"))
    whole = isinstance(chunks, list) and bool(chunks) and all(isinstance(chunk, Packed) for chunk in chunks)
    if not whole or sum(math.prod(chunk.shape) for chunk in chunks) != math.prod(shape):
        raise CheckpointError(f"{path}: {leaf.name!r} is an array in pieces that do not come to it. {AGAIN}")
    return Entry(shape, chunks[0].dtype, partial(_joined, chunks, shape), leaf.holder)


def _joined(chunks: list[Packed], shape: tuple[int, ...]) -> Array:
    return np.concatenate([chunk.array().ravel() for chunk in chunks]).reshape(shape)


def write(path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None:
    """As flax.serialization.to_bytes: the names' parts are the keys of nested dicts. No room for metadata."""
    msgpack = library("msgpack", "flax", ".msgpack")
    tree: dict[str, Any] = {}
    for name, array in sorted(arrays.items(), key=lambda item: item[0].split("/")):  # flax orders the keys of a dict
        *above, last = name.split("/")
        holder = tree
        for part in above:
            holder = holder.setdefault(part, {})
        holder[last] = _packed(msgpack, np.ascontiguousarray(values(array)))
    path.write_bytes(msgpack.packb(tree, strict_types=True))


def _packed(msgpack: Any, array: Array) -> Any:
    """An array as flax has it; in pieces where it is larger than one extension is made."""
    if array.nbytes <= _PIECE:
        data = (array.shape, array.dtype.name, array.tobytes())
        return msgpack.ExtType(_ARRAY, msgpack.packb(data, use_bin_type=True))
    step, line = max(1, _PIECE // array.itemsize), array.ravel()
    pieces = [_packed(msgpack, line[at : at + step]) for at in range(0, line.size, step)]
    numbered = ({str(n): item for n, item in enumerate(items)} for items in (array.shape, pieces))
    return {_CHUNKED: True, **dict(zip(("shape", "chunks"), numbered, strict=True))}
