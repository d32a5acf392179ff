"""orbax checkpoints: a folder with a description of the tree and its arrays, in OCDBT files or in a folder each.

Needs zstandard; neither orbax nor TensorStore.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..parameters import Array
from . import ocdbt, zarr_array
from .contents import AGAIN, Contents, Entry, check_count
from .json_text import parse_file
from .zarr_array import Description, Get

METADATA = "_METADATA"
_STEP = "_CHECKPOINT_METADATA"  # in a step of several items, which is no checkpoint itself


def is_checkpoint(folder: Path) -> bool:
    return (folder / METADATA).is_file() or (folder / ocdbt.MANIFEST).is_file()


def within(folder: Path) -> list[str]:
    """The names of the checkpoints in a folder, oldest first: the steps of a CheckpointManager, or a step's items."""
    found = [child.name for child in _children(folder) if any(map(is_checkpoint, (child, child / "default")))]
    found += [child.name for child in _children(folder) if (child / _STEP).is_file() and child.name not in found]
    return sorted(found, key=lambda name: (len(name), name))


def read(folder: Path) -> Contents:
    """Open a checkpoint; arrays are named by their place in the tree, joined by "/"."""
    names = _names(folder)
    if (folder / ocdbt.MANIFEST).is_file():
        values = ocdbt.read(folder)
        keys: Iterable[str] = values
        get: Get = lambda key: values[key].read() if key in values else None  # noqa: E731
    else:
        keys = [f"{child.name}/{kind}" for child in _children(folder) for kind in zarr_array.DESCRIPTIONS]
        get = partial(_file, folder)
    entries: dict[str, Entry] = {}
    for key in keys:
        place, _, kind = key.rpartition("/")
        text = get(key) if kind in zarr_array.DESCRIPTIONS else None
        if text is not None:
            name = names.get(place, place.replace(".", "/"))
            description = zarr_array.describe(folder, name, 2 if kind == ".zarray" else 3, text)
            read_ = partial(_array, folder, name, description, get, place)
            entries[name] = Entry(description.shape, description.dtype, read_)
    return Contents(folder, entries)


def _array(folder: Path, name: str, description: Description, get: Get, place: str) -> Array:
    return zarr_array.read(folder, name, description, lambda key: get(f"{place}/{key}"))


def _children(folder: Path) -> list[Path]:
    found = []
    for count, child in enumerate(folder.iterdir()):
        check_count(folder, count)
        found += [child] if child.is_dir() else []
    return found


def _file(folder: Path, key: str) -> bytes | None:
    path = (folder / key).resolve()
    if folder.resolve() not in path.parents:
        raise CheckpointError(f"{folder}: {key!r} is a link out of the folder. Copy what it points to.")
    return path.read_bytes() if path.is_file() else None


def _names(folder: Path) -> dict[str, str]:
    """How an array's keys in the tree are joined in the store → joined as a path. nnx's last key is "value"."""
    path = folder / METADATA
    if not path.is_file():
        return {}
    said = parse_file(path)
    try:
        tree: Any = said["tree_metadata"]
        keys = [[str(step["key"]) for step in leaf["key_metadata"]] for leaf in tree.values()]
    except (KeyError, TypeError, AttributeError) as problem:
        raise CheckpointError(f"{path}: is not what orbax writes ({problem!r}). {AGAIN}") from None
    check_count(folder, len(keys))
    return {".".join(steps): "/".join(steps[:-1] if steps[-1:] == ["value"] else steps) for steps in keys if steps}
