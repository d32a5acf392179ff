"""Saving: an LSTM's weights to a file, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import layouts
from ..errors import CheckpointError
from ..factory import weights_of
from ..layouts import losses
from ..parameters import Array
from ..weights import Weights
from .contents import Entry
from .formats import Kind, kind_of
from .metadata import describe

_TO = " (of convert: to=, --to)"


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
    kind = kind_of(target, writing=True)
    given = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    write(target, kind, weights_of(what), layout, prefix, allow, inputs=given)


def write(
    target: Path,
    kind: Kind,
    weights: Weights,
    layout: str | None,
    prefix: str,
    allow: str | tuple[str, ...],
    *,
    inputs: tuple[str, ...] = (),
    others: Mapping[str, Entry] | None = None,
) -> None:
    """What save() and convert() write: the LSTM's arrays and then others, one after the other; or a model of the LSTM.

    others: arrays of another file that come along, by name. The rest is as save() has it.
    """
    if kind.graph:
        _refuse_for_graphs(target, layout, prefix, allow)
        with replacing(target) as temporary:
            kind.load().export(temporary, weights, inputs)
        return
    if inputs:
        raise CheckpointError(f"{target}: inputs={inputs!r} was given, but only an .onnx model has any. Leave it out.")
    writer = kind.load()
    layout = layout or writer.DEFAULT_LAYOUT
    _refuse_for_layers(target, kind, layout, prefix)
    arrays = _arrays(weights, layout, prefix, (allow,) if isinstance(allow, str) else tuple(allow))
    _refuse_collisions(target, arrays, others or {})
    about = describe(weights, layout, prefix, arrays if others else None)
    with replacing(target) as temporary:
        writer.write(temporary, {**arrays, **(others or {})}, about)


def _arrays(weights: Weights, layout: str | None, prefix: str, allow: tuple[str, ...]) -> dict[str, Array]:
    """The arrays to write, under a layout's names or the canonical ones; those as they are, which may be mapped."""
    if layout is None:
        _refuse_losses(allow)
    elif not _canonical(weights, layout, allow):
        return weights.to_layout(layout, prefix=prefix, allow=allow)
    return {prefix + name: array for name, array in weights.items()}


def _canonical(weights: Weights, layout: str, allow: tuple[str, ...]) -> bool:
    """Are the canonical arrays those of the layout, as they are with torch for what torch has?"""
    losses.check_names(allow)
    return layout == "torch" and not losses.hold(layouts.get(layout), weights.spec).losses


def _refuse_for_graphs(target: Path, layout: str | None, prefix: str, allow: str | tuple[str, ...]) -> None:
    """A graph has no layout to choose, no names to put something before, and loses nothing."""
    given = {"layout": layout if layout != "onnx" else None, "prefix": prefix, "allow": allow}
    for name, value in given.items():
        if value:
            own = _TO if name == "layout" else ""
            raise CheckpointError(f"{target}: {name}={value!r} has no meaning for an ONNX model. Leave it out{own}.")


def _refuse_for_layers(target: Path, kind: Kind, layout: str | None, prefix: str) -> None:
    """A file of a framework's own layers has the names of that framework, which say where they are."""
    if kind.layouts is None:
        return
    if layout not in kind.layouts:
        raise CheckpointError(
            f"{target}: layout={layout!r} was given, but this file holds {' or '.join(kind.layouts)}. Leave it "
            f"out{_TO}."
        )
    if prefix and not kind.prefixes:
        raise CheckpointError(f"{target}: prefix={prefix!r} has no meaning for a model's layers. Leave it out.")


def _refuse_losses(allow: tuple[str, ...]) -> None:
    if allow:
        raise CheckpointError(
            f"allow={allow!r} was given without a layout, but the canonical form loses nothing. Leave allow out, or "
            f"say which layout to write: layout={_TO}."
        )


def _refuse_collisions(target: Path, arrays: Mapping[str, Array], others: Mapping[str, Entry]) -> None:
    for name in others:
        if name in arrays:
            raise CheckpointError(
                f"{target}: {name!r} is another array's name, too. Take the LSTM alone: only_lstm=True (--only-lstm)."
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
