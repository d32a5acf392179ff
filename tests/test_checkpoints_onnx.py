"""ONNX models: read from the graph alone, whatever lies between the weights and the LSTM; hostile ones are refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw
from layout_cases import GOLDEN, golden
from unilstm import CheckpointError, LSTMSpec, Weights

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (needs onnx)

FLOAT = TensorProto.FLOAT
CASES = sorted(file.name[:-5] for file in (GOLDEN / "onnx").iterdir() if file.name.endswith(".onnx"))


@pytest.mark.parametrize("case", CASES)
def test_the_golden_graphs_reproduce_onnxruntime(case: str) -> None:
    g = golden(f"onnx/{case}")
    lstm = unilstm.LSTM(unilstm.load(str(GOLDEN / "onnx" / f"{case}.onnx")))
    state = (g.inputs["h_0"], g.inputs["c_0"]) if "h_0" in g.inputs else None
    y, (h_n, c_n) = lstm(g.inputs["x"], state, lengths=g.inputs.get("lengths"))
    expected = np.concatenate(list(np.moveaxis(g.outputs["y"], 1, 0)), axis=-1)  # [T, D, B, H]
    for ours, theirs in ((y, expected), (h_n, g.outputs["h_n"]), (c_n, g.outputs["c_n"])):
        assert np.abs(ours - theirs).max() <= 2e-5


# Graphs written by hand.

SPEC = LSTMSpec(3, 4, batch_first=False)
MAPPING = draw(SPEC).to_layout("onnx")


def constants(arrays: dict[str, Any], prefix: str = "") -> list[Any]:
    return [numpy_helper.from_array(np.ascontiguousarray(a), prefix + name) for name, a in arrays.items()]


def lstm(prefix: str = "", x: str = "X", y: str = "Y", **said: Any) -> Any:
    return helper.make_node(
        "LSTM", [x, *(f"{prefix}{n}" for n in "WRB")], [y], name=f"{prefix}rnn", hidden_size=4, **said
    )


def model(path: Path, nodes: list[Any], initialisers: list[Any], inputs: tuple[str, ...] = ("X",), **more: Any) -> Path:
    values = [helper.make_tensor_value_info(name, FLOAT, None) for name in inputs]
    out = helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)
    graph = helper.make_graph(nodes, "g", values, [out], initialisers)
    onnx.save(helper.make_model(graph, **more), path)
    return path


def layer(spec: LSTMSpec, seed: int) -> dict[str, Any]:
    return Weights.initial(spec, seed).to_layout("onnx")


def test_initialisers_are_read(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [lstm()], constants(MAPPING))
    assert unilstm.load(path) == draw(SPEC)
    assert [(f.prefix, f.layout) for f in unilstm.inspect(path)] == [("rnn/", "onnx")]


def node(kind: str, inputs: list[str], output: str, **said: Any) -> Any:
    return helper.make_node(kind, inputs, [output], **said)


def constant(name: str, value: Any) -> Any:
    return node("Constant", [], name, value=numpy_helper.from_array(np.asarray(value)))


def test_constants_behind_a_chain_of_nodes_are_evaluated(tmp_path: Path) -> None:
    """As the exporters of torch and TensorFlow leave them."""
    w, r, b = MAPPING["W"], MAPPING["R"], MAPPING["B"]
    nodes = [
        constant("w_t", w[0].T),
        node("Transpose", ["w_t"], "w_2", perm=[1, 0]),
        constant("zero", np.array([0])),
        node("Unsqueeze", ["w_2", "zero"], "W"),
        constant("r_flat", np.concatenate([r.ravel(), np.ones(5, "f4")])),
        *(constant(name, np.array([value])) for name, value in (("a", 0), ("z", 64), ("axis", 0), ("half", 16))),
        node("Slice", ["r_flat", "a", "z", "axis"], "r_cut"),
        constant("shape", np.array([1, 16, 4])),
        node("Reshape", ["r_cut", "shape"], "R"),
        constant("b_both", b),
        constant("size", np.array([16, 16])),
        helper.make_node("Split", ["b_both", "size"], ["b_ih", "b_hh"], axis=1),
        node("Cast", ["b_hh"], "b_hh_64", to=TensorProto.DOUBLE),
        node("Cast", ["b_hh_64"], "b_hh_32", to=FLOAT),
        node("Identity", ["b_ih"], "b_ih_same"),
        node("Concat", ["b_ih_same", "b_hh_32"], "B", axis=-1),
        lstm(),
    ]
    assert unilstm.load(model(tmp_path / "m.onnx", nodes, [])) == draw(SPEC)


def test_a_slice_backwards_is_what_numpy_makes_of_it(tmp_path: Path) -> None:
    flipped = {**MAPPING, "W_back": MAPPING["W"][:, ::-1]}
    del flipped["W"]
    values = (("s", -1), ("e", -(2**31)), ("ax", 1), ("st", -1))
    nodes = [*(constant(n, np.array([v])) for n, v in values), node("Slice", ["W_back", "s", "e", "ax", "st"], "W")]
    assert unilstm.load(model(tmp_path / "m.onnx", [*nodes, lstm()], constants(flipped))) == draw(SPEC)


def test_quantised_weights_are_dequantised(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w, r = rng.integers(-128, 128, (1, 16, 3)).astype("i1"), rng.integers(0, 256, (1, 16, 4)).astype("u1")
    arrays = {"wq": w, "ws": np.full(16, 0.25, "f4"), "rq": r, "rs": np.float32(0.5), "rz": np.uint8(7)}
    nodes = [
        node("DequantizeLinear", ["wq", "ws"], "W", axis=1),
        node("DequantizeLinear", ["rq", "rs", "rz"], "R"),
        helper.make_node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=4),
    ]
    loaded = unilstm.load(model(tmp_path / "m.onnx", nodes, constants(arrays)))
    np.testing.assert_array_equal(loaded["weight_ih_l0"][:4], 0.25 * w[0, :4].astype("f4"))
    np.testing.assert_array_equal(loaded["weight_hh_l0"][:4], (r[0, :4].astype("f4") - 7) / 2)


def test_what_onnxruntime_quantised_is_dequantised(tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    spec = LSTMSpec(3, 4, direction="bidirectional", batch_first=False)
    path = model(tmp_path / "m.onnx", [lstm(direction="bidirectional")], constants(draw(spec).to_layout("onnx")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantization.quantize_dynamic(path, tmp_path / "q.onnx", weight_type=quantization.QuantType.QInt8)
    assert {n.op_type for n in onnx.load(tmp_path / "q.onnx").graph.node} == {"DynamicQuantizeLSTM"}
    with pytest.warns(UserWarning, match="dequantised"):
        loaded = unilstm.load(tmp_path / "q.onnx")
    assert loaded.spec == spec
    for name, array in draw(spec).items():
        assert np.abs(loaded[name] - array).max() <= np.abs(array).max() / 127
    assert "dequantised" in str(unilstm.inspect(tmp_path / "q.onnx")[0].uncertain)


def test_a_batch_that_comes_first_is_read(tmp_path: Path) -> None:
    """layout=1, which onnxruntime does not run and ONNX's own reference does."""
    reference = pytest.importorskip("onnx.reference")
    path = model(tmp_path / "m.onnx", [lstm(layout=1)], constants(MAPPING), opset_imports=[helper.make_opsetid("", 14)])
    loaded = unilstm.load(path)
    assert loaded == Weights(SPEC.replace(batch_first=True), draw(SPEC))
    x = np.random.default_rng(0).standard_normal((2, 5, 3)).astype("f4")
    (y,) = reference.ReferenceEvaluator(str(path)).run(None, {"X": x})
    assert np.abs(unilstm.LSTM(loaded)(x)[0] - y[:, :, 0]).max() <= 1e-6


