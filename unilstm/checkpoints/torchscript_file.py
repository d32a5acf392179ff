"""TorchScript archives: the tensors of the program's modules. The program itself is neither run nor read.

An archive is a zip with data.pkl (the modules' attributes, a pickle), code/ (the program) and data/ (the tensors).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN, Contents, Entry
from .nesting import Leaf, leaves
from .pickles import Names, PlainUnpickler, Refused, read_plain
from .torch_storage import Storage, Storages, native

_KINDS = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}


class Module(dict[str, Any]):
    """Stands for an object of the program: its attributes."""

    def set_state(self, state: Any) -> None:
        self.update(state if isinstance(state, dict) else {})


@dataclass(frozen=True)
class Kind:
    """Stands for torch.FloatStorage and its like."""

    dtype: str


@dataclass(frozen=True)
class Tensor:
    """A tensor as the pickle describes it: where in which part of the file."""

    part: str
    dtype: str
    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild(storage: Any, start: Any, shape: Any, stride: Any, *rest: Any) -> Tensor:
    numbers = (start, *shape, *stride)
    if not isinstance(storage, tuple) or len(shape) != len(stride) or not all(isinstance(n, int) for n in numbers):
        raise Refused("a tensor that is none")
    return Tensor(storage[0], storage[1], start, tuple(shape), tuple(stride))


def _same(value: Any, *rest: Any) -> Any:
    return value


_KNOWN: Names = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch.jit._pickle", "restore_type_tag"): _same,
    **{("torch.jit._pickle", f"build_{kind}list"): _same for kind in ("int", "tensor", "double", "bool")},
    ("__torch__", "Module"): Module,
}


class _Unpickler(PlainUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return Module
        if module == "torch" and name.removesuffix("Storage") in _KINDS:
            return Kind(_KINDS[name.removesuffix("Storage")])
        return super().find_class(module, name)


def read(path: Path, found: list[zipfile.ZipInfo]) -> Contents:
    """Open an archive that archives.parts has looked over."""
    storages = Storages(path, found)
    if not native(storages):
        raise CheckpointError(f"{path}: was written by a machine of another byte order. Save its state_dict there.")
    folder = next(part.filename.partition("/")[0] for part in found)
    index = storages.by_name.get(f"{folder}/data.pkl")
    if index is None:
        raise CheckpointError(f"{path}: is a TorchScript archive without data.pkl. {AGAIN}")
    data = index.bytes()

    def persistent(pid: Any) -> tuple[str, str]:
        if not isinstance(pid, tuple) or len(pid) < 3 or not isinstance(pid[1], Kind) or not isinstance(pid[2], str):
            raise Refused("a reference to something that is no tensor")
        return f"{folder}/data/{pid[2]}", pid[1].dtype

    loaded = read_plain(path, io.BytesIO(data), len(data), _KNOWN, persistent, _Unpickler)
    return Contents(path, {leaf.name: _entry(path, storages, leaf) for leaf in leaves(path, loaded, _is_tensor)})


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _entry(path: Path, storages: Storages, leaf: Leaf) -> Entry:
    tensor: Tensor = leaf.value
    storage = storages.by_name.get(tensor.part)

    def read_() -> Array:
        if not isinstance(storage, Storage):
            raise CheckpointError(f"{path}: has no part {tensor.part!r}, where {leaf.name!r} should be. {AGAIN}")
        return storage.read(leaf.name, tensor.dtype, tensor.shape, tensor.stride, tensor.start)

    return Entry(tensor.shape, tensor.dtype, read_)
