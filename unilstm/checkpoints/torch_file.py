"""torch.save files, opened by torch.load(weights_only=True) alone: its unpickler builds tensors and nothing else."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from .. import plugins
from ..errors import BackendUnavailable, CheckpointError
from ..parameters import Array
from .archives import check_sums, parts
from .contents import AGAIN, Contents, Entry
from .nesting import Leaf, leaves

DEFAULT_LAYOUT = "torch"
_STATE_DICT = (
    'Open it in the program that wrote it, and save tensors only: torch.save(model.state_dict(), "weights.pt").'
)
_LARGEST_PICKLE = 8 << 20  # bytes of names and shapes; that of a model with a thousand tensors has a tenth of one MB


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
    found = leaves(path, loaded, lambda value: isinstance(value, torch.Tensor))
    return Contents(path, {leaf.name: _entry(path, leaf) for leaf in found})


def write(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """A plain state_dict. The format has no room for metadata: a state_dict with one would fail to load elsewhere."""
    torch = _torch()
    try:
        torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
    except RuntimeError as problem:  # what torch's zip writer raises when a disk is full
        raise OSError(str(problem)) from problem


def _check_zip(path: Path) -> None:
    """Refuse what torch.save never writes: compressed entries, and entries that overlap (both can be zip bombs)."""
    found = parts(path)
    names = {Path(part.filename).name: part for part in found}
    if "constants.pkl" in names:
        raise CheckpointError(
            f"{path}: is a TorchScript archive, which is a program. Open it with torch.jit.load where you trust it, "
            'and save tensors only: torch.save(module.state_dict(), "weights.pt").'
        )
    if "data.pkl" in names and names["data.pkl"].file_size > _LARGEST_PICKLE:
        raise CheckpointError(
            f"{path}: its index of tensors has {names['data.pkl'].file_size:,} bytes, more than {_LARGEST_PICKLE:,}. "
            f"{_STATE_DICT}"
        )
    check_sums(path, found)


def _entry(path: Path, leaf: Leaf) -> Entry:
    name, tensor = leaf.name, leaf.value
    read_ = partial(_array, path, name, tensor)
    return Entry(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), read_, leaf.holder)


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
