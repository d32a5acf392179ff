"""unilstm.ops.Ops that computes nothing: it writes ONNX nodes, so that the equations become a graph as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .onnx_symbols import Recorder, Shape, Symbol, broadcast


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
        shape = broadcast(condition.shape, broadcast(x.shape, y.shape))
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
