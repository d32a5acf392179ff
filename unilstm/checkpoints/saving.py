"""Saving: an LSTM's weights to a file, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..factory import weights_of
from ..parameters import Array
from ..weights import Weights
from .formats import Format, format_of
from .metadata import describe


def save(
    what: Any,
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    prefix: str = "",
    allow: str | tuple[str, ...] = (),
    inputs: str | tuple[str, ...] = (),
) -> None:
    """Write an LSTM to a file of the type that the suffix names.

    what: Weights, a unilstm layer of any backend, or anything else that unilstm.port takes.
    path: .safetensors holds any spec, and load() gives back exactly what was saved. .pt and .pth (.bin, .ckpt) hold a
        plain state_dict, in torch's layout unless `layout` names another, and need torch. .keras is a model that Keras
        loads and runs, .weights.h5 its weights; see keras_writing.py.
    layout: the names to write under (unilstm.layouts.names()). prefix: what to put before each name.
    allow: the losses to accept, such as "merge-biases"; see Weights.to_layout.
    inputs: of an .onnx model, beside x: "lengths", "state", or both. Any spec is exported, as ONNX's LSTM operator
        where that computes it and as a Scan of the equations where it does not.

    The file is written under another name beside it, then renamed: a reader sees the old file or the new one, and an
    error leaves nothing behind. Raises CheckpointError for a file that cannot be written; UnsupportedByLayout or
    LossyConversion for a layout that cannot hold the spec; PortError for an object that is no LSTM.
    """
    target = Path(path)
    chosen = format_of(target, writing=True)
    weights = weights_of(what)
    if hasattr(chosen, "export"):
        _refuse_for_models(target, layout, prefix, allow)
        with replacing(target) as temporary:
            chosen.export(temporary, weights, (inputs,) if isinstance(inputs, str) else tuple(inputs))
        return
    if inputs:
        raise CheckpointError(f"{target}: inputs={inputs!r} was given, but only an .onnx model has any. Leave it out.")
    layout = layout or chosen.DEFAULT_LAYOUT
    _refuse_for_layers(target, chosen, layout, prefix)
    arrays = arrays_of(weights, layout, prefix, allow)
    with replacing(target) as temporary:
        chosen.write(temporary, arrays, describe(weights, layout, prefix))


def arrays_of(weights: Weights, layout: str | None, prefix: str, allow: str | tuple[str, ...]) -> dict[str, Array]:
    """The arrays to write, under a layout's names or the canonical ones."""
    if layout is None:
        _refuse_losses(allow)
        return {prefix + name: array for name, array in weights.items()}
    return weights.to_layout(layout, prefix=prefix, allow=allow)


def _refuse_for_models(target: Path, layout: str | None, prefix: str, allow: str | tuple[str, ...]) -> None:
    """A model is a graph: it has no layout to choose, no names to put something before, and loses nothing."""
    given = {"layout": layout if layout != "onnx" else None, "prefix": prefix, "allow": allow}
    for name, value in given.items():
        if value:
            raise CheckpointError(f"{target}: {name}={value!r} has no meaning for an ONNX model. Leave {name} out.")


def _refuse_for_layers(target: Path, writer: Format, layout: str | None, prefix: str) -> None:
    """A file of a framework's own layers has the names of that framework, which say where they are."""
    layouts = getattr(writer, "LAYOUTS", None)
    if layouts is not None and layout not in layouts:
        raise CheckpointError(
            f"{target}: layout={layout!r} was given, but this file holds {' or '.join(layouts)}. Leave it out."
        )
    if layouts is not None and prefix and not getattr(writer, "PREFIXES", False):
        raise CheckpointError(f"{target}: prefix={prefix!r} has no meaning for a model's layers. Leave it out.")


def _refuse_losses(allow: str | tuple[str, ...]) -> None:
    if allow:
        raise CheckpointError(
            f"allow={allow!r} was given without a layout, but the canonical form loses nothing. Leave allow out, or "
            "say layout=."
        )


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside the target, which becomes the target if the block succeeds and disappears if it fails."""
    target = Path(os.path.realpath(target))  # through a symbolic link: the file it points to, not the link
    if target.is_dir():
        raise CheckpointError(f"{target}: is a folder. Give the path of a file to write.")
    if not target.parent.is_dir():
        raise CheckpointError(f"{target}: its folder does not exist. Create {target.parent} first.")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        mode = _create(temporary, target)
        yield temporary
        os.chmod(temporary, mode)  # a library may have put a file of its own there, readable by the owner alone
        _flush(temporary)
        os.replace(temporary, target)
    except OSError as problem:
        reason = problem.strerror or problem
        raise CheckpointError(
            f"{target}: cannot be written ({reason}). Check the folder's permissions and space."
        ) from problem
    finally:
        temporary.unlink(missing_ok=True)


def _create(temporary: Path, target: Path) -> int:
    """Make the temporary file; the mode that the target has, or that the process gives new files."""
    with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
        own = os.fstat(file.fileno()).st_mode
    return stat.S_IMODE(target.stat().st_mode if target.exists() else own)


def _flush(path: Path) -> None:
    """Put the bytes on the disk before the name points at them; a power cut must not leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
