"""ONNX graphs whose LSTMs start from states that other LSTMs give: these are no layers of one LSTM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import numbers
from test_checkpoints_onnx import constant, constants, layer, model, node
from unilstm import LSTMSpec, Weights
from unilstm.checkpoints import onnx_lstms

onnx = pytest.importorskip("onnx")
from onnx import helper  # noqa: E402 (needs onnx)

SPEC = LSTMSpec(4, 4, batch_first=False)
ONE = constant("one", np.array([1]))


def lstm(name: str, x: str, state: str = "", **said: Any) -> list[Any]:
    """An LSTM node and what takes its axis of directions away. state: the node whose last state it starts from."""
    weights = [f"{name}.{part}" for part in "WRB"]
    start = [f"{state}_h", f"{state}_c"] if state else ["", ""]
    made = helper.make_node(
        "LSTM", [x, *weights, "", *start], [f"{name}_y", f"{name}_h", f"{name}_c"], name=name, hidden_size=4, **said
    )
    return [made, node("Squeeze", [f"{name}_y", "one"], name)]


def weights(names: str) -> list[Any]:
    return [c for n, name in enumerate(names) for c in constants(layer(SPEC, n), f"{name}.")]


def saved(folder: Path, nodes: list[Any], names: str, inputs: tuple[str, ...] = ("X",)) -> Path:
    opset = [helper.make_opsetid("", 14)]
    return model(folder / "m.onnx", [ONE, *nodes], weights(names), inputs, opset_imports=opset, ir_version=8)


def found(path: Path) -> list[tuple[str, int, bool]]:
    """Prefix, layers, and whether it is said that the state comes from another LSTM."""
    assert all(one.problem is None for one in unilstm.inspect(path))
    return [(f.prefix, f.spec.num_layers, "another LSTM" in str(f.uncertain)) for f in unilstm.inspect(path) if f.spec]


def test_a_decoder_that_starts_from_its_encoders_state_is_another_lstm(tmp_path: Path) -> None:
    """They were read as one LSTM of two layers; run one after the other they are what onnxruntime computes."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = saved(tmp_path, [*lstm("e", "X"), *lstm("d", "e", "e")], "ed")
    assert found(path) == [("e/", 1, False), ("d/", 1, True)]
    x = numbers(5, 2, 4, dtype="float32")
    (want,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"X": x})
    y, state = unilstm.LSTM(unilstm.load(path, prefix="e/"))(x)
    with pytest.warns(UserWarning, match="starts it from a state that another LSTM gives: pass it to the call"):
        decoder = unilstm.load(path, prefix="d/")
    got, _ = unilstm.LSTM(decoder)(y, state)
    assert np.abs(got - want).max() <= 1e-6


def test_encoder_and_decoder_keep_their_layers(tmp_path: Path) -> None:
    nodes = [*lstm("e", "X"), *lstm("f", "e"), *lstm("c", "f", "e"), *lstm("d", "c", "f")]
    path = saved(tmp_path, nodes, "efcd")
    assert found(path) == [("e/", 2, False), ("c/", 2, True)]
    assert unilstm.load(path, prefix="e/")["weight_hh_l1"].tolist() == Weights.initial(SPEC, 1)["weight_hh_l0"].tolist()


def either(value: str, output: str) -> Any:
    """An If whose branches read a value of the graph around them."""
    out = onnx.ValueInfoProto(name="out")
    branch = helper.make_graph([node("Tanh", [value], "out")], "branch", [], [out])
    return node("If", ["yes"], output, then_branch=branch, else_branch=branch)


HANDED = {
    "through other nodes": [node("Tanh", ["e_h"], "s_h"), node("Identity", ["e_c"], "s_c")],
    "of the outputs": [node("ReduceMean", ["e_y"], "s_h", axes=[0], keepdims=0), node("Tanh", ["s_h"], "s_c")],
    "through another LSTM": lstm("s", "e"),
    "in a subgraph": [either("e_h", "s_h"), either("e_c", "s_c")],
}


@pytest.mark.parametrize("case", HANDED)
def test_a_state_is_followed_to_where_it_comes_from(tmp_path: Path, case: str) -> None:
    path = saved(tmp_path, [*lstm("e", "X"), *HANDED[case], *lstm("d", "e", "s")], "eds", ("X", "yes"))
    assert ("d/", 1, True) in found(path)


def test_zeros_of_an_outputs_shape_are_no_state_of_it(tmp_path: Path) -> None:
    """So torch's exporter starts an LSTM that is given none."""
    nodes = [node("Shape", ["e_h"], "shape"), *(node("ConstantOfShape", ["shape"], f"s_{n}") for n in "hc")]
    assert found(saved(tmp_path, [*lstm("e", "X"), *nodes, *lstm("d", "e", "s")], "ed")) == [("e/", 2, False)]


def test_a_state_from_outside_leaves_a_stack_whole(tmp_path: Path) -> None:
    nodes = [*lstm("e", "X", "s"), *lstm("d", "e", "t")]
    assert found(saved(tmp_path, nodes, "ed", ("X", "s_h", "s_c", "t_h", "t_c"))) == [("e/", 2, False)]


def test_directions_of_which_one_starts_from_the_other_are_two_lstms(tmp_path: Path) -> None:
    nodes = [*lstm("e", "X"), *lstm("d", "X", "e", direction="reverse"), node("Concat", ["e", "d"], "y", axis=2)]
    assert found(saved(tmp_path, nodes, "ed")) == [("e/", 1, False), ("d/", 1, True)]


def test_a_state_too_far_to_follow_is_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_lstms, "_STEPS", 10)
    far = [node("Tanh", [f"s_{n}"], f"s_{n + 1}") for n in range(20)]
    nodes = [*lstm("e", "X"), *far, node("Identity", ["s_20"], "t_h"), *lstm("d", "e", "t")]
    assert len(found(saved(tmp_path, nodes, "ed", ("X", "s_0", "t_c")))) == 2
