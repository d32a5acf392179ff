"""A model folder: written from any backend, loaded on any other, and refused where its parts disagree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import SPECS, draw
from conftest import numbers
from unilstm import CheckpointError, LSTMSpec

pytest.importorskip("safetensors")


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_it_loads_on_every_backend(tmp_path: Path, backend: Any, spec: LSTMSpec) -> None:
    unilstm.save_pretrained(draw(spec), tmp_path / "model")
    lstm = unilstm.from_pretrained(tmp_path / "model", backend=backend.name)
    assert lstm.weights() == draw(spec)


def test_it_is_saved_from_every_backend(tmp_path: Path, backend: Any) -> None:
    unilstm.save_pretrained(unilstm.LSTM(draw(), backend=backend.name), tmp_path / "a/b/model")
    assert unilstm.load(tmp_path / "a/b/model/model.safetensors") == draw()


def test_the_folder_has_what_such_folders_have(tmp_path: Path) -> None:
    unilstm.save_pretrained(draw(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["spec"]) == ("unilstm", {"input_size": 3, "hidden_size": 4})
    card = (tmp_path / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: unilstm\n")
    assert "144 parameters" in card


def test_a_card_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    unilstm.save_pretrained(draw(), tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_the_folder_is_inspected_and_loaded_as_a_file_is(tmp_path: Path) -> None:
    unilstm.save_pretrained(draw(), tmp_path)
    assert unilstm.load(tmp_path) == draw()
    assert unilstm.inspect(tmp_path)[0].spec == draw().spec


def test_a_dtype_can_be_chosen(tmp_path: Path) -> None:
    unilstm.save_pretrained(draw(), tmp_path)
    lstm = unilstm.from_pretrained(tmp_path, dtype="float64")
    assert lstm(numbers(2, 3, 3))[0].dtype == np.float64


BROKEN = {
    "no config": (lambda folder: (folder / "config.json").unlink(), r"config\.json: cannot be opened"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors: cannot be opened"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("["), "is not JSON"),
    "deep JSON": (lambda folder: (folder / "config.json").write_text("[" * 100_000), "is not JSON"),
    "another model": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
        "is not of an LSTM",
    ),
    "no spec": (lambda folder: (folder / "config.json").write_text('{"model_type": "unilstm"}'), "impossible spec"),
    "long": (lambda folder: (folder / "config.json").write_text(" " * (17 << 20)), "is longer than"),
    "another spec": (
        lambda folder: (folder / "config.json").write_text(
            '{"model_type": "unilstm", "spec": {"input_size": 3, "hidden_size": 5}}'
        ),
        r"config\.json says LSTMSpec\(3, 5\), but model\.safetensors holds LSTMSpec\(3, 4\)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused(tmp_path: Path, case: str) -> None:
    unilstm.save_pretrained(draw(), tmp_path)
    breaks, message = BROKEN[case]
    breaks(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        unilstm.from_pretrained(tmp_path)


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(CheckpointError, match="cannot be made"):
        unilstm.save_pretrained(draw(), tmp_path / "taken")


SAVE = "import sys, unilstm; unilstm.save_pretrained(unilstm.load(sys.argv[1]), sys.argv[2])"


def interrupted(tmp_path: Path, before: str) -> subprocess.CompletedProcess[str]:
    """A model of 4 MB goes where one of 1 KB is, in a process to which something happens."""
    unilstm.save_pretrained(draw(), tmp_path / "model")
    unilstm.save(draw(LSTMSpec(256, 256, num_layers=2)), tmp_path / "large.safetensors")
    command = [sys.executable, "-c", before + SAVE, str(tmp_path / "large.safetensors"), str(tmp_path / "model")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="limits are POSIX's")
def test_a_disk_that_fills_up_leaves_the_old_model_whole(tmp_path: Path) -> None:
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); "
    assert "cannot be written" in interrupted(tmp_path, limit).stderr
    assert unilstm.from_pretrained(tmp_path / "model").weights() == draw()
    assert len(list((tmp_path / "model").iterdir())) == 3


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize("written", [1, 2])
def test_a_kill_leaves_the_old_model_or_one_that_is_refused(tmp_path: Path, written: int) -> None:
    """Between the two files that make a model the new weights are there with the old config.json, which is noticed."""
    kill = "import os, signal; left = [None] * " + str(written) + "; "
    kill += "os.fsync = lambda *args: (left.pop(), left or os.kill(os.getpid(), signal.SIGKILL)); "
    done = interrupted(tmp_path, kill)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if written == 1:
        assert unilstm.from_pretrained(tmp_path / "model").weights() == draw()
    else:
        with pytest.raises(CheckpointError, match="Write the folder again"):
            unilstm.from_pretrained(tmp_path / "model")
