"""What a file leaves to be assumed, or what of it comes along as it is, is said wherever it is read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw
from layout_cases import GOLDEN
from test_cli import run
from unilstm import LSTMSpec

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402 (needs onnx)

KERAS = str(GOLDEN / "keras/model.weights.h5")


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """A graph whose LSTM starts from a state that is not zero."""
    arrays: dict[str, Any] = draw(LSTMSpec(3, 4, batch_first=False)).to_layout("onnx")
    arrays |= {"h": np.ones((1, 2, 4), "f4"), "c": np.zeros((1, 2, 4), "f4")}
    node = helper.make_node("LSTM", ["X", "W", "R", "B", "", "h", "c"], ["Y"], hidden_size=4, name="rnn")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("X", "Y")]
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph([node], "g", values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_state_that_a_graph_starts_from_is_said_by_convert(started: Path, tmp_path: Path) -> None:
    done = unilstm.convert(started, tmp_path / "m.safetensors", check=False)
    assert "starts it from a constant state" in str(done.assumed)
    assert done.to_dict()["assumed"] == done.assumed
    printed = run("convert", started, tmp_path / "m.safetensors", "--no-verify").stdout
    assert f"Not settled by the file, nor checked: {done.assumed}.\n" in printed


def test_a_state_that_a_graph_starts_from_is_said_by_load_whatever_config_says(started: Path) -> None:
    for config in (None, {"hidden_size": 4}):
        with pytest.warns(UserWarning, match=r"m\.onnx: of its LSTM under 'rnn/': the graph starts it from a constant"):
            unilstm.load(started, config=config)


def test_arguments_that_a_file_does_not_say_are_assumed_until_the_caller_says_them(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    how: dict[str, Any] = {"lstm": "first", "check": False}
    assert "taken as Keras's defaults" in str(unilstm.convert(KERAS, tmp_path / "m.safetensors", **how).assumed)
    with pytest.warns(UserWarning, match=r"model\.weights\.h5: of its LSTM under 'first/': .*taken as Keras's default"):
        unilstm.load(KERAS, prefix="first")
    config = {"activation": "relu"}
    assert unilstm.convert(KERAS, tmp_path / "m.safetensors", config=config, **how).assumed is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unilstm.load(KERAS, prefix="first", config=config)


def test_a_file_that_says_all_leaves_nothing_open(tmp_path: Path) -> None:
    unilstm.save(draw(), tmp_path / "a.safetensors")
    done = unilstm.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", check=False)
    assert (done.assumed, done.carried_as) == (None, None)


@pytest.mark.parametrize(
    ("source", "to", "carried_as"),
    [("torch", None, None), ("torch", "torch", None), ("torch", "paddle", "torch"), ("paddle", None, "paddle")],
)
def test_other_arrays_that_are_in_the_layout_of_the_source_are_said_to_be(
    tmp_path: Path, source: str, to: str | None, carried_as: str | None
) -> None:
    """A Linear's weight is [out, in] in torch and [in, out] in Paddle."""
    arrays = {**draw().to_layout(source, prefix="lstm."), "head.weight": np.ones((2, 4), "f4")}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    done = unilstm.convert(tmp_path / "a.npz", tmp_path / "b.npz", to=to, check=False)
    assert (done.carried, done.carried_as) == (1, carried_as)
    assert done.to_dict()["carried_as"] == carried_as
    printed = run("convert", tmp_path / "a.npz", tmp_path / "b.npz", *(("--to", to) if to else ())).stdout
    said = f"came along, as they are, in {carried_as}'s layout; the" if carried_as else "came along; the"
    assert said in printed
