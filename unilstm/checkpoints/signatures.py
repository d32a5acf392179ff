"""What a file is by its first bytes, where its suffix says something else."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .contents import AGAIN

_SIGNATURES = (
    (b"PK\x03\x04", "a zip file", "Name it after what wrote it: torch .pt, NumPy .npz, Keras .keras."),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Name it .h5."),
    (b"\x93NUMPY", "an array of NumPy's", "Name it .eqx if equinox wrote it; else save the arrays with numpy.savez."),
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS's", "Fetch what it points to: git lfs pull."),
    (b"\x1f\x8b", "a gzip file", "Unpack it."),
    (b"<", "a page of HTML or XML", "Download the file itself."),
)
_PICKLE = b"\x80"  # of protocol 2 and later


def refuse_other(path: Path, kind: str, *, pickle: bool = False) -> None:
    """Raise CheckpointError for a file that starts as one of another type. kind: what its suffix says it is.

    pickle: does every file of its own type start as a pickle does, since protocol 2?
    """
    with path.open("rb") as file:
        start = file.read(64)
    for signature, what, cure in _SIGNATURES:
        if start.startswith(signature):
            raise CheckpointError(f"{path}: is {what}, not {kind}. {cure}")
    if start[4:9] == b"\0\0\0\0{":  # the length of a header, which is JSON
        raise CheckpointError(f"{path}: is a safetensors file, not {kind}. Name it .safetensors.")
    if pickle and not start.startswith(_PICKLE):
        raise CheckpointError(f"{path}: starts with {start[:12]!r}, which {kind} does not. {AGAIN}")
