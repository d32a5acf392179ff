"""ONNX models of every spec: valid, run by onnxruntime as the NumPy backend runs, whatever the batch and the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import numbers
from unilstm import CheckpointError, LSTMSpec, Weights
from unilstm.activations import NAMES
from unilstm.checkpoints.onnx_export import refusal
from unilstm.presets import PRESETS

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NEEDS = {"proj_size": 3, "num_blocks": 2, "lanes": 3}
SIZES = {"input_size": 3, "hidden_size": 4}
SPECS = {
    name: unilstm.preset(name, **SIZES, **{need: NEEDS[need] for need in preset.needs})
    for name, preset in PRESETS.items()
}
SPECS |= {
    "deep-bidirectional": LSTMSpec(3, 4, num_layers=3, direction="bidirectional", dropout=0.3),
    "time-first": LSTMSpec(3, 4, batch_first=False),
    "reverse": LSTMSpec(3, 4, direction="reverse", bias="single"),
    "alternating": LSTMSpec(3, 4, num_layers=3, direction="alternating", bias="none"),
    "clip": LSTMSpec(3, 4, gate_clip=0.3, peephole=True, direction="bidirectional"),
    "merges": LSTMSpec(3, 4, num_layers=2, direction="bidirectional", merge="mul", residual=True),
    "average": LSTMSpec(3, 4, num_layers=2, direction="bidirectional", merge="average"),
    "learned": LSTMSpec(3, 4, num_layers=2, direction="bidirectional", learned_state=True),
    "learned-lanes": LSTMSpec(3, 4, lanes=2, learned_state=True, residual=True, num_layers=2, cell_clip=0.2),
    "projected-clipped": LSTMSpec(3, 4, proj_size=2, proj_clip=0.1, direction="bidirectional", num_layers=2),
    "slstm-heads": LSTMSpec(3, 4, cell="slstm", num_heads=2, exponential_forget=True, bias="single"),
    "per-gate-norm": LSTMSpec(3, 4, layer_norm="per-gate", peephole=True),
    "stored-norm": LSTMSpec(3, 4, layer_norm="normalized-state", direction="reverse"),
    "blocks-bidirectional": LSTMSpec(3, 4, num_blocks=2, peephole=True, direction="bidirectional", bias="none"),
    "attention-max": LSTMSpec(3, 4, lanes=2, lane_pooling="attention-max", highway=True),
}
BETA = {"hard_sigmoid": (0.2, 0.5), "scaled_tanh": (1.7, 0.6), "affine": (0.5, 0.1)}
ACTIVATIONS = {name: (name, *BETA.get(name, ())) for name in NAMES}


def run(path: Path, **inputs: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["y", "h_n", "c_n"], inputs)  # type: ignore[no-any-return]


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def agree(theirs: list[Any], ours: Any, dtype: str) -> None:
    """Within 8 eps of the largest number of each, as the issue has it."""
    y, (h_n, c_n) = ours
    for name, a, b in zip(("y", "h_n", "c_n"), theirs, (y, h_n, c_n), strict=True):
        assert a.shape == b.shape, name
        bound = 8 * np.finfo(dtype).eps * max(1.0, float(np.abs(b).max()))
        assert np.abs(a - b).max() <= bound, f"{name}: {np.abs(a - b).max():.3g} should be within {bound:.3g}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPECS)
def test_every_spec_runs_on_onnxruntime(tmp_path: Path, name: str, dtype: str) -> None:
    """One file, three calls of different batch and time."""
    spec = SPECS[name]
    weights = Weights.initial(spec, seed=3, dtype=dtype)
    unilstm.save(weights, tmp_path / "m.onnx")
    lstm = unilstm.LSTM(weights)
    for rows, steps in ((2, 5), (1, 1), (4, 9)):
        shape = (rows, steps, 3) if spec.batch_first else (steps, rows, 3)
        x = numbers(*shape, stream=rows, dtype=dtype)
        agree(run(tmp_path / "m.onnx", x=x), lstm(x), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPECS)
def test_lengths_and_states_are_inputs_where_asked_for(tmp_path: Path, name: str, dtype: str) -> None:
    spec = SPECS[name]
    weights = Weights.initial(spec, seed=3, dtype=dtype)
    unilstm.save(weights, tmp_path / "m.onnx", inputs=("lengths", "state"))
    lead, rows = spec.num_layers * spec.num_directions, 3
    slots = [spec.slots] if spec.slots > 1 else []
    h_0 = numbers(lead, rows, spec.state_size, stream=1, dtype=dtype)
    c_0 = numbers(lead, rows, *slots, spec.hidden_size, stream=2, dtype=dtype)
    c_0 = np.abs(c_0) + 0.5 if spec.cell == "slstm" else c_0  # its normaliser is positive
    x = numbers(*((rows, 6, 3) if spec.batch_first else (6, rows, 3)), stream=3, dtype=dtype)
    lengths = np.array([6, 1, 4])
    ours = unilstm.LSTM(weights)(x, (h_0, c_0), lengths=lengths)
    agree(run(tmp_path / "m.onnx", x=x, lengths=lengths, h_0=h_0, c_0=c_0), ours, dtype)


@pytest.mark.parametrize("inputs", [(), ("state",), ("lengths", "state")], ids=str)
@pytest.mark.parametrize("name", SPECS)
def test_what_was_exported_is_loaded_exactly(tmp_path: Path, name: str, inputs: tuple[str, ...]) -> None:
    """A learned state, too, which a model does not use that takes the state as inputs."""
    for dtype in ("float32", "float64"):
        weights = Weights.initial(SPECS[name], seed=3, dtype=dtype)
        unilstm.save(weights, tmp_path / "m.onnx", inputs=inputs)
        assert unilstm.load(tmp_path / "m.onnx") == weights
        (found,) = unilstm.inspect(tmp_path / "m.onnx")
        assert found.spec == SPECS[name]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_runs_as_operator_and_as_scan(tmp_path: Path, activation: str) -> None:
    spec = LSTMSpec(3, 4, cell_activation=ACTIVATIONS[activation], output_activation=ACTIVATIONS[activation])
    x = numbers(2, 5, 3, dtype="float32")
    for one in (spec, spec.replace(residual=False, cell_clip=50.0)):
        weights = Weights.initial(one, seed=3)
        unilstm.save(weights, tmp_path / "m.onnx")
        assert ("Scan" in operators(tmp_path / "m.onnx")) == bool(one.cell_clip)
        agree(run(tmp_path / "m.onnx", x=x), unilstm.LSTM(weights)(x), "float32")


OPERATOR = {"vanilla", "peephole", "cifg", "no-input-activation", "no-output-activation", "awd"}
OPERATOR |= {"deep-bidirectional", "time-first", "reverse", "alternating", "clip", "merges", "average", "learned"}


@pytest.mark.parametrize("name", SPECS)
def test_the_operator_is_used_where_it_computes_the_spec(tmp_path: Path, name: str) -> None:
    unilstm.save(Weights.initial(SPECS[name], seed=3), tmp_path / "m.onnx")
    assert ("LSTM" in operators(tmp_path / "m.onnx"), "Scan" in operators(tmp_path / "m.onnx")) == (
        name in OPERATOR,
        name not in OPERATOR,
    )
    assert (refusal(SPECS[name], "float32") is None) == (name in OPERATOR)


def test_float64_is_a_scan_because_onnxruntime_has_no_such_lstm() -> None:
    assert "onnxruntime has no LSTM" in str(refusal(SPECS["vanilla"], "float64"))


def test_a_cell_of_ones_own_is_exported(tmp_path: Path) -> None:
    @unilstm.cells.cell("leaky-test", parameters=lambda spec, inputs: {"weight": (spec.hidden_size, inputs)})
    def step(ops: Any, spec: Any, p: Any, x: Any, state: Any) -> Any:
        h = 0.5 * state[0] + ops.tanh(ops.linear(x, p["weight"]))
        return h, state[1] + h

    try:
        weights = Weights.initial(LSTMSpec(3, 4, cell="leaky-test", direction="bidirectional"), seed=3)
        unilstm.save(weights, tmp_path / "m.onnx")
        x = numbers(2, 5, 3, dtype="float32")
        agree(run(tmp_path / "m.onnx", x=x), unilstm.LSTM(weights)(x), "float32")
    finally:
        unilstm.cells.unregister("leaky-test")


def test_no_node_and_no_array_is_idle(tmp_path: Path) -> None:
    for name in ("vanilla", "learned", "slstm"):
        unilstm.save(Weights.initial(SPECS[name], seed=3), tmp_path / "m.onnx")
        graph = onnx.load(tmp_path / "m.onnx").graph
        read = {n for node in graph.node for n in node.input} | {value.name for value in graph.output}
        for node in graph.node:
            for attribute in node.attribute:
                read |= {n for inner in attribute.g.node for n in inner.input}
        assert all(set(node.output) & read for node in graph.node)
        assert {tensor.name for tensor in graph.initializer} <= read


@pytest.mark.parametrize("option", [{"layout": "torch"}, {"prefix": "a."}, {"allow": "merge-biases"}])
def test_options_of_arrays_have_no_meaning_for_a_model(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="has no meaning for an ONNX model"):
        unilstm.save(Weights.initial(SPECS["vanilla"], seed=3), tmp_path / "m.onnx", **option)


def test_unknown_inputs_are_refused(tmp_path: Path) -> None:
    weights = Weights.initial(SPECS["vanilla"], seed=3)
    with pytest.raises(CheckpointError, match="a model can take: lengths, state"):
        unilstm.save(weights, tmp_path / "m.onnx", inputs="mask")
    with pytest.raises(CheckpointError, match=r"only an \.onnx model has any"):
        unilstm.save(weights, tmp_path / "m.safetensors", inputs="lengths")


def test_convert_exports_and_verifies(tmp_path: Path) -> None:
    unilstm.save(Weights.initial(SPECS["layer-norm"], seed=3), tmp_path / "a.safetensors")
    done = unilstm.convert(tmp_path / "a.safetensors", tmp_path / "b.onnx")
    assert done.check is not None
    assert done.check.ok
    assert done.check.target.startswith("the model in onnxruntime")
