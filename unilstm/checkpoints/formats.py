"""Which file type a path is, by its suffix; and what can be said of a path before it is opened."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

from ..errors import CheckpointError
from ..parameters import Array
from .contents import Contents

_TORCH = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *_TORCH)


class Format(Protocol):
    """A file type: one module of this package."""

    DEFAULT_LAYOUT: str | None  # what save() writes unless told otherwise; None is the canonical form

    def read(self, path: Path) -> Contents: ...

    def write(self, path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None: ...


def format_of(path: Path) -> Format:
    """The file type of a path. Raises CheckpointError for a suffix that is not supported."""
    suffix = path.suffix.lower()
    module: ModuleType
    if suffix == ".safetensors":
        from . import safetensors_file as module
    elif suffix in _TORCH:
        from . import torch_file as module
    else:
        kind = f"{suffix} files are" if suffix else "a file without a suffix is"
        raise CheckpointError(
            f"{path}: {kind} not supported yet. Supported: {', '.join(SUFFIXES)}. The way "
            "round: read the arrays with the library that wrote them and pass them to unilstm.Weights.from_layout("
            "layout, arrays), or write what weights.to_layout(layout) returns."
        )
    return cast(Format, module)


def open_checkpoint(path: Path) -> Contents:
    """Open a file of any supported type. Raises CheckpointError; nothing in the file is executed."""
    try:
        status = path.stat()
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise CheckpointError(f"{path}: cannot be opened ({reason}). Check the path and its permissions.") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise CheckpointError(f"{path}: is {kind}. Give the path of a checkpoint file: {', '.join(SUFFIXES)}.")
    chosen = format_of(path)
    if status.st_size == 0:
        raise CheckpointError(f"{path}: is empty. Copy or download it again.")
    return chosen.read(path)
