"""Files under another type's suffix, and folders above a checkpoint: the refusal says what they are."""

from __future__ import annotations

import pickle
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw, save_zip, torch_state
from layout_cases import GOLDEN
from unilstm import CheckpointError

FILES = Path(__file__).parent / "files"


def array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def renamed(suffix: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        unilstm.save(draw(), path.with_suffix(suffix))
        path.with_suffix(suffix).rename(path)

    return make


MAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "safetensors": (renamed(".safetensors"), r"is a safetensors file, not a file of {}\. Name it \.safetensors\."),
    "an array": (array, r"is an array of NumPy's, not a file of {}\. Name it \.eqx if equinox wrote it"),
    "hdf5": (
        lambda path: path.write_bytes((GOLDEN / "keras/model.weights.h5").read_bytes()),
        r"is an HDF5 file, not a file of {}\. Name it \.h5\.",
    ),
    "git lfs": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        r"is a pointer of Git LFS's, not a file of {}\. .*git lfs pull\.",
    ),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(30)), r"is a gzip file, not a file of {}\. Unpack"),
    "a page": (lambda path: path.write_text("<!DOCTYPE html>"), r"is a page .*not a file of {}\. Download the file it"),
}
OF_PADDLE = {"a zip file": (renamed(".npz"), r"is a zip file, not a file of {}\. Name it .*NumPy \.npz")}
OF_TORCH: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("hello world"), r"starts with b'hello world', which a file of {} does not"),
    "a zip file": (renamed(".npz"), r"torch cannot read it \(RuntimeError: "),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), r"Save it again, without pickle_protocol="),
    "a damaged pickle": (lambda path: path.write_bytes(b"\x80\x02" + bytes(40)), r"torch cannot read it \(Unpickling"),
}
OTHERS = [("paddle", name) for name in MAKES | OF_PADDLE] + [("torch", name) for name in MAKES | OF_TORCH]


@pytest.mark.parametrize(("system", "name"), OTHERS)
def test_a_file_of_another_type_is_refused_as_what_it_is(tmp_path: Path, system: str, name: str) -> None:
    """And torch's advice, to read it without weights_only, which would run it, is not in the traceback either."""
    pytest.importorskip("torch")
    make, message = (MAKES | (OF_PADDLE if system == "paddle" else OF_TORCH))[name]
    path = tmp_path / ("m.pdparams" if system == "paddle" else "m.pt")
    make(path)
    with pytest.raises(CheckpointError, match=message.format(rf"{system}\.save's")) as caught:
        unilstm.load(path)
    assert "weights_only" not in "".join(traceback.format_exception(caught.value))


def test_a_pickle_protocol_that_torchs_safe_reader_does_not_know_has_its_cure(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch_state(), tmp_path / "m.pt", pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r"operand 149\)\. .*Save it again, without pickle_protocol=") as caught:
        unilstm.load(tmp_path / "m.pt")
    assert "weights_only" not in "".join(traceback.format_exception(caught.value))


def test_a_whole_module_is_refused_without_torchs_advice(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = save_zip(torch.nn.LSTM(3, 4), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="holds a Python object") as caught:
        unilstm.load(path)
    assert "weights_only" not in "".join(traceback.format_exception(caught.value))


# Folders of orbax's.


def unpack(folder: Path) -> None:
    with zipfile.ZipFile(FILES / "orbax_ocdbt.zip") as archive:
        archive.extractall(folder)


def test_a_managers_folder_names_its_steps(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    for step in (2, 10):
        unpack(tmp_path / f"{step}/default")
    with pytest.raises(CheckpointError, match=r"above 2 checkpoints of orbax's, .*: '2', '10'\. Give .*/10\."):
        unilstm.load(tmp_path)
    assert unilstm.inspect(tmp_path / "10")
    for step in range(11, 21):
        unpack(tmp_path / f"{step}/default")
    with pytest.raises(
        CheckpointError, match=r"above 12 checkpoints of orbax's, of which the last: '11', .*'20'\. Give"
    ):
        unilstm.load(tmp_path)


def test_a_step_of_several_items_names_them(tmp_path: Path) -> None:
    """A manager's step with items has no checkpoint of its own."""
    pytest.importorskip("zstandard")
    unpack(tmp_path / "7/params")
    (tmp_path / "7/_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(CheckpointError, match=r"above 1 checkpoints of orbax's, .*: '7'\. Give .*/7\."):
        unilstm.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"above 1 checkpoints of orbax's, .*: 'params'\. Give .*/params\."):
        unilstm.load(tmp_path / "7")
    assert unilstm.inspect(tmp_path / "7/params")
