"""paddle.save files: read and written without Paddle, and nothing in them is run."""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import Bomb, draw
from unilstm import CheckpointError, LSTMSpec

SPEC = LSTMSpec(3, 4, num_layers=2, direction="bidirectional")


@pytest.mark.parametrize("protocol", [2, 3, 4, "nested"])
def test_what_paddle_saved_is_read(tmp_path: Path, protocol: Any) -> None:
    paddle = pytest.importorskip("paddle")
    lstm = paddle.nn.LSTM(3, 4, num_layers=2, direction="bidirectional")
    if protocol == "nested":
        paddle.save({"model": lstm.state_dict(), "epoch": 3}, str(tmp_path / "m.pdparams"))
    else:
        paddle.save(lstm.state_dict(), str(tmp_path / "m.pdparams"), protocol=protocol)
    loaded = unilstm.load(tmp_path / "m.pdparams")
    assert loaded.spec == SPEC
    np.testing.assert_array_equal(loaded["weight_hh_l1_reverse"], lstm.state_dict()["1.cell_bw.weight_hh"].numpy())


def test_paddle_loads_what_was_saved(tmp_path: Path) -> None:
    paddle = pytest.importorskip("paddle")
    unilstm.save(draw(SPEC), tmp_path / "m.pdparams")
    lstm = paddle.nn.LSTM(3, 4, num_layers=2, direction="bidirectional")
    missing, unexpected = lstm.set_state_dict(paddle.load(str(tmp_path / "m.pdparams")))
    assert (missing, unexpected) == ([], [])
    np.testing.assert_array_equal(lstm.state_dict()["0.cell_fw.bias_hh"].numpy(), draw(SPEC)["bias_hh_l0"])


def test_it_comes_back_without_paddle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paddle", None)
    unilstm.save(draw(SPEC), tmp_path / "m.pdparams")
    assert unilstm.load(tmp_path / "m.pdparams") == draw(SPEC)
    assert [f.layout for f in unilstm.inspect(tmp_path / "m.pdparams")] == ["paddle"]


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_and_order_of_arrays_is_read(tmp_path: Path, protocol: int) -> None:
    state = {name: np.asfortranarray(a).astype(">f4") for name, a in draw().to_layout("paddle").items()}
    state["step"] = np.float64(3.0)  # type: ignore[assignment]
    (tmp_path / "m.pdparams").write_bytes(pickle.dumps(OrderedDict(state), protocol=protocol))
    assert unilstm.load(tmp_path / "m.pdparams") == draw()


# Hostile files.


class Calls:
    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what[0], self.what[1:]


def nested_key(depth: int) -> bytes:
    """A dict whose key is a tuple in a tuple in a tuple …: hashing it overflows the stack of C."""
    return b"\x80\x04}" + b")" + b"\x85" * depth + b"K\x01s."


HOSTILE = {
    "os.system": (lambda trace: pickle.dumps({"a": Bomb(trace)}), r"holds a Python object \(\w+\.mkdir\)"),
    "eval": (lambda trace: pickle.dumps({"a": Calls(eval, "1")}), r"holds a Python object \(builtins\.eval\)"),
    "a numpy function": (lambda trace: pickle.dumps(np.load), r"holds a Python object \(numpy\.load\)"),
    "an array of objects": (lambda trace: pickle.dumps(np.array([Bomb])), "holds"),
    "a call of an array": (lambda trace: b"\x80\x04cnumpy\nndarray\n)RN)R.", "holds a call"),
    "a state of a function": (lambda trace: b"\x80\x04cnumpy\nndarray\n}b.", "holds a state"),
    "a huge memo": (lambda trace: b"\x80\x04]r\xff\xff\xff\xff" + b"N" * 1000, "cannot be read"),
    "a huge text": (lambda trace: b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"a.", "cannot be read"),
    "a huge bytearray": (lambda trace: b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"a.", "cannot be read"),
    "a huge frame": (lambda trace: b"\x80\x04\x95" + (2**50).to_bytes(8, "little") + b"N.", "cannot be read"),
    "a deep key": (lambda trace: nested_key(500_000), "tuple as a key"),
    "an extension": (lambda trace: b"\x80\x04\x82\x01.", "cannot be read"),
    "a persistent id": (lambda trace: b"\x80\x04N\x51.", "a reference to something outside"),
    "no pickle": (lambda trace: b"hello world", "cannot be read"),
    "steps without end": (lambda trace: b"\x80\x04" + b"N0" * 600_000 + b"N.", "more than 600,000 steps"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pdparams_file_is_refused(tmp_path: Path, case: str) -> None:
    make, message = HOSTILE[case]
    (tmp_path / "m.pdparams").write_bytes(make(tmp_path / "trace"))
    with pytest.raises(CheckpointError, match=r"m\.pdparams: .*" + message):
        unilstm.load(tmp_path / "m.pdparams")
    assert not (tmp_path / "trace").exists()


def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps({"weight_ih_l0": np.zeros((7, 5), "f4")})
    assert data.count(b"K\x07K\x05\x86") == 1
    (tmp_path / "m.pdparams").write_bytes(data.replace(b"K\x07K\x05\x86", b"K\xf7K\xf5\x86"))
    with pytest.raises(CheckpointError, match=r"an array of shape \[247, 245\] with 140 bytes"):
        unilstm.load(tmp_path / "m.pdparams")


@pytest.mark.parametrize("keep", [1, 10, 100, -1, -30])
def test_a_truncated_pdparams_file_is_refused(tmp_path: Path, keep: int) -> None:
    unilstm.save(draw(), tmp_path / "m.pdparams")
    (tmp_path / "m.pdparams").write_bytes((tmp_path / "m.pdparams").read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.pdparams: "):
        unilstm.load(tmp_path / "m.pdparams")
