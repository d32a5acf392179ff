"""NumPy's .npz files: exact, and without pickles."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import unilstm
from checkpoint_files import SPECS, Bomb, draw
from unilstm import CheckpointError, LSTMSpec


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_npz_gives_back_exactly_what_was_saved(tmp_path: Path, spec: LSTMSpec, dtype: str) -> None:
    unilstm.save(draw(spec, dtype), tmp_path / "m.npz")
    assert unilstm.load(tmp_path / "m.npz") == draw(spec, dtype)


def test_numpy_reads_what_was_saved(tmp_path: Path) -> None:
    unilstm.save(draw(), tmp_path / "m.npz", layout="keras", allow="merge-biases")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as npz:
        np.testing.assert_array_equal(npz["kernel"], draw()["weight_ih_l0"].T)
    assert unilstm.load(tmp_path / "m.npz").spec == draw().spec.replace(bias="single")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saved_is_read(tmp_path: Path, save: object) -> None:
    arrays = {f"rnn/{name}": a.astype(">f4") for name, a in draw().to_layout("torch").items()}
    save(tmp_path / "m.npz", step=np.int64(3), **arrays)  # type: ignore[operator]
    assert unilstm.load(tmp_path / "m.npz", config={"batch_first": True}) == draw()


def test_an_array_of_objects_is_refused_and_does_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", allow_pickle=True, a=np.array([Bomb(tmp_path / "trace")], object))
    with pytest.raises(CheckpointError, match=r"'a' holds Python objects, which is a pickle"):
        unilstm.load(tmp_path / "m.npz")
    assert not (tmp_path / "trace").exists()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "m.npz", a=np.zeros(20 << 20))
    with pytest.raises(CheckpointError, match=r"claims \d+ bytes of data in a file of \d+"):
        unilstm.load(tmp_path / "m.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_wrong_checksum_is_refused(tmp_path: Path, save: object) -> None:
    save(tmp_path / "m.npz", **draw().to_layout("torch"))  # type: ignore[operator]
    data = bytearray((tmp_path / "m.npz").read_bytes())
    data[300] ^= 1
    (tmp_path / "m.npz").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"its part '\w+\.npy' is damaged"):
        unilstm.load(tmp_path / "m.npz")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(11, "f4"))
    with zipfile.ZipFile(tmp_path / "a.npz") as old, zipfile.ZipFile(tmp_path / "m.npz", "w") as new:
        new.writestr("a.npy", old.read("a.npy").replace(b"(11,)", b"(99,)"))
    with pytest.raises(CheckpointError, match=r"m\.npz: 'a' "):
        unilstm.load(tmp_path / "m.npz")


@pytest.mark.parametrize("keep", [1, 10, 300, -1, -30])
def test_a_truncated_npz_file_is_refused(tmp_path: Path, keep: int) -> None:
    unilstm.save(draw(), tmp_path / "m.npz")
    (tmp_path / "m.npz").write_bytes((tmp_path / "m.npz").read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.npz: is not a whole zip file"):
        unilstm.load(tmp_path / "m.npz")
