"""zip files, which .pt, .npz and .keras files are: looked over before any part of them is believed."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .contents import AGAIN, check_count

_CHUNK = 1 << 20
_HEADER = 30  # bytes of a part's own header, before its name and its extra field
_PART = b"PK\x01\x02"  # what a part's line in the directory starts with
_LONGEST_DIRECTORY = 32 << 20  # bytes; that of a hundred thousand parts with long names


class _Counting(io.FileIO):
    """A zip file whose directory is counted before an object is made of each of its lines: a million take 500 MB."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.path = path

    def read(self, size: int | None = -1) -> bytes:
        most = _LONGEST_DIRECTORY if size is None or size < 0 else size
        if most > _LONGEST_DIRECTORY:
            raise CheckpointError(f"{self.path}: claims a directory of {size:,} bytes. {AGAIN}")
        data = super().read(most)
        check_count(self.path, data.count(_PART))
        return data


def parts(path: Path, *, compressed: bool = False, compressed_below: str = "") -> list[zipfile.ZipInfo]:
    """The parts of a zip file, once it is known to be whole, and not to unpack to more than it is.

    compressed: may parts be deflated? NumPy's may; torch and Keras never compress arrays, so there it is a sign of a
    bomb. compressed_below: a folder whose parts may be, because nothing reads them (TorchScript's programs).
    """
    try:
        with _Counting(path) as file, zipfile.ZipFile(file) as archive:
            found = archive.infolist()
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        raise CheckpointError(f"{path}: is not a whole zip file ({problem}). {AGAIN}") from problem
    check_count(path, len(found))
    names = [part.filename for part in found]
    if len(set(names)) < len(names):
        raise CheckpointError(f"{path}: has two parts of one name. {AGAIN}")
    allowed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if compressed else (zipfile.ZIP_STORED,)
    believed = [p for p in found if not (compressed_below and f"/{compressed_below}" in p.filename)]
    packed = next((part for part in believed if part.compress_type not in allowed), None)
    if packed is not None:
        raise CheckpointError(
            f"{path}: its part {packed.filename!r} is compressed, as its writer never does. Unpack the file and pack "
            "it without compression, if you trust it."
        )
    stored = [part for part in found if part.compress_type == zipfile.ZIP_STORED]
    claimed, size = sum(part.file_size for part in stored), path.stat().st_size
    if claimed > size:
        raise CheckpointError(f"{path}: claims {claimed} bytes of data in a file of {size}. {AGAIN}")
    return found


def check_sums(path: Path, found: list[zipfile.ZipInfo]) -> None:
    """Refuse a zip file whose data is not what its checksums say. It is read once through, a piece at a time.

    torch can be told to leave checksums out (torch.serialization.set_crc32_options); then all of them are 0.
    """
    if not any(part.CRC for part in found):
        return
    with zipfile.ZipFile(path) as archive:
        for part in found:
            try:
                with archive.open(part) as file:
                    while file.read(_CHUNK):  # zipfile compares the checksum at the end of a part
                        pass
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as problem:
                raise CheckpointError(f"{path}: its part {part.filename!r} is damaged ({problem}). {AGAIN}") from None


def offset(path: Path, part: zipfile.ZipInfo) -> int:
    """Where in the file the data of a part that is not compressed starts."""
    with path.open("rb") as file:
        file.seek(part.header_offset)
        header = file.read(_HEADER)
    if header[:4] != b"PK\x03\x04":
        raise CheckpointError(f"{path}: its part {part.filename!r} is not where it should be. {AGAIN}")
    return (
        part.header_offset + _HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    )


class PartOf(io.RawIOBase):
    """A part of a file that is a file itself. zipfile's own takes a hundred times as long to go to and fro."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self.file, self.start, self.size, self.at = path.open("rb", buffering=0), start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        self.at = place + (0, self.at, self.size)[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        self.file.seek(self.start + self.at)
        wanted = max(0, min(len(buffer), self.size - self.at))
        count = self.file.readinto(memoryview(buffer)[:wanted]) or 0
        self.at += count
        return count

    def close(self) -> None:
        self.file.close()
        super().close()
