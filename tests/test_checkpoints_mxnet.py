"""MXNet's .params files: read without MXNet."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import unilstm
from unilstm import CheckpointError
from unilstm.checkpoints.formats import open_checkpoint

FILE = Path(__file__).parent / "files" / "mxnet.params"


def test_every_array_has_its_name_and_shape() -> None:
    entries = open_checkpoint(FILE).entries
    assert {name: entry.shape for name, entry in entries.items() if name.startswith("r1")} == {
        "r1_i2h_weight": (16, 8),
        "r1_h2h_weight": (16, 4),
        "r1_i2h_bias": (16,),
        "r1_h2h_bias": (16,),
    }
    assert len(entries) == 16
    assert all(0 < np.abs(entries[n].read()).max() <= 0.5 for n in entries if n.endswith("weight"))


def test_the_lstm_computes_what_mxnet_did() -> None:
    if "mxnet" not in unilstm.layouts.names():
        pytest.skip("the layout of MXNet is not there")
    with np.load(FILE.with_suffix(".npz"), allow_pickle=False) as npz:
        y, _ = unilstm.LSTM(unilstm.load(FILE, layout="mxnet", config={"layout": "NTC"}))(npz["x"])
        assert np.abs(y - npz["y"]).max() <= 1e-6


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def array(shape: tuple[int, ...], kind: int = 0, data: bytes = b"", storage: int = 0, magic: int = 0xF993FAC9) -> bytes:
    head = struct.pack("<Ii", magic, storage) + struct.pack(f"<i{len(shape)}q", len(shape), *shape)
    return head + struct.pack("<iii", 1, 0, kind) + data


LIST = struct.pack("<QQQ", 0x112, 0, 1)
NAME = struct.pack("<QQ", 1, 1) + b"a"
HOSTILE = {
    "another magic": ((b"\0" * 24,), "is not a file of MXNet's"),
    "too many arrays": ((struct.pack("<QQQ", 0x112, 0, 2**60),), "arrays or names"),
    "a sparse array": ((LIST, array((1,), storage=1)), "holds a sparse array"),
    "a shape past the end": ((LIST, array((2**40, 2**40))), "past the end of the file"),
    "a negative shape": ((LIST, array((-1,))), "has an array of shape"),
    "an unknown type": ((LIST, array((1,), 99)), "has an array of shape"),
    "a hundred axes": ((LIST, struct.pack("<Iii", 0xF993FAC9, 0, 100)), "of 100 axes"),
    "a name without end": ((LIST, array((1,), 0, b"\0" * 4), struct.pack("<QQ", 1, 2**60)), "has a name of"),
    "no names": ((LIST, array((1,), 0, b"\0" * 4), struct.pack("<Q", 0)), "has 1 arrays, but 0 names"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_params_file_is_refused(tmp_path: Path, case: str) -> None:
    parts, message = HOSTILE[case]
    with pytest.raises(CheckpointError, match=message):
        unilstm.load(write(tmp_path / "m.params", *parts))


def test_arrays_of_every_type_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m.params", LIST, array((2,), 2, np.array([1.5, -2], "f2").tobytes()), NAME)
    entry = open_checkpoint(path).entries["a"]
    assert (entry.dtype, entry.read().tolist()) == ("float16", [1.5, -2.0])


@pytest.mark.parametrize("keep", [1, 30, 200, -1, -30])
def test_a_truncated_params_file_is_refused(tmp_path: Path, keep: int) -> None:
    with pytest.raises(CheckpointError, match=r"m\.params: "):
        unilstm.load(write(tmp_path / "m.params", FILE.read_bytes()[:keep]))
