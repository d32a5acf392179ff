"""unilstm.ops.Ops that computes nothing: it writes ONNX nodes, so that the equations become a graph as they are.

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

    def _binary(self, operator: str, other: Any, kind: str = "float", swapped: bool = False) -> Symbol:
        pair = (other, self) if swapped else (self, other)
        return self.recorder.node(operator, list(pair), _broadcast(self.shape, getattr(other, "shape", ())), kind)

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


def _broadcast(a: Shape, b: Shape) -> Shape:
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


class OnnxOps:
    """unilstm.ops.Ops over Symbols. What only a call's checks or training need is not there."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def _one(self, operator: str, x: Symbol) -> Symbol:
        return self.recorder.node(operator, [x], x.shape)

    def sigmoid(self, x: Symbol) -> Symbol:
        return self._one("Sigmoid", x)

    def tanh(self, x: Symbol) -> Symbol:
        return self._one("Tanh", x)

    def exp(self, x: Symbol) -> Symbol:
        return self._one("Exp", x)

    def sqrt(self, x: Symbol) -> Symbol:
        return self._one("Sqrt", x)

    def abs(self, x: Symbol) -> Symbol:
        return self._one("Abs", x)

    # ONNX has neither log1p nor expm1. Kahan's forms are as accurate: the rounding of u = 1 + x is divided out again.
    def log1p(self, x: Symbol) -> Symbol:
        u = 1.0 + x
        return self.where(u == 1.0, x, self._one("Log", u) * x / (u - 1.0))

    def expm1(self, x: Symbol) -> Symbol:
        u = self.exp(x)
        inside = self.where(u - 1.0 == -1.0, self.full(-1.0, x), (u - 1.0) * x / self._one("Log", u))
        return self.where(u == 1.0, x, inside)

    def maximum(self, x: Symbol, bound: float) -> Symbol:
        return self.recorder.node("Max", [x, bound], x.shape)

    def minimum(self, x: Symbol, bound: float) -> Symbol:
        return self.recorder.node("Min", [x, bound], x.shape)

    def clip(self, x: Symbol, low: float, high: float) -> Symbol:
        return self.recorder.node("Clip", [x, low, high], x.shape)

    def where(self, condition: Symbol, x: Any, y: Any) -> Symbol:
        x, y = self.recorder.symbol(x), self.recorder.symbol(y)
        shape = _broadcast(condition.shape, _broadcast(x.shape, y.shape))
        return self.recorder.node("Where", [condition, x, y], shape)

    def linear(self, x: Symbol, weight: Symbol) -> Symbol:
        turned = self.recorder.node("Transpose", [weight], weight.shape[::-1], perm=[1, 0])
        return self.recorder.node("MatMul", [x, turned], (*x.shape[:-1], weight.shape[0]))

    def sum(self, x: Symbol) -> Symbol:
        last = self.recorder.constant(np.array([-1], "i8"))
        return self.recorder.node("ReduceSum", [x, last], (*x.shape[:-1], 1), keepdims=1)

    def reshape(self, x: Symbol, shape: Sequence[Any]) -> Symbol:
        known = tuple(shape)
        if -1 in [size for size in known if isinstance(size, int)]:
            known = self._filled(x.shape, known)
        return self.recorder.node("Reshape", [x, self.recorder.sizes(tuple(shape))], known, x.kind)

    @staticmethod
    def _filled(before: Shape, shape: Shape) -> Shape:
        """The shape with -1 worked out, where the sizes around it are numbers or the same."""
        rest = [size for size in before if isinstance(size, int)]
        wanted = [size for size in shape if isinstance(size, int) and size != -1]
        unknown = [size for size in before if not isinstance(size, int)]
        left = int(np.prod(rest, dtype=np.int64)) // int(np.prod(wanted, dtype=np.int64))
        asked = any(not isinstance(size, int) for size in shape)
        value: Any = left if asked or not unknown else unknown[0]
        return tuple(value if isinstance(size, int) and size == -1 else size for size in shape)

    def transpose(self, x: Symbol) -> Symbol:
        order = [1, 0, *range(2, len(x.shape))]
        return self.recorder.node("Transpose", [x], tuple(x.shape[n] for n in order), x.kind, perm=order)

    def split(self, x: Symbol, count: int) -> Sequence[Symbol]:
        size = x.shape[-1] // count
        sizes = self.recorder.constant(np.array([size] * count, "i8"))
        shapes = [(*x.shape[:-1], size)] * count
        return self.recorder.nodes("Split", [x, sizes], shapes, ["float"] * count, axis=-1)

    def concat(self, parts: Sequence[Symbol]) -> Symbol:
        shape = (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))
        return self.recorder.node("Concat", parts, shape, axis=-1)

    def stack(self, parts: Sequence[Symbol]) -> Symbol:
        first = self.recorder.constant(np.array([0], "i8"))
        lifted = [self.recorder.node("Unsqueeze", [part, first], (1, *part.shape)) for part in parts]
        return self.recorder.node("Concat", lifted, (len(parts), *parts[0].shape), axis=0)

    def expand(self, x: Symbol, rows: Any) -> Symbol:
        shape = (rows, *x.shape)
        return self.recorder.node("Expand", [x, self.recorder.sizes(shape)], shape)

    def full(self, value: float, like: Symbol) -> Symbol:
        return self.recorder.symbol(value)

    def zeros(self, shape: Sequence[Any], like: Symbol) -> Symbol:
        known = tuple(shape)
        zero = self.recorder.onnx.numpy_helper.from_array(np.zeros(1, self.recorder.dtype))
        return self.recorder.node("ConstantOfShape", [self.recorder.sizes(known)], known, value=zero)

    def valid(self, steps: Any, lengths: Symbol, like: Symbol) -> Symbol:
        recorder = self.recorder
        scalar = [recorder.constant(np.array(value, "i8")) for value in (0, 1)]
        last = recorder.node("Squeeze", [steps], (), "int")
        times = recorder.node("Range", [scalar[0], last, scalar[1]], (steps,), "int")
        column = recorder.node("Unsqueeze", [times, recorder.constant(np.array([1], "i8"))], (steps, 1), "int")
        shape = (steps, like.shape[1])
        inside = recorder.node("Less", [column, lengths], shape, "bool")
        return recorder.node("Unsqueeze", [inside, recorder.constant(np.array([2], "i8"))], (*shape, 1), "bool")

    def scan(self, body: Any, carry: Any, xs: Any, reverse: bool) -> tuple[Any, Any]:
        """An ONNX Scan. Its body sees the graph around it, so weights are no inputs of it."""
        recorder = self.recorder
        recorder.levels.append([])
        level = len(recorder.levels) - 1
        states = [Symbol(recorder, recorder.fresh("state"), s.shape, "float", level) for s in carry]
        given = [x for x in xs if x is not None]
        slices = [Symbol(recorder, recorder.fresh("step"), x.shape[1:], x.kind, level) for x in given]
        remaining = iter(slices)
        new, outs = body(tuple(states), tuple(None if x is None else next(remaining) for x in xs))
        results = [self._of_body(value, level, [*states, *slices]) for value in (*new, *outs)]
        nodes = recorder.levels.pop()
        graph = self._graph(nodes, [*states, *slices], results)
        steps = given[0].shape[0]
        shapes = [s.shape for s in carry] + [(steps, *out.shape) for out in outs]
        flags = [int(reverse)] * len(slices), [int(reverse)] * len(outs)
        said = {"scan_input_directions": flags[0], "scan_output_directions": flags[1]} if reverse else {}
        made = recorder.nodes(
            "Scan", [*carry, *given], shapes, ["float"] * len(shapes), body=graph, num_scan_inputs=len(slices), **said
        )
        return tuple(made[: len(carry)]), tuple(made[len(carry) :])

    def _of_body(self, value: Symbol, level: int, inputs: list[Symbol]) -> Symbol:
        """A body's outputs must be made in it, each once."""
        recorder = self.recorder
        name = recorder.fresh("out")
        recorder.levels[level].append(recorder.onnx.helper.make_node("Identity", [value.name], [name], name=name))
        return Symbol(recorder, name, value.shape, value.kind, level)

    def _graph(self, nodes: list[Any], inputs: list[Symbol], outputs: list[Symbol]) -> Any:
        helper = self.recorder.onnx.helper
        infos = [
            [helper.make_tensor_value_info(s.name, self.recorder.element(s.kind), None) for s in group]
            for group in (inputs, outputs)
        ]
        return helper.make_graph(nodes, self.recorder.fresh("body"), *infos)
