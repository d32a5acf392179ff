"""What a recorded ONNX graph is made of: Symbols, which stand for tensors, and a Recorder, which keeps the nodes.

A `Symbol` stands for a tensor. A node goes where the deepest of its inputs is, so that what does not change from step
to step (a transposed weight, the sum of two biases) is computed once, outside of the Scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..parameters import Array
from .formats import library

Shape = tuple[Any, ...]  # a size, or the Symbol of a size that is not known before the call
OPSET, IR_VERSION = 17, 8


class Symbol:
    """A tensor of the graph: its name, its shape, its element type ("float", "bool" or "int"), and how deep it is."""

    __array_ufunc__ = None  # so that NumPy leaves `number * symbol` to us
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, recorder: Recorder, name: str, shape: Shape, kind: str = "float", level: int = 0) -> None:
        self.recorder, self.name, self.shape, self.kind, self.level = recorder, name, shape, kind, level

    @property
    def dtype(self) -> str:
        """For those who compare it with another's."""
        return self.kind

    def _binary(self, operator: str, other: Any, kind: str = "float", swapped: bool = False) -> Symbol:
        pair = (other, self) if swapped else (self, other)
        return self.recorder.node(operator, list(pair), broadcast(self.shape, getattr(other, "shape", ())), kind)

    def __add__(self, other: Any) -> Symbol:
        return self._binary("Add", other)

    def __radd__(self, other: Any) -> Symbol:
        return self._binary("Add", other, swapped=True)

    def __sub__(self, other: Any) -> Symbol:
        return self._binary("Sub", other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._binary("Sub", other, swapped=True)

    def __mul__(self, other: Any) -> Symbol:
        return self._binary("Mul", other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._binary("Mul", other, swapped=True)

    def __truediv__(self, other: Any) -> Symbol:
        return self._binary("Div", other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._binary("Div", other, swapped=True)

    def __neg__(self) -> Symbol:
        return self.recorder.node("Neg", [self], self.shape)

    def __gt__(self, other: Any) -> Symbol:
        return self._binary("Greater", other, "bool")

    def __ge__(self, other: Any) -> Symbol:
        return self._binary("GreaterOrEqual", other, "bool")

    def __lt__(self, other: Any) -> Symbol:
        return self._binary("Less", other, "bool")

    def __le__(self, other: Any) -> Symbol:
        return self._binary("LessOrEqual", other, "bool")

    def __eq__(self, other: Any) -> Any:
        return self._binary("Equal", other, "bool")

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Symbol:
        """Whole numbers along the first axis, or slices with known ends."""
        recorder = self.recorder
        if isinstance(index, int):
            at = recorder.constant(np.array(index, "i8"))
            return recorder.node("Gather", [self, at], self.shape[1:], self.kind, axis=0)
        parts = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in parts:
            at_ = parts.index(Ellipsis)
            parts[at_ : at_ + 1] = [slice(None)] * (len(self.shape) - len(parts) + 1)
        cuts = [(axis, *part.indices(self.shape[axis])[:2]) for axis, part in enumerate(parts) if part != slice(None)]
        shape = list(self.shape)
        for axis, start, end in cuts:
            shape[axis] = end - start
        axes, starts, ends = (recorder.constant(np.array(column, "i8")) for column in zip(*cuts, strict=True))
        return recorder.node("Slice", [self, starts, ends, axes], tuple(shape), self.kind)


def broadcast(a: Shape, b: Shape) -> Shape:
    a, b = (1,) * (len(b) - len(a)) + a, (1,) * (len(a) - len(b)) + b
    return tuple(y if isinstance(x, int) and x == 1 else x for x, y in zip(a, b, strict=True))


class Recorder:
    """The nodes of a graph and, while a Scan's body is recorded, those of the body."""

    def __init__(self, dtype: str) -> None:
        self.onnx = library("onnx", "onnx", ".onnx")
        self.dtype = np.dtype(dtype)
        self.levels: list[list[Any]] = [[]]
        self.count = 0
        self.constants: dict[tuple[str, bytes, tuple[int, ...]], Symbol] = {}

    def fresh(self, word: str) -> str:
        self.count += 1
        return f"{word.lower()}_{self.count}"

    def element(self, kind: str) -> int:
        types = self.onnx.TensorProto
        if kind == "float":
            return int(self.onnx.helper.np_dtype_to_tensor_dtype(self.dtype))
        return int({"bool": types.BOOL, "int": types.INT64}[kind])

    def symbol(self, value: Any) -> Symbol:
        return value if isinstance(value, Symbol) else self.constant(np.array(value, self.dtype))

    def constant(self, value: Array) -> Symbol:
        """A number or a short list of them, once for the whole graph."""
        key = (value.dtype.str, value.tobytes(), value.shape)
        if key not in self.constants:
            name = self.fresh("constant")
            tensor = self.onnx.numpy_helper.from_array(value, name)
            self.levels[0].append(self.onnx.helper.make_node("Constant", [], [name], name=name, value=tensor))
            self.constants[key] = Symbol(self, name, value.shape, "int" if value.dtype.kind == "i" else "float")
        return self.constants[key]

    def node(self, operator: str, inputs: Sequence[Any], shape: Shape, kind: str = "float", **said: Any) -> Symbol:
        return self.nodes(operator, inputs, [shape], [kind], **said)[0]

    def nodes(
        self, operator: str, inputs: Sequence[Any], shapes: Sequence[Shape], kinds: Sequence[str], **said: Any
    ) -> list[Symbol]:
        """A node with several outputs, at the level of its deepest input. None is an input that is left out."""
        given = [None if value is None else self.symbol(value) for value in inputs]
        level = max((value.level for value in given if value is not None), default=0)
        names = [self.fresh(operator) for _ in shapes]
        texts = ["" if value is None else value.name for value in given]
        self.levels[level].append(self.onnx.helper.make_node(operator, texts, names, name=names[0], **said))
        return [Symbol(self, name, s, kind, level) for name, s, kind in zip(names, shapes, kinds, strict=True)]

    def sizes(self, shape: Shape) -> Symbol:
        """A shape as a tensor, from numbers and from the Symbols of sizes."""
        if all(isinstance(size, int) for size in shape):
            return self.constant(np.array(shape, "i8"))
        parts = [size if isinstance(size, Symbol) else self.constant(np.array([size], "i8")) for size in shape]
        return self.node("Concat", parts, (len(shape),), "int", axis=0)

    def size(self, x: Symbol, axis: int) -> Symbol:
        """The size of an axis, as a tensor of one number."""
        whole = self.node("Shape", [x], (len(x.shape),), "int")
        at = self.constant(np.array([axis], "i8"))
        return self.node("Gather", [whole, at], (1,), "int", axis=0)
