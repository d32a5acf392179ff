"""HDF5, walked link by link: no file is followed out of, no link twice, no object reference looked at."""

from __future__ import annotations

import contextlib
import math
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN, MOST_ARRAYS, Entry, check_count
from .formats import library
from .json_text import LONGEST

Open = Callable[[], contextlib.AbstractContextManager[Any]]  # an open h5py.File
_DEPTH = 64
_HEAP = b"GCOL\x01\0\0\0"  # how a global heap starts
_RATIO = 4  # times that chunked data may grow when it is unpacked; trained weights hardly shrink


def opener(path: Path) -> Open:
    """How to open an .h5 file by itself."""
    h5py = library("h5py", "keras", "HDF5")

    @contextlib.contextmanager
    def open_() -> Iterator[Any]:
        with h5py.File(path, "r") as file:
            yield file

    return open_


def datasets(path: Path, file: Any) -> dict[str, Any]:
    """Every array of a file, by its place. Raises CheckpointError for links that are not plain ones."""
    h5py = library("h5py", "keras", "HDF5")
    found: dict[str, Any] = {}
    met: set[Any] = set()

    def walk(group: Any, place: str, depth: int) -> None:
        address = h5py.h5o.get_info(group.id).addr
        if address in met or depth > _DEPTH:
            raise CheckpointError(f"{path}: {place or '/'!r} links back into itself or too deep. {AGAIN}")
        met.add(address)
        check_count(path, len(group) + len(met))
        for name in group:
            where = f"{place}/{name}" if place else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{path}: {where!r} links to somewhere else, which Keras never writes. {AGAIN}")
            item = group[name]
            if isinstance(item, h5py.Group):
                walk(item, where, depth + 1)
            elif isinstance(item, h5py.Dataset):
                found[where] = item
        check_count(path, len(found))

    _count_links(path, file)
    walk(file, "", 0)
    return found


def _count_links(path: Path, file: Any) -> None:
    """Refuse a file of too many names before any of them is opened. The library passes every link once."""
    count = 0

    def one(_: bytes) -> bool | None:
        nonlocal count
        count += 1
        return count > MOST_ARRAYS or None  # anything but None ends it; an error would be lost in the library

    file.id.links.visit(one)
    check_count(path, count)


def check_texts(path: Path, names: tuple[str, ...]) -> None:
    """Refuse a file that has a text attribute longer than itself, or than any text is.

    The library makes room for as many bytes as the attribute says it has, four billion perhaps, before it looks for
    them; and it cannot be asked for the number. So the attributes are looked for in the bytes of the file: a header of
    eight or nine bytes, the name, a type (class 9: of variable length), a shape, and then the length. The heaps where
    such texts lie are walked, too, because the library can walk a damaged one for ever.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_HEAP)
        while at >= 0:
            _check_heap(path, data, at)
            at = data.find(_HEAP, at + 1)
        for name in names:
            needle = name.encode() + b"\0"
            at = data.find(needle)
            while at >= 0:
                for header in (at - 8, at - 9):
                    length = _claimed(data, header, at, len(needle))
                    if length > min(len(data), LONGEST):
                        raise CheckpointError(f"{path}: its attribute {name!r} claims {length:,} bytes. {AGAIN}")
                at = data.find(needle, at + 1)


def _check_heap(path: Path, data: Any, at: int) -> None:
    """A global heap: its size, and objects one after the other, the last of which is what is left free."""
    (size,) = struct.unpack("<Q", data[at + 8 : at + 16])
    place = 16
    while place + 16 <= size and at + size <= len(data):
        index, length = struct.unpack("<H6xQ", data[at + place : at + place + 16])
        step = length if index == 0 else 16 + -(-length // 8) * 8
        if step < 16 or place + step > size:
            raise CheckpointError(f"{path}: its texts at {at} are damaged. {AGAIN}")
        place += step
    if at + size > len(data):
        raise CheckpointError(f"{path}: its texts at {at} go on past the end of the file. {AGAIN}")


def _claimed(data: Any, header: int, at: int, name_size: int) -> int:
    """The length that an attribute of variable length claims; 0 where there is none here."""
    if header < 0 or data[header] not in (1, 2, 3):
        return 0
    sizes = struct.unpack("<HHH", data[header + 2 : header + 8])
    pad = 8 if data[header] == 1 else 1
    name, type_, shape = (-(-size // pad) * pad for size in sizes)
    where = at + name + type_ + shape
    if sizes[0] != name_size or where + 4 > len(data) or data[at + name] & 0x0F != 9:
        return 0
    return int(struct.unpack("<I", data[where : where + 4])[0])


def entry(path: Path, open_: Open, place: str, dataset: Any) -> Entry:
    """One array of a file, not read yet."""
    return Entry(tuple(dataset.shape or ()), dataset.dtype.name, lambda: _array(path, open_, place))


def text(path: Path, attributes: Any, name: str) -> str | None:
    """An attribute that is text; None where there is none of this name."""
    if name not in attributes:
        return None
    if attributes.get_id(name).get_storage_size() > LONGEST:
        raise CheckpointError(f"{path}: its attribute {name!r} is longer than {LONGEST:,} bytes. {AGAIN}")
    library_ = library("h5py", "keras", "HDF5")
    if library_.check_string_dtype(attributes.get_id(name).dtype) is None:
        return None
    value = attributes[name]
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _array(path: Path, open_: Open, place: str) -> Array:
    with open_() as file:
        dataset = file[place]
        size, held = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if dataset.external or dataset.is_virtual:
            raise CheckpointError(f"{path}: {place!r} has its data in another file, which Keras never does. {AGAIN}")
        if dataset.dtype.kind not in "fiub" or size > (held if dataset.chunks is None else _RATIO * held):
            raise CheckpointError(f"{path}: {place!r} claims {size} bytes of {dataset.dtype}, holds {held}. {AGAIN}")
        return np.asarray(dataset[()])
