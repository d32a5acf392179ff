"""ONNX models that are made to do harm, or damaged: refused; and their external data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw
from test_checkpoints_onnx import MAPPING, SPEC, constant, constants, lstm, model, node
from unilstm import CheckpointError, LSTMSpec

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402 (needs onnx)

# External data.


def external(path: Path, location: str, length: int | None = None) -> Path:
    """R lies in another file; where, and how much of it, is as said."""
    arrays = constants(MAPPING)
    (r,) = (a for a in arrays if a.name == "R")
    data = r.raw_data
    r.ClearField("raw_data")
    r.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "4"), ("length", str(length or len(data)))):
        r.external_data.add(key=key, value=value)
    (path.parent / "weights.bin").write_bytes(b"\0" * 4 + data)
    return model(path, [lstm()], arrays)


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    assert unilstm.load(external(tmp_path / "m.onnx", "weights.bin")) == draw(SPEC)


@pytest.mark.parametrize(
    "location", ["../../etc/passwd", "/etc/passwd", "../weights.bin", "link", "a/../../weights.bin"]
)
def test_external_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "weights.bin").write_bytes(b"\0" * 1000)
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    with pytest.raises(CheckpointError, match="which is outside of the file's folder"):
        unilstm.load(external(tmp_path / "in" / "m.onnx", location))


@pytest.mark.parametrize(("location", "length"), [("none.bin", None), ("weights.bin", 40), ("weights.bin", 10**12)])
def test_external_data_that_is_not_there_is_refused(tmp_path: Path, location: str, length: int | None) -> None:
    with pytest.raises(CheckpointError, match=r"is no file|claims \d+ bytes"):
        unilstm.load(external(tmp_path / "m.onnx", location, length))


# Hostile graphs.


def expanded(name: str) -> list[Any]:
    return [constant("shape", np.array([1, 2**20, 2**20])), node("ConstantOfShape", ["shape"], name)]


def doubled(name: str) -> list[Any]:
    """Forty times the twofold of a kilobyte."""
    steps = [node("Concat", [f"c{n}", f"c{n}"], f"c{n + 1}", axis=0) for n in range(40)]
    return [constant("c0", np.zeros(256, "f4")), *steps, node("Identity", ["c40"], name)]


def circular(name: str) -> list[Any]:
    return [node("Identity", ["b"], "a"), node("Identity", ["a"], "b"), node("Identity", ["a"], name)]


def long(name: str) -> list[Any]:
    steps = [node("Identity", [f"c{n}"], f"c{n + 1}") for n in range(5000)]
    return [constant("c0", np.zeros(3, "f4")), *steps, node("Identity", ["c5000"], name)]


HOSTILE = {
    "a constant of a terabyte": (expanded, "constants come to far more bytes"),
    "doubled forty times": (doubled, "constants come to far more bytes"),
    "in a circle": (circular, "is not constant"),
    "a chain of 5000": (long, "behind more than 200 nodes"),
    "a shape that does not fit": (
        lambda name: [constant("s", np.array([7, 7])), node("Reshape", ["B", "s"], name)],
        "cannot be evaluated",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_graph_is_refused(tmp_path: Path, case: str) -> None:
    make, message = HOSTILE[case]
    arrays = [a for a in constants(MAPPING) if a.name != "R"]
    path = tmp_path / "m.onnx"
    graph = helper.make_graph([*make("R"), lstm()], "g", [], [], arrays)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(CheckpointError, match=message):
        unilstm.load(path)


@pytest.mark.parametrize("keep", [10, 100, 500, -1, -30])
def test_a_truncated_model_is_refused(tmp_path: Path, keep: int) -> None:
    path = model(tmp_path / "m.onnx", [lstm()], constants(MAPPING))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.onnx: "):
        unilstm.load(path)


def test_a_tensor_of_a_negative_size_is_refused(tmp_path: Path) -> None:
    arrays = constants(MAPPING)
    arrays[0].dims[0] = -1
    with pytest.raises(CheckpointError, match=r"'W' has shape \[-1"):
        unilstm.load(model(tmp_path / "m.onnx", [lstm()], arrays))


@pytest.mark.parametrize("name", [b"weight_hh_l0", b"unilstm", b'"format"'])
def test_a_name_that_is_not_text_is_refused(tmp_path: Path, name: bytes) -> None:
    """Found by the fuzzer: protobuf gives bytes for it. Of an array, of a key of the metadata, and of its value."""
    path = tmp_path / "m.onnx"
    unilstm.save(draw(LSTMSpec(3, 4, lanes=2)), path)
    data = path.read_bytes()
    assert name in data
    path.write_bytes(data.replace(name, b"\xa3" + name[1:]))
    for read in (unilstm.inspect, unilstm.load):
        with pytest.raises(CheckpointError, match=r"m\.onnx: "):
            read(path)
