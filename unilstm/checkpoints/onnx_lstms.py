"""The LSTMs of an ONNX graph: its nodes, put together to directions and layers where they feed each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN
from .onnx_graph import Budget, Scope, attributes, dequantise

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_SCALES = ("W_scale", "W_zero_point", "R_scale", "R_zero_point")  # of DynamicQuantizeLSTM, after the others
_CONFIG = ("hidden_size", "layout", "input_forget", "clip", "activations", "activation_alpha", "activation_beta")
_DEPTH = 8  # subgraphs in subgraphs
_DEQUANTISED = "its weights are dequantised; the graph also quantises x as it runs, which these weights alone do not do"
_STARTS = "the graph starts it from a constant state, which is not part of its weights: pass it to the call"
_HANDED = "the graph starts it from a state that another LSTM gives: pass it to the call"
_SHAPES = ("Shape", "Size")  # what they give holds no values: zeros of another output's shape are zeros
_STEPS = 1_000_000  # looking for where states come from; a model of ten thousand nodes takes some ten thousand an LSTM


@dataclass(eq=False)
class Node:
    """One LSTM node. arrays: W, R, and B and P where they are, directions first. problem: why they are not constant.

    starts: the nodes, by id, whose outputs its initial state is made of; None where that is too far to seek.
    """

    scope: Scope
    name: str
    inputs: dict[str, str]
    outputs: list[str]
    said: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problem: str | None = None
    starts: set[int] | None = field(default_factory=set)

    @property
    def direction(self) -> str:
        return str(self.said.get("direction", "forward"))

    @property
    def config(self) -> dict[str, Any]:
        return {key: self.said[key] for key in _CONFIG if key in self.said}


@dataclass(eq=False)
class Layer:
    """One node, or a forward and a reverse one whose outputs are joined."""

    nodes: tuple[Node, ...]

    @property
    def direction(self) -> str:
        return self.nodes[0].direction if len(self.nodes) == 1 else "bidirectional"

    @property
    def kind(self) -> tuple[Any, ...]:
        """What must be the same in all layers of one LSTM."""
        first = self.nodes[0]
        lengths = first.inputs.get("sequence_lens", "")
        return first.config, {**first.arrays}.keys() - {"B"}, lengths, first.problem, "R" in first.arrays

    @property
    def starts(self) -> set[int] | None:
        """See Node."""
        own = [node.starts for node in self.nodes]
        return None if None in own else set[int]().union(*(starts for starts in own if starts))

    def array(self, name: str) -> Array:
        found = [node.arrays[name] for node in self.nodes]
        return found[0] if len(found) == 1 else np.concatenate(found)


Axes = tuple[str, ...]


def stacks(graph: Any, budget: Budget) -> list[list[Layer]]:
    """Every LSTM of a graph and of the graphs in its nodes, each as its layers."""
    return [stack for scope in _scopes(graph, budget, None, "", 0) for stack in _stacks(scope)]


def _scopes(graph: Any, budget: Budget, outer: Scope | None, place: str, depth: int) -> Iterator[Scope]:
    if depth > _DEPTH:
        raise CheckpointError(f"{budget.path}: has graphs in graphs more than {_DEPTH} deep. {AGAIN}")
    scope = Scope(graph, budget, outer, place)
    yield scope
    for n, node in enumerate(graph.node):
        for attribute in node.attribute:
            inside = f"{place}{node.name or f'{node.op_type}_{n}'}/{attribute.name}"
            if attribute.HasField("g"):
                yield from _scopes(attribute.g, budget, scope, f"{inside}/", depth + 1)
            for k, inner in enumerate(attribute.graphs):
                yield from _scopes(inner, budget, scope, f"{inside}_{k}/", depth + 1)


def _stacks(scope: Scope) -> list[list[Layer]]:
    nodes = [_node(scope, n, node) for n, node in enumerate(scope.graph.node) if _is_lstm(node)]
    finder = _Finder(scope, nodes)
    layers = finder.layers()
    found: list[list[Layer]] = []
    owners: dict[int, list[Layer]] = {}  # a node's stack, by the node's id
    for layer in layers:  # a graph's nodes are in the order in which they can run, and so are these
        below = finder.before(layer)
        stack = None if below is None else owners.get(id(below.nodes[0]))
        if stack is None or stack[-1] is not below or not _fits(stack, layer) or _starts_from(layer, stack, owners):
            found.append(stack := [])
        stack.append(layer)
        owners |= {id(node): stack for node in layer.nodes}
    return found


def _fits(stack: list[Layer], layer: Layer) -> bool:
    if stack[0].kind != layer.kind or layer.nodes[0].problem is not None:
        return False
    if len(stack) == 1 and (stack[0].direction, layer.direction) == ("forward", "reverse"):
        return True
    return layer.direction == stack[len(stack) % 2 if len(stack) > 1 else 0].direction  # all alike, or alternating


def _starts_from(layer: Layer, stack: list[Layer], owners: Mapping[int, list[Layer]]) -> bool:
    """Is its initial state made of what the stack gives, as a decoder's of its encoder's? Then it is no part of it."""
    return layer.starts is None or any(owners.get(node) is stack for node in layer.starts)


def _is_lstm(node: Any) -> bool:
    return (node.domain, node.op_type) in (("", "LSTM"), ("ai.onnx", "LSTM"), ("com.microsoft", "DynamicQuantizeLSTM"))


def _node(scope: Scope, index: int, proto: Any) -> Node:
    names = (*_INPUTS, *(_SCALES if proto.op_type != "LSTM" else ()))
    inputs = {name: given for name, given in zip(names, proto.input, strict=False) if given}
    place = scope.place + (proto.name or next(iter(proto.output), "") or f"LSTM_{index}")
    node = Node(scope, place, inputs, list(proto.output), attributes(proto))
    for name in ("W", "R", "B", "P"):
        value = scope.constant(inputs[name]) if name in inputs else None
        if value is not None:
            node.arrays[name] = value
        elif name in inputs or name in "WR":
            node.problem = f"the {name} of its node {place!r} is not constant: the graph computes it from its inputs"
    if proto.op_type != "LSTM" and node.problem is None:
        _dequantise(node)
    for name in ("initial_h", "initial_c"):
        state = scope.constant(inputs[name]) if name in inputs else None
        if state is not None and np.any(state) and _STARTS not in node.notes:
            node.notes.append(_STARTS)
    return node


def _dequantise(node: Node) -> None:
    """W and R of DynamicQuantizeLSTM: [D, in, 4H], eight bits each, with a scale for each direction or column."""
    for name in ("W", "R"):
        scales = {key: node.scope.constant(node.inputs.get(f"{name}_{key}", "")) for key in ("scale", "zero_point")}
        values, scale, zero = node.arrays[name], scales["scale"], scales["zero_point"]
        if scale is None or values.ndim != 3 or values.dtype.kind not in "iu":
            node.problem = f"the {name} of its node {node.name!r} is not quantised as it should be"
            return
        directions = []
        for d, one in enumerate(values):
            own = None if zero is None else zero.reshape(len(values), -1)[d]
            directions.append(dequantise(one, scale.reshape(len(values), -1)[d], own, 1).T)
        node.arrays[name] = np.stack(directions)
    node.notes.append(_DEQUANTISED)


class _Finder:
    """Which layer a tensor is the whole output of, and in which order of axes: T, B, D (directions), H, DH."""

    def __init__(self, scope: Scope, nodes: list[Node]) -> None:
        self.scope, self.nodes = scope, nodes
        self.makes = {node.outputs[0]: node for node in nodes if node.outputs and node.outputs[0]}
        self.gives = {name: node for node in nodes for name in node.outputs if name}
        self.steps = _STEPS
        self.single = {id(node): Layer((node,)) for node in nodes}
        self.pairs: dict[tuple[int, int], Layer] = {}
        self.met: dict[str, tuple[Layer, Axes] | None] = {}
        for node in nodes:
            node.starts = self._starts(node)
            if node.starts:
                node.notes.append(_HANDED)

    def layers(self) -> list[Layer]:
        for name, node in self.scope.makers.items():
            if node.op_type == "Concat":
                self.source(name)
        paired = {id(node): layer for layer in self.pairs.values() for node in layer.nodes}
        found = [paired.get(id(node), self.single[id(node)]) for node in self.nodes]
        return list({id(layer): layer for layer in found}.values())

    def _starts(self, node: Node) -> set[int] | None:
        found, met = set(), {""}
        left = [node.inputs.get(name, "") for name in ("initial_h", "initial_c")]
        while left:
            name, self.steps = left.pop(), self.steps - 1
            if self.steps < 0:
                return None
            maker = None if name in met else self.scope.maker(name)
            met.add(name)
            if name in self.gives:
                found.add(id(self.gives[name]))
            if maker is not None and maker.op_type not in _SHAPES:
                left += _reads(maker)
        return found

    def before(self, layer: Layer) -> Layer | None:
        """The layer whose output this one's input is."""
        first = layer.nodes[0]
        came = self.source(first.inputs.get("X", ""))
        wanted = ("B", "T", "DH") if first.said.get("layout") else ("T", "B", "DH")
        return came[0] if came is not None and _joined(came) == wanted else None

    def source(self, name: str) -> tuple[Layer, Axes] | None:
        if name not in self.met:
            self.met[name] = None  # of a graph that goes round in a circle
            self.met[name] = self._source(name)
        return self.met[name]

    def _source(self, name: str) -> tuple[Layer, Axes] | None:
        if name in self.makes:
            node = self.makes[name]
            return self.single[id(node)], ("B", "T", "D", "H") if node.said.get("layout") else ("T", "D", "B", "H")
        maker = self.scope.maker(name)
        if maker is None or not maker.input:
            return None
        if maker.op_type == "Concat":
            return self._pair(maker)
        came = self.source(maker.input[0])
        if came is None or maker.output[0] != name:
            return None
        axes = self._moved(maker, came)
        return None if axes is None else (came[0], axes)

    def _moved(self, maker: Any, came: tuple[Layer, Axes]) -> Axes | None:
        """The order of axes after a node that only moves them."""
        layer, axes = came
        two = layer.direction == "bidirectional"
        if maker.op_type in ("Identity", "Dropout", "Cast"):
            return axes
        if maker.op_type == "Transpose":
            order = attributes(maker).get("perm", list(range(len(axes)))[::-1])
            return tuple(axes[n] for n in order) if sorted(order) == list(range(len(axes))) else None
        if maker.op_type == "Squeeze":
            left = tuple(axis for axis in axes if axis != "D")
            return None if two or len(left) == len(axes) else left
        if maker.op_type == "Reshape" and len(axes) == 4:
            if axes[-2:] == ("D", "H"):
                return (*axes[:2], "DH")
            return None if two else tuple(axis for axis in axes if axis != "D")
        return None

    def _pair(self, maker: Any) -> tuple[Layer, Axes] | None:
        """A forward and a reverse node over one input, whose outputs are joined."""
        came = [self.source(name) for name in maker.input]
        if len(came) != 2 or came[0] is None or came[1] is None or came[0][1] != came[1][1]:
            return None
        (ahead, axes), (back, _) = came[0], came[1]
        if (ahead.direction, back.direction) != ("forward", "reverse") or ahead.kind != back.kind:
            return None
        if ahead.nodes[0].inputs.get("X") != back.nodes[0].inputs.get("X"):
            return None
        if any(one.starts is None or id(other.nodes[0]) in one.starts for one, other in ((ahead, back), (back, ahead))):
            return None
        axis = attributes(maker).get("axis", 0)
        axis = axis + len(axes) if axis < 0 else axis
        joined = axes[axis] if 0 <= axis < len(axes) else ""
        if joined not in ("D", "H") or (joined == "H" and "D" in axes):
            return None
        key = (id(ahead.nodes[0]), id(back.nodes[0]))
        layer = self.pairs.setdefault(key, Layer((ahead.nodes[0], back.nodes[0])))
        return layer, axes if joined == "D" else (*axes[:-1], "DH")


def _reads(node: Any) -> Iterator[str]:
    """The names that a node reads; those that the graphs in it do, too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)


def _joined(came: tuple[Layer, Axes]) -> Axes:
    """H is all that there is where there is one direction."""
    layer, axes = came
    return axes if layer.direction == "bidirectional" else tuple("DH" if axis == "H" else axis for axis in axes)