def test_layers_whose_batch_comes_first_are_one_lstm_and_mixed_ones_are_two(tmp_path: Path) -> None:
    arrays = constants(layer(SPEC, 1), "a.") + constants(layer(LSTMSpec(4, 4, batch_first=False), 2), "b.")
    axis = constant("two", np.array([2]))
    nodes = [lstm("a.", layout=1), axis, node("Squeeze", ["Y", "two"], "x_1"), lstm("b.", "x_1", "Z", layout=1)]
    assert unilstm.load(model(tmp_path / "m.onnx", nodes, arrays)).spec == LSTMSpec(3, 4, num_layers=2)
    nodes[-1] = lstm("b.", "x_1", "Z")
    found = unilstm.inspect(model(tmp_path / "m.onnx", nodes, arrays))
    assert [f.spec.batch_first for f in found if f.spec] == [True, False]


def test_layers_that_feed_each_other_are_one_lstm(tmp_path: Path) -> None:
    below = LSTMSpec(3, 4, batch_first=False, direction="bidirectional")
    above = LSTMSpec(8, 4, batch_first=False, direction="bidirectional")
    nodes = [
        lstm("a.", direction="bidirectional"),
        node("Transpose", ["Y"], "y_t", perm=[0, 2, 1, 3]),
        constant("shape", np.array([0, 0, -1])),
        node("Reshape", ["y_t", "shape"], "x_1"),
        lstm("b.", "x_1", "Y_1", direction="bidirectional"),
    ]
    path = model(tmp_path / "m.onnx", nodes, constants(layer(below, 1), "a.") + constants(layer(above, 2), "b."))
    loaded = unilstm.load(path)
    assert loaded.spec == LSTMSpec(3, 4, num_layers=2, batch_first=False, direction="bidirectional")
    np.testing.assert_array_equal(loaded["weight_hh_l1_reverse"], Weights.initial(above, 2)["weight_hh_l0_reverse"])


