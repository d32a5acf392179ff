"""JSON out of a file that may be made to do harm: counted before an object is made of each of its values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .contents import AGAIN

LONGEST = 16 << 20  # bytes; the configuration of a model with a thousand layers has one MB
_MOST = 500_000  # values, each of which may take two hundred bytes


def parse(path: Path, data: bytes, what: str) -> Any:
    """The value of a text. what: what an error calls it. Raises CheckpointError for one too long, and for no JSON."""
    _check_length(path, len(data), what)
    count = sum(map(data.count, (b",", b"[", b"{")))
    if count > _MOST:
        raise CheckpointError(f"{path}: {what} has {count:,} values, more than {_MOST:,}. {AGAIN}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path}: {what} is not JSON ({problem}). {AGAIN}") from None


def parse_file(path: Path) -> Any:
    """The value of a whole file."""
    _check_length(path, path.stat().st_size, "its text")
    return parse(path, path.read_bytes(), "its text")


def _check_length(path: Path, length: int, what: str) -> None:
    if length > LONGEST:
        raise CheckpointError(f"{path}: {what} is longer than {LONGEST:,} bytes. {AGAIN}")
