"""Nested dicts and lists, which most checkpoints are: their arrays by place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CheckpointError
from .contents import check_count

_LONGEST = 1024  # characters of a name: that of a long key would be a part of the name of all that lies below it
_DEPTH = 64  # nesting of dicts and lists; real checkpoints have two or three levels


class Leaf(NamedTuple):
    """name: the keys on the way to it, joined. holder: what the names of all that lie in the same dict start with."""

    name: str
    holder: str
    value: Any


def leaves(path: Path, loaded: Any, wanted: Callable[[Any], bool], separator: str = ".") -> list[Leaf]:
    """Every wanted value of nested dicts, lists and tuples. Raises CheckpointError for two of one name, too many, or
    too deep a nesting.

    A container met twice counts once: a pickle can hold itself, or fan out without end.
    """
    met: set[int] = set()

    def walk(value: Any, holder: str, key: str, depth: int) -> Iterator[Leaf]:
        if len(holder) + len(key) > _LONGEST:
            raise CheckpointError(
                f"{path}: has a name of more than {_LONGEST:,} characters. Save its arrays under shorter names."
            )
        if wanted(value):
            yield Leaf(holder + key, holder, value)
        elif isinstance(value, (dict, list, tuple)) and id(value) not in met:
            met.add(id(value))
            if depth >= _DEPTH:
                raise CheckpointError(f"{path}: is nested more than {_DEPTH} levels deep. Save its arrays in one dict.")
            check_count(path, len(value))
            inside = holder + key + separator if depth else ""
            for name, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(part, inside, str(name), depth + 1)

    found: dict[str, Leaf] = {}
    for leaf in walk(loaded, "", "", 0):
        if leaf.name in found:
            raise CheckpointError(f"{path}: two arrays come to the name {leaf.name!r}. Save its arrays in one dict.")
        found[leaf.name] = leaf
        check_count(path, len(found))
    return list(found.values())