def test_a_forward_and_a_reverse_node_that_are_joined_are_one_lstm(tmp_path: Path) -> None:
    nodes = [
        lstm("f.", y="f"),
        lstm("r.", y="r", direction="reverse"),
        constant("one", np.array([1])),
        node("Squeeze", ["f", "one"], "f_3"),
        node("Squeeze", ["r", "one"], "r_3"),
        node("Concat", ["f_3", "r_3"], "y", axis=2),
    ]
    path = model(tmp_path / "m.onnx", nodes, constants(layer(SPEC, 1), "f.") + constants(layer(SPEC, 2), "r."))
    loaded = unilstm.load(path)
    assert loaded.spec == LSTMSpec(3, 4, batch_first=False, direction="bidirectional")
    np.testing.assert_array_equal(loaded["weight_hh_l0_reverse"], Weights.initial(SPEC, 2)["weight_hh_l0"])


def test_alternating_layers_are_one_lstm(tmp_path: Path) -> None:
    one = constant("one", np.array([1]))
    nodes = [lstm("a."), one, node("Squeeze", ["Y", "one"], "x_1"), lstm("b.", "x_1", "Z", direction="reverse")]
    arrays = constants(layer(SPEC, 1), "a.") + constants(layer(LSTMSpec(4, 4, batch_first=False), 2), "b.")
    loaded = unilstm.load(model(tmp_path / "m.onnx", nodes, arrays))
    assert loaded.spec == LSTMSpec(3, 4, num_layers=2, batch_first=False, direction="alternating")


BETWEEN = {
    "another order": [node("Transpose", ["Y"], "y_t", perm=[0, 2, 3, 1]), node("Squeeze", ["y_t", "three"], "x_1")],
    "an activation": [node("Squeeze", ["Y", "one"], "y_3"), node("Relu", ["y_3"], "x_1")],
    "time and batch swapped": [node("Squeeze", ["Y", "one"], "y_3"), node("Transpose", ["y_3"], "x_1", perm=[1, 0, 2])],
}


