"""zarr arrays, versions 2 and 3, as orbax writes them: a JSON description and chunks, from any store of bytes."""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN
from .formats import library

Get = Callable[[str], bytes | None]  # the value of a key, or None
DESCRIPTIONS = (".zarray", "zarr.json")
_LARGEST_CHUNK = 64 << 20  # bytes that are more than the array has
_MOST_CHUNKS = 1 << 20
_DTYPES = {
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "bool",
    *(f"{k}int{b}" for k in ("", "u") for b in (8, 16, 32, 64)),
}


@dataclass(frozen=True)
class Description:
    """An array's shape, its chunks, and how they are stored. dtype: NumPy's name, or "bfloat16".

    key: of a chunk's index, in the store. shard: how many chunks lie in one value of the store, along each axis; then
    key is of the shard's index.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    order: str  # "C" or "F"
    little: bool
    codecs: tuple[str, ...]
    key: Callable[[tuple[int, ...]], str]
    shard: tuple[int, ...] = ()


def describe(path: Path, name: str, version: int, text: bytes) -> Description:
    """Read a description. Raises CheckpointError for what orbax does not write."""
    try:
        said = json.loads(text)
        found = _version_2(said) if version == 2 else _version_3(said)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise CheckpointError(f"{path}: {name!r} is not described as orbax does it ({problem}). {AGAIN}") from None
    numbers: tuple[int, ...] = (*found.shape, *found.chunk)
    if found.shard and not 0 < math.prod(found.shard) <= _MOST_CHUNKS:
        raise CheckpointError(f"{path}: {name!r} has shards of {list(found.shard)} chunks. {AGAIN}")
    whole = all(isinstance(n, int) and n >= 0 for n in numbers) and len(found.shape) == len(found.chunk) <= 32
    if not whole or found.dtype not in _DTYPES or 0 in found.chunk:
        raise CheckpointError(f"{path}: {name!r} has shape {list(found.shape)} of {found.dtype!r}. {AGAIN}")
    return found


def _version_2(said: Mapping[str, Any]) -> Description:
    separator, text = said.get("dimension_separator", "."), said["dtype"]
    compressor = said.get("compressor")
    if said.get("filters") or separator not in (".", "/"):
        raise ValueError("it has filters, or an unknown separator")
    codecs = (str(compressor["id"]),) if compressor else ()
    dtype = text if text == "bfloat16" else np.dtype(text).name
    shape, chunk = tuple(said["shape"]), tuple(said["chunks"])
    return Description(
        shape, dtype, chunk, said.get("order", "C"), text[:1] != ">", codecs,
        lambda index: separator.join(map(str, index)) or "0",
    )  # fmt: skip


def _version_3(said: Mapping[str, Any]) -> Description:
    if said["node_type"] != "array" or said["chunk_grid"]["name"] != "regular":
        raise ValueError("it is no array in equal chunks")
    encoding = said.get("chunk_key_encoding", {"name": "default"})
    separator = encoding.get("configuration", {}).get("separator", "/" if encoding["name"] == "default" else ".")
    codecs, shard = said["codecs"], None
    shape, chunk = tuple(said["shape"]), tuple(said["chunk_grid"]["configuration"]["chunk_shape"])
    if [codec["name"] for codec in codecs] == ["sharding_indexed"]:
        inner = codecs[0]["configuration"]
        codecs, outer, chunk = inner["codecs"], chunk, tuple(inner["chunk_shape"])
        shard = tuple(size // part for size, part in zip(outer, chunk, strict=True))
        if inner.get("index_location", "end") != "end" or [n * c for n, c in zip(shard, chunk, strict=True)] != [
            *outer
        ]:
            raise ValueError("its shards are not made of whole chunks with an index at the end")
    names, little = _codecs(codecs)
    lead = ("c",) if encoding["name"] == "default" else ()
    return Description(
        shape, str(said["data_type"]), chunk, "C", little, names,
        lambda index: separator.join((*lead, *map(str, index))) or "0", shard or (),
    )  # fmt: skip


def _codecs(codecs: Any) -> tuple[tuple[str, ...], bool]:
    """The names of those that pack bytes, and whether numbers are little-endian."""
    names, little = [], True
    for codec in codecs:
        if codec["name"] == "bytes":
            little = codec.get("configuration", {}).get("endian", "little") == "little"
        else:
            names.append(str(codec["name"]))
    return tuple(names), little


def _fetcher(description: Description, get: Get) -> Callable[[tuple[int, ...]], bytes | None]:
    """How to get a chunk by its index. A shard ends in a table of its chunks' places and sizes, and a checksum."""
    shard = description.shard
    if not shard:
        return lambda index: get(description.key(index))
    count = math.prod(shard)
    cached: dict[str, bytes | None] = {}

    def fetch(index: tuple[int, ...]) -> bytes | None:
        key = description.key(tuple(n // size for n, size in zip(index, shard, strict=True)))
        if key not in cached:
            cached.clear()
            cached[key] = get(key)
        data = cached[key]
        if data is None or len(data) < 16 * count + 4:
            return None
        table = np.frombuffer(data[len(data) - 16 * count - 4 : len(data) - 4], "<u8").reshape(count, 2)
        at, size = map(int, table[np.ravel_multi_index(tuple(n % s for n, s in zip(index, shard, strict=True)), shard)])
        return data[at : at + size] if at + size <= len(data) else None

    return fetch


def read(path: Path, name: str, description: Description, get: Get) -> Array:
    """The array, chunk by chunk. A chunk that is not there is refused: orbax stores all of them."""
    shape, chunk = description.shape, description.chunk
    kind = np.dtype("u2" if description.dtype == "bfloat16" else description.dtype)
    counts = [-(-size // length) for size, length in zip(shape, chunk, strict=True)] if math.prod(shape) else [0]
    chunk_bytes = math.prod(chunk) * kind.itemsize
    if math.prod(counts) > _MOST_CHUNKS or chunk_bytes > max(_LARGEST_CHUNK, math.prod(shape) * kind.itemsize):
        raise CheckpointError(f"{path}: {name!r} has too many or too large chunks. {AGAIN}")
    fetch = _fetcher(description, get)
    pieces: list[tuple[tuple[slice, ...], Array]] = []
    for index in itertools.product(*map(range, counts)):
        data = fetch(index)
        if data is None:
            raise CheckpointError(f"{path}: {name!r} lacks its chunk {list(index)}. {AGAIN}")
        for codec in reversed(description.codecs):
            data = unpack(path, codec, data, chunk_bytes)
        if len(data) != chunk_bytes:
            raise CheckpointError(f"{path}: {name!r} has a chunk of {len(data)} bytes, not {chunk_bytes}. {AGAIN}")
        values = np.frombuffer(data, kind.newbyteorder("<" if description.little else ">"))
        where = tuple(slice(n * length, (n + 1) * length) for n, length in zip(index, chunk, strict=True))
        pieces.append((where, values.reshape(chunk, order=description.order)))  # type: ignore[call-overload]
    whole = np.empty(shape, kind)
    for where, values in pieces:
        inside = whole[where]
        inside[...] = values[tuple(slice(0, size) for size in inside.shape)]
    return (whole.astype(np.uint32) << 16).view(np.float32) if description.dtype == "bfloat16" else whole


def unpack(path: Path, codec: str, data: bytes, most: int) -> bytes:
    """Unpack a piece of data to at most so many bytes. Raises CheckpointError."""
    if codec == "zstd":
        zstandard = library("zstandard", "orbax", "orbax's")
        size = zstandard.frame_content_size(data)
        if size > most:
            raise CheckpointError(f"{path}: unpacks to {size} bytes, more than {most}. {AGAIN}")
        return bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=most if size < 0 else size))
    if codec in ("zlib", "gzip"):
        unpacker = zlib.decompressobj(wbits=47)
        unpacked = unpacker.decompress(data, most)
        if not unpacker.eof:
            raise CheckpointError(f"{path}: unpacks to more than {most} bytes. {AGAIN}")
        return unpacked
    raise CheckpointError(f"{path}: is packed with {codec!r}, which orbax never does. Save it again with zstd.")
