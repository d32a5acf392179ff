"""ONNX models of any spec: the LSTM operator where it computes the spec, a Scan of the equations where it does not.

Inputs: x, as the spec says (batch_first or not); where asked for, lengths [B] (int64) and the state h_0 and c_0.
Outputs: y, h_n, c_n, shaped as a unilstm layer returns them. Batch and time are free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import calls, layouts, run
from ..errors import CheckpointError
from ..spec import LSTMSpec
from ..weights import Weights
from .metadata import describe, describe_as
from .onnx_recording import OnnxOps
from .onnx_symbols import IR_VERSION, OPSET, Recorder, Symbol

INPUTS = ("lengths", "state")
_LEARNED = ("h_0_", "c_0_")
# What of a cell the operator has beside the standard one, and what of the loop it leaves to the nodes around it.
_OPERATOR = {"peephole", "coupled_gates", "gate_activation", "cell_activation", "output_activation", "gate_clip"}


def refusal(spec: LSTMSpec, dtype: str) -> str | None:
    """Why ONNX's LSTM operator cannot compute a spec; None if it can. onnxruntime has it in float32 only."""
    if spec.cell != "lstm":
        return f"cell={spec.cell!r}"
    beyond = [field for field in spec.beyond_standard if field not in _OPERATOR]
    if spec.proj_size:
        beyond.append("proj_size")
    if spec.zoneout_hidden or spec.zoneout_cell:
        beyond.append("zoneout")
    if beyond:
        return ", ".join(beyond)
    return None if dtype == "float32" else f"{dtype}, in which onnxruntime has no LSTM"


def write(path: Path, weights: Weights, inputs: Sequence[str] = ()) -> None:
    """Export to a file. inputs: of "lengths" and "state", those that the model shall take beside x.

    Raises CheckpointError for other inputs, and for float16: onnxruntime 1.31 crashes the process when it optimises
    such a graph, before it runs it.
    """
    if weights.dtype == "float16":
        raise CheckpointError(
            "dtype='float16' is not exported to ONNX, because onnxruntime crashes over such a model. Write float32: "
            "dtype='float32' (--dtype float32) of convert, or weights.astype('float32')."
        )
    unknown = [name for name in inputs if name not in INPUTS]
    if unknown:
        raise CheckpointError(f"inputs has {unknown[0]!r}, but a model can take: {', '.join(INPUTS)}.")
    model = _Model(weights, inputs)
    model.record()
    path.write_bytes(model.finish().SerializeToString())


