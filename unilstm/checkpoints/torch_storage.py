"""A tensor inside a zip file of torch, read from its place in the file without torch and without the others."""

from __future__ import annotations

import math
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .archives import offset
from .contents import AGAIN

_CHUNK = 1 << 22
DTYPES = {
    **{f"float{bits}": f"f{bits // 8}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{"uint8": "u1", "bool": "?", "bfloat16": "u2", "complex64": "c8", "complex128": "c16"},
}


@dataclass(frozen=True)
class Storage:
    """The bytes of one or several tensors, in this machine's order. crc: their checksum; None where there is none."""

    path: Path
    offset: int
    size: int
    crc: int | None

    def read(self, name: str, dtype: str, shape: tuple[int, ...], stride: tuple[int, ...], start: int) -> Array:
        """The tensor of this shape and stride, both in elements, as a copy; bfloat16 as float32."""
        if dtype not in DTYPES:
            raise CheckpointError(
                f"{self.path}: {name!r} is torch.{dtype}, which no backend computes in. Save it as .float()."
            )
        kind = np.dtype(DTYPES[dtype])
        last = start + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        count = math.prod(shape)
        outside = min((start, *stride)) < 0 or (count and (last + 1) * kind.itemsize > self.size)
        if outside or count * kind.itemsize > self.size:  # strides of 0 can make 4 bytes look like a terabyte
            raise CheckpointError(f"{self.path}: {name!r} claims {count} elements but holds {self.size} bytes. {AGAIN}")
        if not count:
            return np.zeros(shape, DTYPES[dtype] if dtype != "bfloat16" else "f4")
        self._check()
        data = np.memmap(self.path, np.uint8, "r", self.offset, (self.size // kind.itemsize * kind.itemsize,))
        steps = tuple(step * kind.itemsize for step in stride)
        whole = np.ndarray(shape, kind, data, start * kind.itemsize, steps)
        if dtype == "bfloat16":
            return (whole.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(whole)

    def bytes(self) -> bytes:
        self._check()
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def _check(self) -> None:
        if self.crc is None:
            return
        found, left = 0, self.size
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while left:
                data = file.read(min(_CHUNK, left))
                if not data:
                    break
                found, left = zlib.crc32(data, found), left - len(data)
        if found != self.crc:
            raise CheckpointError(f"{self.path}: its data at {self.offset} is damaged. {AGAIN}")


class Storages:
    """All parts of a torch file by the place of their data, and by name."""

    def __init__(self, path: Path, found: list[zipfile.ZipInfo]) -> None:
        self.path = path
        sums = any(part.CRC for part in found)
        self.by_name = {
            part.filename: Storage(path, offset(path, part), part.file_size, part.CRC if sums else None)
            for part in found
            if part.compress_type == 0
        }
        self.by_offset = {storage.offset: storage for storage in self.by_name.values()}


def native(storages: Storages) -> bool:
    """Are the numbers of a torch file in this machine's order? They are unless a part says otherwise."""
    said = [part for name, part in storages.by_name.items() if name.partition("/")[2] == "byteorder"]
    return all(part.size <= 16 and part.bytes() == sys.byteorder.encode() for part in said)
