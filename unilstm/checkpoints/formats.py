"""Which file type a path is, by its suffix; and what can be said of a path before it is opened."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from ..errors import CheckpointError
from ..parameters import Array
from ..weights import Weights
from .contents import Contents, Entry, reading


class Format(Protocol):
    """A file type: one module of this package."""

    DEFAULT_LAYOUT: str | None  # what is written unless told otherwise; None is the canonical form

    def read(self, path: Path, **more: Any) -> Contents: ...

    def write(self, path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None: ...

    def export(self, path: Path, weights: Weights, inputs: tuple[str, ...]) -> None:
        """In the place of write() where a file is a graph."""


class Kind(NamedTuple):
    """A file type before its module is loaded, which may need a library.

    tested: whose files are read in the tests, and what reads there those that are written, with its version. layouts:
    those of its files, where they are of one system; None for a type that holds arrays of any names, and so any beside
    an LSTM. prefixes: can something stand before the names of one system? graph: is it a graph, which has no layout to
    choose, and is exported?
    """

    module: str
    suffixes: tuple[str, ...]
    tested: str
    layouts: tuple[str, ...] | None = None
    writes: bool = True
    prefixes: bool = False
    graph: bool = False

    def load(self) -> Format:
        """Its module."""
        return cast(Format, import_module(f".{self.module}", __package__))


_HDF5 = ("keras", "keras-cudnn", "addons-peephole", "addons-layer-norm", "elmo")
_TREES = ("flax", "nnx")
KINDS = (
    Kind("safetensors_file", (".safetensors",), "safetensors 0.8"),
    Kind("torch_file", (".pt", ".pth", ".bin", ".ckpt"), "torch 2.13"),
    Kind("paddle_file", (".pdparams",), "paddlepaddle 3.3"),
    Kind("npz_file", (".npz",), "numpy 2.4"),
    Kind("onnx_file", (".onnx",), "onnxruntime 1.31", ("onnx",), graph=True),
    Kind("keras_model", (".keras",), "keras 3.15", ("keras",)),
    Kind("keras_weights", (".weights.h5",), "keras 3.15", ("keras",)),
    Kind("keras_file", (".h5", ".hdf5"), "keras 3.15", _HDF5, writes=False),
    Kind("flax_file", (".msgpack",), "flax 0.12", _TREES, prefixes=True),
    Kind("equinox_file", (".eqx",), "equinox 0.13", ("equinox",), writes=False),
    Kind("mxnet_file", (".params",), "mxnet 1.9", ("mxnet",), writes=False),
    Kind("sharded_file", (".safetensors.index.json", ".bin.index.json"), "safetensors 0.8", writes=False),
)
# Folders are told by what is in them, not by a suffix.
ORBAX = Kind("orbax_folder", ("a folder of orbax's",), "orbax-checkpoint 0.12", _TREES, writes=False)
READ = tuple(suffix for kind in KINDS for suffix in kind.suffixes)
WRITTEN = tuple(suffix for kind in KINDS if kind.writes for suffix in kind.suffixes)


def kind_of(path: Path, *, writing: bool = False) -> Kind:
    """The file type of a path. Raises CheckpointError for a suffix that is not supported."""
    name = path.name.lower()
    for kind in KINDS:
        if name.endswith(kind.suffixes) and (kind.writes or not writing):
            return kind
    supported = WRITTEN if writing else READ
    suffix = path.suffix.lower()
    what = f"{suffix} files are" if suffix else "a file without a suffix is"
    if writing and name.endswith(READ):
        raise CheckpointError(
            f"{path}: {what} only read. Written are: {', '.join(supported)}. The way round: write what "
            "weights.to_layout(layout) returns with that system's own library."
        )
    raise CheckpointError(
        f"{path}: {what} not supported. Supported: {', '.join(supported)}. The way "
        "round: read the arrays with the library that wrote them and pass them to unilstm.Weights.from_layout("
        "layout, arrays), or write what weights.to_layout(layout) returns."
    )


# What a folder holds where it is a model in the manner of Hugging Face; the first that is there is opened.
_IN_FOLDERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

_LISTED = 10  # checkpoints in a folder, in a message


def open_checkpoint(path: Path, template: Any = None) -> Contents:
    """Open a file or folder of any supported type. Raises CheckpointError; nothing in it is executed.

    template: what an .eqx file was saved from.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise CheckpointError(f"{path}: cannot be opened ({reason}). Check the path and its permissions.") from None
    if stat.S_ISDIR(status.st_mode):
        return _open_folder(path)
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path}: is not a regular file. Give the path of a checkpoint file: {', '.join(READ)}.")
    chosen = kind_of(path).load()
    if status.st_size == 0:
        raise CheckpointError(f"{path}: is empty. Copy or download it again.")
    more = {} if template is None else {"template": template}
    if more and not path.name.lower().endswith(".eqx"):
        raise CheckpointError(f"{path}: template= was given, but only .eqx files need one. Leave it out.")
    with reading(path):
        return chosen.read(path, **more)


def _open_folder(path: Path) -> Contents:
    """A folder of orbax's (or of its manager's: one step), or one with a model's file in it."""
    from . import orbax_folder

    for folder in (path, path / "default"):
        if orbax_folder.is_checkpoint(folder):
            with reading(path):
                return orbax_folder.read(folder)
    for name in _IN_FOLDERS:
        if (path / name).is_file():
            return open_checkpoint(path / name)
    with reading(path):
        several = orbax_folder.within(path)
    if several:
        listed = ", ".join(map(repr, several[-_LISTED:]))
        raise CheckpointError(
            f"{path}: is a folder above {len(several)} checkpoints of orbax's, of which the last: {listed}. Give the "
            f"path of one, such as {path / several[-1]}."
        )
    raise CheckpointError(
        f"{path}: is a folder, but none of orbax's, and has no {', '.join(_IN_FOLDERS)}. Give the path of a checkpoint "
        f"file: {', '.join(READ)}."
    )


def library(name: str, extra: str, files: str) -> Any:
    """A library that a file type needs. Raises CheckpointError with the command that installs it."""
    try:
        return import_module(name)
    except ImportError:
        raise CheckpointError(
            f'{name} is not installed, which {files} files need. Run: pip install "unilstm[{extra}]".'
        ) from None
