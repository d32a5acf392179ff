"""torch.save files, opened by torch.load(weights_only=True) alone: its unpickler builds tensors and nothing else."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .. import plugins
from ..errors import BackendUnavailable, CheckpointError
from ..parameters import Array
from .contents import AGAIN, Contents, Entry

DEFAULT_LAYOUT = "torch"
_STATE_DICT = (
    'Open it in the program that wrote it, and save tensors only: torch.save(model.state_dict(), "weights.pt").'
)
_DEPTH = 64  # nesting of dicts and lists; real checkpoints have two or three levels


def read(path: Path) -> Contents:
    """Open a file; the tensors in nested dicts and lists are named by their place, joined by dots."""
    torch = _torch()
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        _check_zip(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own deprecated storages
            # Only the zip format can be mapped into memory. Both stay on the CPU, wherever they were saved.
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:
        raise CheckpointError(f"{path}: claims more data than there is memory for. {AGAIN}") from None
    except Exception as problem:  # a hostile pickle can make the unpickler raise anything
        raise _refused(path, problem) from problem
    entries: dict[str, Entry] = {}
    for name, tensor in _tensors(torch, loaded, path):
        if name in entries:
            raise CheckpointError(f"{path}: two tensors come to the name {name!r}. {_STATE_DICT}")
        entries[name] = _entry(path, name, tensor)
    return Contents(path, entries)


def write(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """A plain state_dict. The format has no room for metadata: a state_dict with one would fail to load elsewhere."""
    torch = _torch()
    try:
        torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
    except RuntimeError as problem:  # what torch's zip writer raises when a disk is full
        raise OSError(str(problem)) from problem


def _check_zip(path: Path) -> None:
    """Refuse what torch.save never writes: compressed entries, and entries that overlap (both can be zip bombs)."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
        raise CheckpointError(f"{path}: is not a whole torch file ({problem}). {AGAIN}") from problem
    if any(Path(part.filename).name == "constants.pkl" for part in parts):
        raise CheckpointError(
            f"{path}: is a TorchScript archive, which is a program. Open it with torch.jit.load where you trust it, "
            'and save tensors only: torch.save(module.state_dict(), "weights.pt").'
        )
    packed = next((part for part in parts if part.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise CheckpointError(f"{path}: its part {packed.filename!r} is compressed, as torch.save never does. {AGAIN}")
    claimed, size = sum(part.file_size for part in parts), path.stat().st_size
    if claimed > size:
        raise CheckpointError(f"{path}: claims {claimed} bytes of data in a file of {size}. {AGAIN}")


def _tensors(torch: Any, loaded: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Every tensor of nested dicts, lists and tuples with its name. A container met twice counts once: a pickle can
    hold itself, or fan out without end."""
    met: set[int] = set()

    def walk(value: Any, place: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if isinstance(value, torch.Tensor):
            yield ".".join(place), value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in met:
            met.add(id(value))
            if len(place) >= _DEPTH:
                raise CheckpointError(f"{path}: is nested more than {_DEPTH} levels deep. {_STATE_DICT}")
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(part, (*place, str(key)))

    return walk(loaded, ())


def _entry(path: Path, name: str, tensor: Any) -> Entry:
    return Entry(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), partial(_array, path, name, tensor))


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
    found = re.search(r"GLOBAL (\S+)|(?:global|class|function) [`']?([\w.]+)", str(problem))
    if "nsupported" in str(problem) and found:
        place = found.group(1) or found.group(2)
        return CheckpointError(
            f"{path}: holds a Python object ({place}) beside its tensors; opening it could run any code. {_STATE_DICT}"
        )
    line = next(iter(str(problem).strip().splitlines()), "")
    reason = f"{type(problem).__name__}: {line[:200]}".rstrip(": .")
    return CheckpointError(f"{path}: torch cannot read it ({reason}). {AGAIN}")