@pytest.mark.parametrize("case", BETWEEN)
def test_layers_with_something_between_them_are_two_lstms(tmp_path: Path, case: str) -> None:
    """The first of them only moves an axis of one, so it is none; the others change what the second sees."""
    axes = [constant("one", np.array([1])), constant("three", np.array([3]))]
    arrays = constants(layer(SPEC, 1), "a.") + constants(layer(LSTMSpec(4, 4, batch_first=False), 2), "b.")
    path = model(tmp_path / "m.onnx", [lstm("a."), *axes, *BETWEEN[case], lstm("b.", "x_1", "Z")], arrays)
    found = unilstm.inspect(path)
    assert [f.prefix for f in found] == (["a.rnn/"] if case == "another order" else ["a.rnn/", "b.rnn/"])


def test_layers_of_different_attributes_are_two_lstms(tmp_path: Path) -> None:
    nodes = [lstm("a."), constant("one", np.array([1])), node("Squeeze", ["Y", "one"], "x_1")]
    arrays = constants(layer(SPEC, 1), "a.") + constants(layer(LSTMSpec(4, 4, batch_first=False), 2), "b.")
    found = unilstm.inspect(model(tmp_path / "m.onnx", [*nodes, lstm("b.", "x_1", "Z", clip=2.0)], arrays))
    assert [f.spec.gate_clip for f in found if f.spec] == [0.0, 2.0]


@pytest.mark.parametrize("kind", ["If", "Loop", "Scan"])
def test_an_lstm_in_a_subgraph_is_found(tmp_path: Path, kind: str) -> None:
    """Its weights may be the subgraph's own, or the graph's around it."""
    out = helper.make_tensor_value_info("Y", FLOAT, None)
    arrays = constants(MAPPING)
    inputs = {"If": [], "Loop": ["i", "go", "X"], "Scan": ["X"]}[kind]
    values = [helper.make_tensor_value_info(name, FLOAT, None) for name in inputs]
    body = helper.make_graph([lstm()], "body", values, [out], arrays[:1])
    said = {"If": {"then_branch": body, "else_branch": body}, "Loop": {"body": body}, "Scan": {"body": body}}[kind]
    outer = helper.make_node(kind, ["X"], ["Z"], name="outer", **said)
    path = model(tmp_path / "m.onnx", [outer], arrays[1:])
    found = {f.prefix for f in unilstm.inspect(path)}
    assert found == {f"outer/{name}/rnn/" for name in said}
    assert all(unilstm.load(path, prefix=prefix) == draw(SPEC) for prefix in found)


def test_two_nodes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    second = lstm(y="Z")
    found = unilstm.inspect(model(tmp_path / "m.onnx", [lstm(), second], constants(MAPPING)))
    assert [f.prefix for f in found] == ["rnn/", "rnn_2/"]


def test_weights_that_are_an_input_are_no_constants(tmp_path: Path) -> None:
    arrays = [a for a in constants(MAPPING) if a.name != "R"]
    path = model(tmp_path / "m.onnx", [lstm()], arrays, ("X", "R"))
    with pytest.raises(CheckpointError, match="the R of its node 'rnn' is not constant"):
        unilstm.load(path)
    assert unilstm.inspect(path)[0].spec is None


def test_a_constant_initial_state_is_told(tmp_path: Path) -> None:
    full = helper.make_node("LSTM", ["X", "W", "R", "B", "", "h", "c"], ["Y"], hidden_size=4)
    state = constants({"h": np.ones((1, 2, 4), "f4"), "c": np.zeros((1, 2, 4), "f4")})
    (found,) = unilstm.inspect(model(tmp_path / "m.onnx", [full], constants(MAPPING) + state))
    assert "starts it from a constant state" in str(found.uncertain)


def test_an_lstm_with_peepholes_and_one_without_bias_are_read(tmp_path: Path) -> None:
    spec = SPEC.replace(peephole=True, bias="none")
    full = helper.make_node("LSTM", ["X", "W", "R", "", "", "", "", "P"], ["Y"], hidden_size=4)
    assert unilstm.load(model(tmp_path / "m.onnx", [full], constants(draw(spec).to_layout("onnx")))) == draw(spec)