class _Model:
    """A model while it is recorded."""

    def __init__(self, weights: Weights, inputs: Sequence[str]) -> None:
        self.weights, self.spec, self.asked = weights, weights.spec, tuple(inputs)
        self.recorder = Recorder(weights.dtype)
        self.ops = OnnxOps(self.recorder)
        self.initialisers: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.operator = refusal(self.spec, weights.dtype) is None

    def record(self) -> None:
        spec, ops = self.spec, self.ops
        order = ["B", "T"] if spec.batch_first else ["T", "B"]
        x = self._input("x", [*order, spec.input_size])
        x = ops.transpose(x) if spec.batch_first else x
        steps, rows = self.recorder.size(x, 0), self.recorder.size(x, 1)
        x.shape = (steps, rows, spec.input_size)
        call = calls.Call(x, *self._state(rows), self._lengths(rows), None, True, steps, rows)  # type: ignore[arg-type]
        params = {name: self._parameter(name, array) for name, array in self.weights.items()}
        run_layer = self._operator_layer if self.operator else self._composed
        y, (h_n, c_n), _ = run.forward(ops, spec, params, call, run_layer)  # type: ignore[arg-type]
        self._output("y", ops.transpose(y) if spec.batch_first else y, [*order, spec.output_size])
        lead = spec.num_layers * spec.num_directions
        self._output("h_n", h_n, [lead, "B", spec.state_size])
        if spec.slots > 1:
            c_n = ops.reshape(c_n, (lead, rows, spec.slots, spec.hidden_size))
        self._output("c_n", c_n, [lead, "B", *([spec.slots] if spec.slots > 1 else []), spec.hidden_size])

    def finish(self) -> Any:
        onnx = self.recorder.onnx
        helper, (recorded,) = onnx.helper, self.recorder.levels
        nodes, used = _used(recorded, {value.name for value in self.outputs})
        learned = {name for name in self.weights if name.startswith(_LEARNED)}  # idle beside h_0 and c_0, yet weights
        kept = {name: array for name, array in self.initialisers.items() if name in used | learned}
        tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in kept.items()]
        graph = helper.make_graph(nodes, "lstm", self.inputs, self.outputs, tensors)
        model = helper.make_model(
            graph, producer_name="unilstm", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        about = describe(self.weights, None, "")
        if self.operator:
            about = describe_as("onnx", config(self.spec), self.spec, list(kept))
        helper.set_model_props(model, about)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _composed(self, k: int, call: run.LayerCall) -> list[run.DirectionResult]:
        return run.composed(self.ops, self.spec, k, call)  # type: ignore[arg-type]

    def _operator_layer(self, k: int, call: run.LayerCall) -> list[run.DirectionResult]:
        """One LSTM node; its W, R, B and P as the layout "onnx" has them."""
        spec, recorder, ops = self.spec, self.recorder, self.ops
        count, hidden = spec.num_directions, spec.hidden_size
        one = _layer_weights(self.weights, k)
        prefix = f"layer_{k}/" if spec.num_layers > 1 else ""
        arrays = one.to_layout("onnx", prefix=prefix, allow=("split-bias",))
        own = {name[len(prefix) :]: self._parameter(name, a) for name, a in arrays.items()}
        said = {**one.layout_config("onnx"), "hidden_size": hidden, "direction": _direction(spec, k)}
        state = [ops.stack([s[n] for s in call.states]) for n in (0, 1)] if self._has_state() else [None, None]
        lengths = None
        if call.lengths is not None:
            lengths = recorder.node(
                "Cast", [call.lengths], call.lengths.shape, "int", to=recorder.onnx.TensorProto.INT32
            )
        steps, rows = call.x.shape[:2]
        y, h, c = recorder.nodes(
            "LSTM",
            [call.x, own["W"], own["R"], own.get("B"), lengths, *state, own.get("P")],
            [(steps, count, rows, hidden), (count, rows, hidden), (count, rows, hidden)],
            ["float"] * 3,
            **{key: value for key, value in said.items() if key not in ("layout", "input_size")},
        )
        ys = [recorder.node("Gather", [y, self._index(d)], (steps, rows, hidden), axis=1) for d in range(count)]
        return [run.DirectionResult(ys[d], h[d], c[d]) for d in range(count)]

    def _index(self, d: int) -> Symbol:
        return self.recorder.constant(np.array(d, "i8"))

    def _has_state(self) -> bool:
        return "state" in self.asked or self.spec.learned_state

    def _state(self, rows: Symbol) -> tuple[Symbol | None, Symbol | None]:
        spec = self.spec
        if "state" not in self.asked:
            return None, None
        lead = spec.num_layers * spec.num_directions
        h_0 = self._input("h_0", [lead, "B", spec.state_size])
        slots = [spec.slots] if spec.slots > 1 else []
        c_0 = self._input("c_0", [lead, "B", *slots, spec.hidden_size])
        h_0.shape = (lead, rows, spec.state_size)
        c_0.shape = (lead, rows, *slots, spec.hidden_size)
        c_0 = self.ops.reshape(c_0, (lead, rows, spec.slots * spec.hidden_size)) if slots else c_0
        return h_0, c_0

    def _lengths(self, rows: Symbol) -> Symbol | None:
        if "lengths" not in self.asked:
            return None
        lengths = self._input("lengths", ["B"], "int")
        lengths.shape = (rows,)
        return lengths

    def _input(self, name: str, shape: list[Any], kind: str = "float") -> Symbol:
        self.inputs.append(self._info(name, shape, kind))
        return Symbol(self.recorder, name, tuple(shape), kind)

    def _output(self, name: str, value: Symbol, shape: list[Any]) -> None:
        helper = self.recorder.onnx.helper
        self.recorder.levels[0].append(helper.make_node("Identity", [value.name], [name], name=name))
        self.outputs.append(self._info(name, shape, "float"))

    def _info(self, name: str, shape: list[Any], kind: str) -> Any:
        return self.recorder.onnx.helper.make_tensor_value_info(name, self.recorder.element(kind), shape)

    def _parameter(self, name: str, array: Any) -> Symbol:
        self.initialisers[name] = array
        return Symbol(self.recorder, name, array.shape)


def _used(nodes: list[Any], wanted: set[str]) -> tuple[list[Any], set[str]]:
    """The nodes that the outputs need, and every name that they read: what no layer asked for is left out."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
            for attribute in node.attribute:
                wanted |= {name for inner in attribute.g.node for name in inner.input}
    return kept[::-1], wanted


def _direction(spec: LSTMSpec, k: int) -> str:
    reverse = spec.reversed_directions(k)
    return "bidirectional" if len(reverse) == 2 else "reverse" if reverse[0] else "forward"


# The operator's part of a spec: what is left when the nodes around it do the rest.
_ALONE: dict[str, Any] = {
    "dropout": 0.0, "residual": False, "merge": "concat", "learned_state": False, "batch_first": False,
    "input_dropout": 0.0, "recurrent_dropout": 0.0, "recurrent_dropout_kind": "state", "weight_dropout": 0.0,
}  # fmt: skip


def _layer_weights(weights: Weights, k: int) -> Weights:
    """One layer by itself, as one LSTM operator has it."""
    spec = weights.spec
    sizes = {"num_layers": 1, "input_size": spec.layer_input_size(k)}
    arrays = {
        name.replace(f"_l{k}", "_l0"): array
        for name, array in weights.items()
        if name.removesuffix("_reverse").endswith(f"_l{k}") and not name.startswith(_LEARNED)
    }
    return Weights(spec.replace(**{**_ALONE, **sizes, "direction": _direction(spec, k)}), arrays)


def config(spec: LSTMSpec) -> dict[str, Any]:
    """The operator's attributes, the same in all layers but for the direction."""
    return layouts.get("onnx").config(spec.replace(**{**_ALONE, "num_layers": 1, "direction": "forward"}))


def read_back(spec: LSTMSpec, arrays: Mapping[str, Any], said: Mapping[str, Any]) -> Weights:
    """The weights of a model that was written with the operator: layer by layer, as they were written.

    One bias is in the place of the first of two. said: what config() said. Raises LayoutError.
    """
    found = {name: array for name, array in arrays.items() if name.startswith(_LEARNED)}
    for k in range(spec.num_layers):
        prefix = f"layer_{k}/" if spec.num_layers > 1 else ""
        own = {n: arrays[n] for n in (f"{prefix}{word}" for word in ("W", "R", "B", "P")) if n in arrays}
        layer = Weights.from_layout("onnx", own, prefix=prefix, **{**said, "direction": _direction(spec, k)})
        for name, array in layer.items():
            if spec.bias == "single":
                name = name.replace("bias_ih_", "bias_")
            if not (spec.bias == "single" and name.startswith("bias_hh_")):
                found[name.replace("_l0", f"_l{k}")] = array
    return Weights(spec, found)
