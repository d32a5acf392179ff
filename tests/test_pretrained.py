"""A model folder: written from any backend, loaded on any other, and refused where its parts disagree."""

from __future__ import annotations

import json
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
    "long": (lambda folder: (folder / "config.json").write_text(" " * (2 << 20)), "is longer than"),
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
