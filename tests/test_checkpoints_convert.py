"""Converting: what lies beside an LSTM comes along, the result is verified, and a target is whole or untouched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw, save_zip, torch_state
from layout_cases import GOLDEN
from unilstm import CheckpointError, LSTMSpec

torch = pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

FILES = Path(__file__).parent / "files"


class Tagger(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.rnn = torch.nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(8, 2)


# What comes along.


def test_a_torch_checkpoint_keeps_its_other_layers(tmp_path: Path) -> None:
    """The model loads what was written of it."""
    model = Tagger()
    save_zip(model.state_dict(), tmp_path / "a.pt")
    done = unilstm.convert(tmp_path / "a.pt", tmp_path / "b.pt")
    assert (done.carried, done.prefix, done.left) == (3, "rnn.", None)
    other = Tagger()
    other.load_state_dict(torch.load(tmp_path / "b.pt", weights_only=True))
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pdparams", ".npz"])
def test_only_what_lies_in_the_same_dict_comes_along(tmp_path: Path, suffix: str) -> None:
    """Not an optimizer's state; and the dict's own name goes, so that the model's load_state_dict takes it."""
    state = {**torch_state(prefix="lstm."), "head.weight": torch.ones(2, 4)}
    optimizer = {"state": {0: {"exp_avg": torch.ones(16, 3)}}}
    path = save_zip({"model": state, "optimizer": optimizer, "epoch": 3}, tmp_path / "a.pt")
    done = unilstm.convert(path, tmp_path / f"b{suffix}")
    assert (done.carried, done.prefix) == (1, "lstm.")
    found = unilstm.checkpoints.formats.open_checkpoint(tmp_path / f"b{suffix}").entries
    assert "head.weight" in found
    assert not any("exp_avg" in name for name in found)
    np.testing.assert_array_equal(found["head.weight"].read(), np.ones((2, 4)))


def test_only_lstm_leaves_the_rest(tmp_path: Path) -> None:
    save_zip(Tagger().state_dict(), tmp_path / "a.pt")
    done = unilstm.convert(tmp_path / "a.pt", tmp_path / "b.pt", only_lstm=True)
    assert (done.carried, done.prefix) == (0, "")
    torch.nn.LSTM(3, 4, 2, bidirectional=True).load_state_dict(torch.load(tmp_path / "b.pt", weights_only=True))


def test_a_keras_model_goes_to_torch_with_its_other_layers(tmp_path: Path) -> None:
    """As in: unilstm convert model.h5 model.safetensors --lstm first --to torch --allow split-bias."""
    source = str(GOLDEN / "keras/model_legacy.h5")
    done = unilstm.convert(source, tmp_path / "m.safetensors", lstm="first", to="torch", allow="split-bias")
    assert (done.prefix, done.carried) == ("first.", 8)
    found = {f.prefix: f.spec for f in unilstm.inspect(tmp_path / "m.safetensors")}
    assert found == {
        "first.": LSTMSpec(4, 6),
        "second/": LSTMSpec(6, 6, direction="bidirectional", bias="single"),
    }
    assert unilstm.load(tmp_path / "m.safetensors").spec == LSTMSpec(4, 6)
    assert unilstm.load(tmp_path / "m.safetensors", prefix="second").spec.direction == "bidirectional"


def test_a_name_of_both_is_refused(tmp_path: Path) -> None:
    """A canonical name that another array has."""
    arrays = {**draw(LSTMSpec(3, 4, bias="single")).to_layout("keras"), "weight_ih_l0": np.zeros(3, np.float32)}
    safetensors_numpy.save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"'weight_ih_l0' is another array's name, too.*--only-lstm"):
        unilstm.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_an_own_file_with_others_in_it_is_converted_again(tmp_path: Path) -> None:
    save_zip(Tagger().state_dict(), tmp_path / "a.pt")
    unilstm.convert(tmp_path / "a.pt", tmp_path / "b.safetensors", config={"batch_first": True})
    done = unilstm.convert(tmp_path / "b.safetensors", tmp_path / "c.npz")
    assert done.carried == 3
    assert unilstm.load(tmp_path / "c.npz") == unilstm.load(tmp_path / "b.safetensors") == done.weights


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_source_that_is_the_target_is_converted_whole(tmp_path: Path, suffix: str) -> None:
    """Its arrays are mapped into memory while it is replaced."""
    path = tmp_path / f"a{suffix}"
    unilstm.save(draw(), path, prefix="old." if suffix == ".safetensors" else "")
    done = unilstm.convert(path, path, config={"batch_first": True} if suffix == ".pt" else None)
    assert unilstm.load(path, config={"batch_first": True} if suffix == ".pt" else None) == draw()
    assert done.check is not None
    assert done.check.ok


# Whole or untouched.

WRITTEN = [".safetensors", ".pt", ".pdparams", ".npz", ".onnx"]
CONVERT = "import sys, unilstm; unilstm.convert(sys.argv[1], sys.argv[2], check=False)"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """4 MB."""
    unilstm.save(draw(LSTMSpec(256, 256, num_layers=2)), tmp_path / "large.safetensors")
    return tmp_path / "large.safetensors"


@pytest.mark.skipif(os.name == "nt", reason="limits are POSIX's")
@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_disk_that_fills_up_leaves_the_old_target_whole(tmp_path: Path, large: Path, suffix: str) -> None:
    """The process may write files of 1 MB; the target would have 4."""
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / f"m{suffix}"
    unilstm.save(draw(), target)
    before = target.read_bytes()
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
    command = [sys.executable, "-c", limit + CONVERT, str(large), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "CheckpointError" in done.stderr
    assert "cannot be written" in done.stderr
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_kill_in_the_middle_leaves_the_old_target_whole(tmp_path: Path, large: Path, suffix: str) -> None:
    """The process kills itself when its file is written and not yet renamed; nothing can tidy up after that."""
    target = tmp_path / f"m{suffix}"
    unilstm.save(draw(), target)
    before = target.read_bytes()
    kill = "import os, signal; os.fsync = lambda *args: os.kill(os.getpid(), signal.SIGKILL); "
    command = [sys.executable, "-c", kill + CONVERT, str(large), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert target.read_bytes() == before
    assert unilstm.load(target, config={"batch_first": True} if suffix == ".pt" else None) == draw()
