"""torch.save files, opened by torch.load(weights_only=True) alone: its unpickler builds tensors and nothing else."""

from __future__ import annotations

import mmap
import re
import warnings
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..errors import BackendUnavailable, CheckpointError
from ..parameters import Array
from . import torchscript_file
from .archives import check_sums, offset, parts
from .contents import AGAIN, Contents, Entry, values
from .nesting import Leaf, leaves
from .signatures import refuse_other
from .torch_inert import INERT, Inert
from .torch_rehearsal import check
from .torch_storage import Storages, native

DEFAULT_LAYOUT = "torch"
_STATE_DICT = (
    'Open it in the program that wrote it, and save tensors only: torch.save(model.state_dict(), "weights.pt").'
)
_AFTER_ADVICE = "WeightsUnpickler error:"  # what torch's text has before what its reader says
_PROTOCOL = "Its pickle has what torch's safe reader does not know. Save it again, without pickle_protocol=."
_LARGEST_PICKLE = 8 << 20  # bytes of names and shapes; that of a model with a thousand tensors has a tenth of one MB


def read(path: Path) -> Contents:
    """Open a file; the tensors in nested dicts and lists are named by their place, joined by dots."""
    torch = _torch()
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
        if not zipped:
            refuse_other(path, "a file of torch.save's", pickle=True)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                check(path, data, older=True)
    parts_ = _check_zip(path) if zipped else []
    if any(Path(part.filename).name == "constants.pkl" for part in parts_):
        return torchscript_file.read(path, parts_)
    # Of a zip file only the index is read at first. torch before 2.11 does not say where in it the data is; and it
    # crashes the process when it is to swap the bytes of a tensor without data.
    storages = Storages(path, parts_)
    lazily = zipped and native(storages)
    found = _tensors(torch, path, "meta" if lazily else "cpu")
    places = {leaf.name: _place(torch, leaf.value) for leaf in found} if lazily else {}
    if None in places.values():
        found, places = _tensors(torch, path, "cpu"), {}
    if not places:
        _check_sizes(torch, path, [leaf.value for leaf in found])
    return Contents(path, {leaf.name: _entry(path, leaf, storages, places.get(leaf.name)) for leaf in found})


def _tensors(torch: Any, path: Path, device: str) -> list[Leaf]:
    zipped = zipfile.is_zipfile(path)
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals([(Inert, name) for name in INERT]),
        ):
            warnings.simplefilter("ignore")  # of torch about its own deprecated storages
            loaded = torch.load(path, map_location=device, weights_only=True, mmap=zipped)
    except MemoryError:
        raise CheckpointError(f"{path}: claims more data than there is memory for. {AGAIN}") from None
    except CheckpointError:
        raise
    except Exception as problem:  # a hostile pickle can make the unpickler raise anything
        raise _refused(path, problem) from None  # or a traceback would show torch's advice
    return leaves(path, loaded, lambda value: isinstance(value, torch.Tensor))


def _check_sizes(torch: Any, path: Path, tensors: list[Any]) -> None:
    """Refuse tensors of more bytes than the file has: a pickle can make a torch.Tensor(10**5, 10**5) of nothing."""
    stored = [t.untyped_storage() for t in tensors if t.layout == torch.strided and not t.is_meta]
    claimed, size = sum({s.data_ptr(): s.nbytes() for s in stored}.values()), path.stat().st_size
    if claimed > size:
        raise CheckpointError(f"{path}: claims {claimed} bytes of data in a file of {size}. {AGAIN}")


def _place(torch: Any, tensor: Any) -> int | None:
    """Where in the file a tensor's storage starts; None of one that has none, or is not plain."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return None
    return getattr(tensor.untyped_storage(), "_checkpoint_offset", None)


def write(path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None:
    """A plain state_dict. The format has no room for metadata: a state_dict with one would fail to load elsewhere."""
    torch = _torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch: an array may be read-only, which saving does not mind
            torch.save({name: torch.from_numpy(np.ascontiguousarray(values(a))) for name, a in arrays.items()}, path)
    except RuntimeError as problem:  # what torch's zip writer raises when a disk is full
        raise OSError(str(problem)) from problem


def _check_zip(path: Path) -> list[zipfile.ZipInfo]:
    """Refuse what torch.save never writes: compressed entries, and entries that overlap (both can be zip bombs)."""
    found = parts(path, compressed_below="code/")
    index = next((part for part in found if Path(part.filename).name == "data.pkl"), None)
    if index is not None and index.file_size > _LARGEST_PICKLE:
        raise CheckpointError(
            f"{path}: its index of tensors has {index.file_size:,} bytes, more than {_LARGEST_PICKLE:,}. {_STATE_DICT}"
        )
    check_sums(
        path, [part for part in found if part.compress_type == zipfile.ZIP_STORED and "/data/" not in part.filename]
    )
    if index is not None:
        with path.open("rb") as file:  # zipfile would insist on a checksum, which torch can leave out
            file.seek(offset(path, index))
            check(path, file.read(index.file_size))
    return found


def _entry(path: Path, leaf: Leaf, storages: Storages, place: int | None) -> Entry:
    name, tensor = leaf.name, leaf.value
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    if place is None:
        return Entry(shape, dtype, partial(_array, path, name, tensor), leaf.holder)
    if place not in storages.by_offset:
        raise CheckpointError(f"{path}: {name!r} is not in a part of the file. {AGAIN}")
    storage = storages.by_offset[place]
    read_ = partial(storage.read, name, dtype, shape, tuple(tensor.stride()), tensor.storage_offset())
    return Entry(shape, dtype, read_, leaf.holder)


def _array(path: Path, name: str, tensor: Any) -> Array:
    torch = _torch()
    tensor = tensor.detach()
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = "quantized" if tensor.is_quantized else "without data" if tensor.is_meta else "sparse"
        raise CheckpointError(f"{path}: {name!r} is {kind}, not a plain tensor. {_STATE_DICT}")
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > held:  # strides of 0 can make 4 bytes look like a terabyte
        raise CheckpointError(f"{path}: {name!r} claims {tensor.numel()} elements but holds {held} bytes. {AGAIN}")
    try:
        array: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except (TypeError, RuntimeError):
        raise CheckpointError(
            f"{path}: {name!r} is {tensor.dtype}, which no backend computes in. Save it as .float()."
        ) from None
    return array


def _torch() -> Any:
    try:
        plugins.get("torch")
    except BackendUnavailable as problem:
        raise CheckpointError(f"torch files need torch. {problem} Or use .safetensors.") from None
    import torch

    return torch


def _refused(path: Path, problem: Exception) -> CheckpointError:
    """Why torch would not open it. Its own text advises weights_only=False, which would run the file."""
    text = str(problem)
    found = re.search(r"GLOBAL (\S+)|(?:global|class|function) [`']?([\w.]+)", text)
    if "nsupported" in text and found:
        place = found.group(1) or found.group(2)
        return CheckpointError(
            f"{path}: holds a Python object ({place}) beside its tensors; opening it could run any code. {_STATE_DICT}"
        )
    line = next(iter(text.rpartition(_AFTER_ADVICE)[2].strip().splitlines()), "")
    line = "" if "weights_only" in line else f": {line[:200]}"
    reason = f"{type(problem).__name__}{line}".rstrip(": .")
    cure = _PROTOCOL if "nsupported operand" in line else AGAIN
    return CheckpointError(f"{path}: torch cannot read it ({reason}). {cure}")
