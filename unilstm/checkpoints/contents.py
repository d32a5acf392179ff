"""What a checkpoint file holds: arrays by name, none read before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array


@dataclass(frozen=True)
class Entry:
    """One array of a file. dtype: NumPy's name for it, or "bfloat16", or the file's own where NumPy has none.

    read: the values, exactly; bfloat16 as float32, which holds every bfloat16.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]


@dataclass(frozen=True)
class Contents:
    """An opened file. metadata: text by key, where the format has such."""

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def dtypes(self, names: Iterable[str]) -> str:
        """The dtypes of some arrays: one name, or several joined by "+"."""
        return "+".join(sorted({self.entries[name].dtype for name in names}))


class Arrays(Mapping[str, Array]):
    """Some arrays of a file, each read when it is looked up.

    dtype: what to convert floating-point arrays to, or None to take them as they are. bfloat16 needs one: NumPy has no
    such type, and choosing another silently would change what the caller saves next.
    """

    def __init__(self, contents: Contents, names: Iterable[str], dtype: str | None) -> None:
        self._contents, self._names, self._dtype = contents, tuple(names), dtype

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        entry = self._contents.entries[name]
        if entry.dtype == "bfloat16" and self._dtype is None:
            raise CheckpointError(
                f"{self._contents.path}: {name!r} is bfloat16, which NumPy does not have. "
                'Pass dtype="float32" (--dtype float32): float32 holds every bfloat16 exactly.'
            )
        array = entry.read()
        wanted = self._dtype if self._dtype is not None and np.issubdtype(array.dtype, np.floating) else array.dtype
        return array.astype(wanted, copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
