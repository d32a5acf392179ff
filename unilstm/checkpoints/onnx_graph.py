"""An ONNX graph, as far as its constants go: initialisers, constant nodes, and what is computed from these alone.

Exporters leave the weights of an LSTM behind a chain of Slice, Concat, Unsqueeze and Transpose nodes, each of which is
evaluated here with NumPy. Nothing that depends on an input of the graph is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN
from .formats import library

_DEPTH = 200  # nodes one after the other; an exporter's chain has about ten
_LEAST = 64 << 20  # bytes that constants may come to, or four times the file if that is more


class Budget:
    """How many bytes evaluating constants may still take."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.left = path, max(_LEAST, 4 * size)

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise CheckpointError(f"{self.path}: its constants come to far more bytes than it has. {AGAIN}")


class Scope:
    """A graph or subgraph: who makes which name, and which names are constant."""

    def __init__(self, graph: Any, budget: Budget, outer: Scope | None = None, place: str = "") -> None:
        self.graph, self.budget, self.outer, self.place = graph, budget, outer, place
        self.initialisers = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output if name}
        self.known: dict[str, Array | None] = {}
        self.hidden = {value.name for value in graph.input} - self.initialisers.keys()

    def maker(self, name: str) -> Any:
        """The node of this graph that makes a name, or None."""
        return self.makers.get(name)

    def constant(self, name: str, depth: int = 0) -> Array | None:
        """The value of a name, or None if it depends on an input of the graph."""
        if name in self.known:
            return self.known[name]
        if depth > _DEPTH:
            raise CheckpointError(f"{self.budget.path}: {name!r} is behind more than {_DEPTH} nodes. {AGAIN}")
        self.known[name] = None  # of a name that would need itself
        value: Array | None = None
        if name in self.initialisers:
            value = tensor_array(self.budget.path, self.initialisers[name])
        elif name in self.makers:
            value = self._evaluate(self.makers[name], name, depth)
        elif self.outer is not None and name not in self.hidden:
            value = self.outer.constant(name, depth + 1)
        self.known[name] = value
        return value

    def _evaluate(self, node: Any, name: str, depth: int) -> Array | None:
        evaluate = _OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if evaluate is None:
            return None
        inputs = [self.constant(i, depth + 1) if i else None for i in node.input]
        if any(i and value is None for i, value in zip(node.input, inputs, strict=True)):
            return None
        try:
            results = evaluate(self.budget, attributes(node), inputs)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as problem:
            raise CheckpointError(
                f"{self.budget.path}: its node {node.name or name!r} ({node.op_type}) cannot be evaluated "
                f"({problem}). {AGAIN}"
            ) from problem
        results = results if isinstance(results, list) else [results]
        for result in results:
            self.budget.take(result.nbytes)
        return dict(zip(node.output, results, strict=False)).get(name)


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values; subgraphs are left out."""
    onnx = library("onnx", "onnx", ".onnx")
    kinds = onnx.AttributeProto
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
            continue
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif attribute.type == kinds.STRINGS:
            value = [text.decode("utf-8", "replace") for text in value]
        elif attribute.type in (kinds.INTS, kinds.FLOATS):
            value = list(value)
        found[attribute.name] = value
    return found


def tensor_array(path: Path, tensor: Any) -> Array:
    """A tensor's values; bfloat16 as float32. External data is read from the file's own folder only."""
    onnx = library("onnx", "onnx", ".onnx")
    if any(size < 0 for size in tensor.dims):
        raise CheckpointError(f"{path}: {tensor.name!r} has shape {list(tensor.dims)}. {AGAIN}")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        array = _external(path, tensor, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)))
    else:
        array = onnx.numpy_helper.to_array(tensor)
    return np.asarray(array.astype(np.float32) if array.dtype.name == "bfloat16" else array)


def _external(path: Path, tensor: Any, dtype: np.dtype[Any]) -> Array:
    said = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.resolve().parent
    where = (folder / said.get("location", "")).resolve()
    if where.parent != folder and folder not in where.parents:
        raise CheckpointError(
            f"{path}: {tensor.name!r} has its data in {said.get('location')!r}, which is outside of the file's folder. "
            "Put the data beside the model, and say so in it."
        )
    if not where.is_file():
        raise CheckpointError(f"{path}: {tensor.name!r} has its data in {where}, which is no file. Copy it there.")
    offset, size = int(said.get("offset", 0)), math.prod(tensor.dims) * dtype.itemsize
    if int(said.get("length", size)) != size or offset < 0 or offset + size > where.stat().st_size:
        raise CheckpointError(f"{path}: {tensor.name!r} claims {size} bytes of {where} from {offset} on. {AGAIN}")
    return np.fromfile(where, dtype, math.prod(tensor.dims), offset=offset).reshape(tuple(tensor.dims))


# The operators. Each takes the attributes and the inputs, and returns an array, or a list of them.

Attributes = dict[str, Any]
Inputs = Sequence[Any]


def _constant(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    if "value" in said:
        return tensor_array(budget.path, said["value"])
    for name, dtype in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"), ("value_ints", "i8")):
        if name in said:
            return np.array(said[name], dtype)
    raise ValueError("a constant of another kind")


def _axes(said: Attributes, inputs: Inputs, at: int = 1) -> Any:
    """Axes are an attribute up to operator set 12, and an input since."""
    if "axes" in said:
        return said["axes"]
    return inputs[at].tolist() if len(inputs) > at and inputs[at] is not None else None


def _unsqueeze(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    return np.asarray(np.expand_dims(inputs[0], tuple(_axes(said, inputs))))


def _squeeze(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    axes = _axes(said, inputs)
    return np.asarray(np.squeeze(inputs[0], None if axes is None else tuple(axes)))


def _slice(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    x = inputs[0]
    if "starts" in said:
        starts, ends, axes, steps = said["starts"], said["ends"], said.get("axes"), None
    else:
        given = [None if value is None else value.tolist() for value in [*inputs[1:], None, None]][:4]
        starts, ends, axes, steps = given
    axes = list(range(len(starts))) if axes is None else axes
    where: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(axes), strict=True):
        size = x.shape[axis]
        low = start if start >= 0 else start + size
        high = end if end >= 0 else end + size
        where[axis] = (
            slice(min(low, size), min(high, size), step)
            if step > 0
            else slice(min(low, size - 1), high if high >= 0 else None, step)
        )
    return np.asarray(x[tuple(where)])


def _split(budget: Budget, said: Attributes, inputs: Inputs) -> list[Array]:
    sizes = said.get("split") or (inputs[1].tolist() if len(inputs) > 1 and inputs[1] is not None else None)
    axis = said.get("axis", 0)
    if sizes is None:
        return list(np.array_split(inputs[0], said["num_outputs"], axis))
    return list(np.split(inputs[0], np.cumsum(sizes)[:-1].tolist(), axis))


def _reshape(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    shape = inputs[1].tolist()
    if not said.get("allowzero"):
        shape = [inputs[0].shape[n] if size == 0 else size for n, size in enumerate(shape)]
    return np.asarray(np.reshape(inputs[0], shape))


def _cast(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    onnx = library("onnx", "onnx", ".onnx")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(said["to"]))
    return np.asarray(inputs[0].astype(np.float32 if dtype.name == "bfloat16" else dtype))


def _filled(budget: Budget, shape: Sequence[int], value: Array) -> Array:
    budget.take(math.prod(shape) * value.itemsize)  # before it is taken
    return np.array(np.broadcast_to(value, tuple(shape)))


def _constant_of_shape(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    value = tensor_array(budget.path, said["value"]).reshape(()) if "value" in said else np.zeros((), "f4")
    return _filled(budget, inputs[0].tolist(), value)


def _expand(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    return _filled(budget, np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist())), inputs[0])


def _arithmetic(function: Any) -> Callable[[Budget, Attributes, Inputs], Array]:
    def evaluate(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
        shape = np.broadcast_shapes(inputs[0].shape, inputs[1].shape)
        budget.take(math.prod(shape) * inputs[0].itemsize)
        with np.errstate(all="ignore"):
            return np.asarray(function(inputs[0], inputs[1]), inputs[0].dtype)

    return evaluate


def dequantise(values: Array, scale: Array, zero: Array | None, axis: int) -> Array:
    """(values - zero) * scale, a scale for all or one for each index of an axis."""
    if scale.size > 1:
        shape = [1] * values.ndim
        shape[axis] = scale.size
        scale, zero = scale.reshape(shape), None if zero is None else zero.reshape(shape)
    moved = values.astype(np.int32) - (0 if zero is None else zero.astype(np.int32))
    return np.asarray(moved.astype(scale.dtype) * scale)


def _dequantize_linear(budget: Budget, said: Attributes, inputs: Inputs) -> Array:
    if said.get("block_size"):
        raise ValueError("blocks of scales")
    return dequantise(inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None, said.get("axis", 1))


_OPERATORS: dict[str, Callable[[Budget, Attributes, Inputs], Array | list[Array]]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": lambda budget, said, inputs: inputs[0],
    "Transpose": lambda budget, said, inputs: np.transpose(inputs[0], said.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": lambda budget, said, inputs: np.concatenate(inputs, said["axis"]),
    "Slice": _slice,
    "Split": _split,
    "Gather": lambda budget, said, inputs: np.take(inputs[0], inputs[1], said.get("axis", 0)),
    "Reshape": _reshape,
    "Flatten": lambda budget, said, inputs: inputs[0].reshape(math.prod(inputs[0].shape[: said.get("axis", 1)]), -1),
    "Shape": lambda budget, said, inputs: np.array(inputs[0].shape, "i8")[said.get("start", 0) : said.get("end")],
    "Cast": _cast,
    "Expand": _expand,
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(np.divide),
    "DequantizeLinear": _dequantize_linear,
}
