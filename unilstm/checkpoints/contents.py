"""What a checkpoint file holds: arrays by name, none read before it is asked for; and the LSTMs that it describes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, UnilstmError
from ..parameters import Array

MOST_ARRAYS = 100_000  # the largest models have some ten thousand; a file with a million names is made to keep us busy
_LEAST, _RATIO = 64 << 20, 16  # bytes that any checkpoint may have, and how much larger others may be than they lie
_ITEMS = {f"{kind}{bits}": bits // 8 for kind in ("float", "int", "uint") for bits in (8, 16, 32, 64)} | {"bfloat16": 2}
_MOST_PARTS = 1_000_000  # of all names together
AGAIN = "It is truncated, damaged, or of another type under this name. Copy or download it again."


@dataclass(frozen=True)
class Entry:
    """One array of a file. dtype: NumPy's name for it, or "bfloat16", or the file's own where NumPy has none.

    read: the values, exactly; bfloat16 as float32, which holds every bfloat16. holder: what the names of all arrays
    that lie in the same dict start with, where a file nests dicts.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]
    holder: str = ""


def values(what: Array | Entry) -> Array:
    """The values of what is to be written: an array, or one of another file that is read now."""
    return what.read() if isinstance(what, Entry) else what


@dataclass(frozen=True)
class Place:
    """Where an LSTM is in a file, and what is known of it.

    names: its arrays. config: the layout's arguments, where the file says them. fields: fields of the spec that the
    layout's arguments cannot say. uncertain: what must be settled before it is read: by the caller's layout, or by the
    caller's config where config_settles. assumed: what the file does not say and is taken as usual unless config says
    otherwise, or what of it is not translated. problem: why it cannot be read. said: what the file says beyond the LSTM
    itself, such as whether a layer returns sequences.
    """

    layout: str
    prefix: str
    names: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    uncertain: str | None = None
    assumed: str | None = None
    problem: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    config_settles: bool = False


@dataclass(frozen=True)
class Contents:
    """An opened file. metadata: text by key, where the format has such. told: the LSTMs that the file itself describes
    (a model's configuration, a graph); others are found by names and shapes."""

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)
    told: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        check_count(self.path, len(self.entries))
        prefixes = [place.prefix for place in self.told]
        for text in (*self.entries, *self.metadata, *self.metadata.values(), *prefixes):
            if not isinstance(text, str):  # protobuf gives bytes that are no UTF-8 as they are
                raise CheckpointError(f"{self.path}: has a name that is not text: {text[:40]!r}. {AGAIN}")
        parts = sum(name.count(".") + name.count("/") + name.count(":") for name in self.entries)
        if parts > _MOST_PARTS:  # each may be where an LSTM's prefix ends
            raise CheckpointError(f"{self.path}: has names of {parts:,} parts, more than {_MOST_PARTS:,}. {AGAIN}")

    def dtypes(self, names: Iterable[str]) -> str:
        """The dtypes of some arrays: one name, or several joined by "+"."""
        return "+".join(sorted({self.entries[name].dtype for name in names}))


class Arrays(Mapping[str, Array]):
    """Some arrays of a file, each read when it is looked up.

    dtype: what to convert floating-point arrays to, or None to take them as they are. bfloat16 needs one: NumPy has no
    such type, and choosing another silently would change what the caller saves next.
    """

    def __init__(self, contents: Contents, names: Iterable[str], dtype: str | None) -> None:
        self._contents, self._names, self._dtype = contents, dict.fromkeys(names), dtype
        _check_sizes(contents, self._names)

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        entry = self._contents.entries[name]
        if entry.dtype == "bfloat16" and self._dtype is None:
            raise CheckpointError(
                f"{self._contents.path}: {name!r} is bfloat16, which NumPy does not have. "
                'Pass dtype="float32" (--dtype float32): float32 holds every bfloat16 exactly.'
            )
        with reading(self._contents.path, name):
            array = entry.read()
        wanted = self._dtype if self._dtype is not None and np.issubdtype(array.dtype, np.floating) else array.dtype
        return array.astype(wanted, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _check_sizes(contents: Contents, names: Iterable[str]) -> None:
    """Refuse arrays that come to far more bytes than there are: many can be the same few bytes of a file, or packed."""
    entries = [contents.entries[name] for name in names]
    claimed = sum(math.prod(entry.shape) * _ITEMS.get(entry.dtype, 1) for entry in entries)
    if claimed > _LEAST and claimed > _RATIO * _held(contents.path):
        raise CheckpointError(f"{contents.path}: its arrays claim {claimed:,} bytes, far more than it has. {AGAIN}")


def _held(path: Path) -> int:
    """The bytes of a checkpoint: of a file; of all below a folder; of all beside an index or a model."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.suffix in (".json", ".onnx"):
        return sum(file.stat().st_size for file in folder.glob("**/*" if path.is_dir() else "*") if file.is_file())
    return path.stat().st_size


def check_count(path: Path, count: int) -> None:
    if count > MOST_ARRAYS:
        raise CheckpointError(
            f"{path}: has {count:,} arrays or names; unilstm opens files with up to {MOST_ARRAYS:,}. "
            "Save the LSTM's arrays to a file of their own."
        )


@contextlib.contextmanager
def reading(path: Path, name: str | None = None) -> Iterator[None]:
    """Whatever a parser raises over a hostile or damaged file is a CheckpointError that names the file and the array.

    All exceptions are caught here: parsers raise anything (struct.error, RecursionError, OverflowError, MemoryError, …)
    when they are given anything.
    """
    where = f"{path}: {name!r}" if name is not None else f"{path}:"
    try:
        yield
    except UnilstmError:
        raise
    except MemoryError:
        raise CheckpointError(f"{where} claims more data than there is memory for. {AGAIN}") from None
    except Exception as problem:
        raise CheckpointError(f"{where} cannot be read ({reason(problem)}). {AGAIN}") from problem


def reason(problem: Exception) -> str:
    """What another library's exception says, in one line."""
    line = next(iter(str(problem).strip().splitlines()), "")
    return f"{type(problem).__name__}: {line[:200]}".rstrip(": .")
