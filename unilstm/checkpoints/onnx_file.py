"""ONNX models: their LSTM nodes, read from the graph alone. Nothing is run; external data is read from the file's
folder only."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from ..weights import Weights
from .contents import AGAIN, Contents, Entry, Place, check_count
from .formats import library
from .metadata import KEY
from .onnx_graph import Budget, tensor_array
from .onnx_lstms import Layer, stacks

DEFAULT_LAYOUT = "onnx"
_LARGEST = 2 << 30  # what protobuf can hold
_MOST_PARTS = 500_000  # a model of ten thousand nodes has some two hundred thousand
_DEPTH = 100  # of messages in messages, more than which protobuf refuses
_NODE, _INITIALISER = 1, 5  # fields of GraphProto


def read(path: Path) -> Contents:
    """Open a model. Its LSTMs' arrays are named as the layout "onnx" names them, below the name of their node."""
    onnx = library("onnx", "onnx", ".onnx")
    size = path.stat().st_size
    if size >= _LARGEST:
        raise CheckpointError(f"{path}: has {size} bytes, more than an ONNX file can have. {AGAIN}")
    _check_parts(path, onnx.ModelProto.DESCRIPTOR)
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as problem:  # protobuf's own classes
        raise CheckpointError(f"{path}: is not an ONNX model ({problem}). {AGAIN}") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    found = [] if KEY in metadata else stacks(model.graph, Budget(path, size))
    if not found:  # unilstm's own file, or a graph without an LSTM node, whose initialisers may have telling names
        return Contents(path, {t.name: _initialiser(path, t) for t in model.graph.initializer}, metadata)
    entries: dict[str, Entry] = {}
    told: list[Place] = []
    for stack in found:
        place, own = _place(stack, {known.prefix for known in told})
        entries |= own
        told.append(place)
    return Contents(path, entries, metadata, tuple(told))


def export(path: Path, weights: Weights, inputs: tuple[str, ...]) -> None:
    """Write a model of an LSTM; see onnx_export.py."""
    from .onnx_export import write

    write(path, weights, inputs)


def _initialiser(path: Path, tensor: Any) -> Entry:
    onnx = library("onnx", "onnx", ".onnx")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).name
    return Entry(tuple(tensor.dims), dtype, partial(tensor_array, path, tensor))


def _place(stack: list[Layer], taken: set[str]) -> tuple[Place, dict[str, Entry]]:
    first = stack[0].nodes[0]
    prefix = first.name.rstrip("/") + "/"
    number = 1
    while prefix in taken:
        number += 1
        prefix = f"{first.name.rstrip('/')}_{number}/"
    entries: dict[str, Entry] = {}
    if first.problem is None:
        biased = any("B" in each.nodes[0].arrays for each in stack)
        for k, layer in enumerate(stack):
            for name, array in _arrays(layer, biased):
                whole = f"{prefix}layer_{k}/{name}" if len(stack) > 1 else prefix + name
                entries[whole] = Entry(array.shape, array.dtype.name, partial(_same, array))
    directions = [layer.direction for layer in stack]
    config, fields = {**first.config}, {}
    if len(set(directions)) == 1:
        config["direction"] = directions[0]
    else:
        fields["direction"] = "alternating"
    notes = [note for layer in stack for node in layer.nodes for note in node.notes]
    assumed = "; ".join(dict.fromkeys(notes)) or None
    return Place("onnx", prefix, tuple(entries), config, fields, None, assumed, first.problem), entries


def _arrays(layer: Layer, biased: bool) -> Iterator[tuple[str, Array]]:
    for name in ("W", "R", "B", "P"):
        if all(name in node.arrays for node in layer.nodes):
            yield name, layer.array(name)
        elif name == "B" and biased:  # left out where another has one: zeros
            recurrent = layer.array("R")
            yield name, np.zeros((len(recurrent), 2 * recurrent.shape[1]), recurrent.dtype)


def _same(array: Array) -> Array:
    return array


def _check_parts(path: Path, model: Any) -> None:
    """Count nodes and initialisers, and all messages and texts, before protobuf makes an object of each, which takes a
    hundred times its bytes. model: the descriptor of ModelProto."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        total = arrays = 0
        left = [(0, len(data), model, 0)]
        while left:
            at, end, message, depth = left.pop()
            inner, counted = _inner(message), (_NODE, _INITIALISER) if message.name == "GraphProto" else ()
            for field, start, stop in _fields(data, at, end):
                total += 1
                arrays += field in counted
                check_count(path, arrays)
                if total > _MOST_PARTS:
                    raise CheckpointError(f"{path}: has more than {_MOST_PARTS:,} messages and texts. {AGAIN}")
                if field in inner and start < stop and depth < _DEPTH:
                    left.append((start, stop, inner[field], depth + 1))


@cache
def _inner(message: Any) -> dict[int, Any]:
    """The fields of a message that are messages: their numbers and descriptors."""
    return {n: field.message_type for n, field in message.fields_by_number.items() if field.message_type is not None}


def _fields(data: Any, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a protobuf message: number, start and end of what has a length. Ends at what is no message."""
    while at < end:
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at, end)
            if at + size > end:
                return
            yield tag >> 3, at, at + size
            at += size
        elif kind == 0:
            _, at = _varint(data, at, end)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return


def _varint(data: Any, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return value, at
