"""OCDBT, TensorStore's key-value files, in which orbax keeps its arrays: what is stored under which key.

A manifest points at the root of a B+tree; its leaves hold values or point at them in data files. Written from the
format's description (tensorstore 0.1, kvstore/ocdbt). Data files are taken from the database's own folder only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from .contents import AGAIN, check_count
from .zarr_array import unpack

MANIFEST = "manifest.ocdbt"
_MANIFEST, _NODE = 0x0CDB3A2A, 0x0CDB20DE
_LARGEST_NODE = 64 << 20  # bytes unpacked; TensorStore writes up to 8 MiB
_DEPTH = 32


@dataclass(frozen=True)
class Value:
    """What is stored under a key: here, or in a file."""

    size: int
    inline: bytes | None
    file: Path | None = None
    offset: int = 0

    def read(self) -> bytes:
        if self.inline is not None:
            return self.inline
        assert self.file is not None
        with self.file.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise CheckpointError(f"{self.file}: ends in the middle of an array. {AGAIN}")
        return data


class _Reader:
    """The numbers of a node, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def bytes(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise ValueError("it ends in the middle")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        return self.bytes(1)[0]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number without end")

    def varints(self, count: int) -> list[int]:
        return [self.varint() for _ in range(count)]


@dataclass(frozen=True)
class _Table:
    """The data files that a node points at: paths below the database's folder, and what nodes in them stand below."""

    folder: Path
    paths: list[tuple[str, str]]

    def path(self, index: int) -> Path:
        base, relative = self.paths[index]
        found = (self.folder / (base + relative)).resolve()
        if self.folder.resolve() not in found.parents or not found.is_file():
            raise CheckpointError(
                f"{self.folder}: has data in {base + relative!r}, which is no file of its own. Copy the whole folder."
            )
        return found


def read(folder: Path) -> dict[str, Value]:
    """Every key of the newest version of a database, and its value. Raises CheckpointError."""
    path = folder / MANIFEST
    reader = _Reader(_body(path, path.read_bytes(), _MANIFEST))
    reader.bytes(16)  # the database's identity
    if reader.varint():  # which the description leaves out
        raise CheckpointError(f"{path}: keeps its manifest in several files, as orbax never does. {AGAIN}")
    reader.varints(2)
    reader.byte()
    if reader.varint() == 1:
        reader.bytes(4)  # the level that zstd writes with
    table = _table(reader, folder, "")
    count = reader.varint()
    if not 0 < count <= 256:
        raise CheckpointError(f"{path}: has {count} versions of its contents. {AGAIN}")
    reader.varints(count)
    heights = list(reader.bytes(count))
    files, offsets, sizes = (reader.varints(count) for _ in range(3))
    found: dict[str, Value] = {}
    if sizes[-1]:
        _walk(table, files[-1], offsets[-1], sizes[-1], heights[-1], b"", found)
    return found


def _walk(
    table: _Table, file: int, offset: int, size: int, height: int, prefix: bytes, found: dict[str, Value]
) -> None:
    """All keys below a node. A node must be lower than the one that points at it, so that there is no way round."""
    path = table.path(file)
    if height > _DEPTH or size > min(_LARGEST_NODE, path.stat().st_size):
        raise CheckpointError(f"{path}: has a node of {size} bytes, {height} levels up. {AGAIN}")
    reader = _Reader(_body(path, Value(size, None, path, offset).read(), _NODE))
    if reader.byte() != height:
        raise CheckpointError(f"{path}: has a node at another height than it should be. {AGAIN}")
    inner = _table(reader, table.folder, table.paths[file][0])
    count = reader.varint()
    check_count(table.folder, count + len(found))
    shared = [0, *reader.varints(count - 1)] if count else []
    lengths = reader.varints(count)
    common = reader.varints(count) if height else []
    keys = _keys(reader, shared, lengths)
    if height:
        files, offsets, sizes = (reader.varints(count) for _ in range(3))
        for n in range(count):
            below = prefix + keys[n][: common[n]]
            _walk(inner, files[n], offsets[n], sizes[n], height - 1, below, found)
        return
    sizes, kinds = reader.varints(count), reader.varints(count)
    outside = sum(1 for kind in kinds if kind)
    where = iter(zip(reader.varints(outside), reader.varints(outside), strict=True))
    for key, value_size, kind in zip(keys, sizes, kinds, strict=True):
        name = (prefix + key).decode("utf-8", "replace")
        if kind:
            index, start = next(where)
            found[name] = Value(value_size, None, inner.path(index), start)
        else:
            found[name] = Value(value_size, reader.bytes(value_size))


def _keys(reader: _Reader, shared: list[int], lengths: list[int]) -> list[bytes]:
    keys: list[bytes] = []
    for n, (kept, length) in enumerate(zip(shared, lengths, strict=True)):
        keys.append((keys[n - 1][:kept] if n else b"") + reader.bytes(length))
        if len(keys[-1]) > 65535:
            raise ValueError("a key without end")
    return keys


def _table(reader: _Reader, folder: Path, above: str) -> _Table:
    count = reader.varint()
    check_count(folder, count)
    shared = [0, *reader.varints(count - 1)] if count else []
    lengths, bases = reader.varints(count), reader.varints(count)
    paths = [path.decode("utf-8") for path in _keys(reader, shared, lengths)]
    return _Table(folder, [(above + path[:base], path[base:]) for path, base in zip(paths, bases, strict=True)])


def _body(path: Path, data: bytes, magic: int) -> bytes:
    """What is inside the header and the checksum of a manifest or a node."""
    reader = _Reader(data)
    try:
        right = int.from_bytes(reader.bytes(4), "big") == magic
        length = int.from_bytes(reader.bytes(8), "little")
        version, compression = reader.varint(), reader.varint()
    except ValueError as problem:
        raise CheckpointError(f"{path}: is not a part of a database ({problem}). {AGAIN}") from None
    if not right or version or compression > 1 or length > len(data) or length < reader.at + 4:
        raise CheckpointError(f"{path}: is not a part of a database of the kind that is known. {AGAIN}")
    if _crc32c(data[: length - 4]) != int.from_bytes(data[length - 4 : length], "little"):
        raise CheckpointError(f"{path}: is damaged: its checksum is another. {AGAIN}")
    body = data[reader.at : length - 4]
    return unpack(path, "zstd", body, _LARGEST_NODE) if compression else body


def _crc_table() -> list[int]:
    def one(byte: int) -> int:
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, reflected
        return byte

    return [one(byte) for byte in range(256)]


_TABLE = _crc_table()


def _crc32c(data: bytes) -> int:
    table, value = _TABLE, 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
