"""The table of docs/layouts.md, system by file, is true: what it says is written is, and comes back; versions are those
that the tests run with."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from layout_cases import CASES, GOLDEN, layout_of, usual
from unilstm import LSTMSpec, Weights, layouts
from unilstm.checkpoints import formats

ROOT = Path(__file__).parent.parent
KINDS = (*formats.KINDS, formats.ORBAX)
# Of systems that are not installed; tests/files/README.md and golden/README.md say what their files were made with.
ABSENT = ("mxnet",)


def page() -> Any:
    found = importlib.util.spec_from_file_location("layouts_page", ROOT / "docs" / "pictures" / "layout_page.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


PAGE = page()


def weights_of(name: str) -> Weights:
    # Keras's initial forget biases are exact behind an offset of 1.
    return Weights.initial(LSTMSpec(3, 4, **usual(name)), 1, init="keras")


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    weights = weights_of(name)
    kinds = [kind for kind in formats.KINDS if PAGE.writes(kind, name)]
    assert kinds
    for kind in kinds:
        assert PAGE.reads(kind, name)
        path = tmp_path / f"m{kind.suffixes[0]}"
        unilstm.save(weights, path, **({} if name == "onnx" and path.suffix == ".onnx" else {"layout": name}))
        told = path.suffix in (".safetensors", ".npz", ".onnx", ".keras", ".h5")  # what says of itself what it is of
        how: dict[str, Any] = {} if told else {"layout": name, "config": weights.layout_config(name)}
        assert unilstm.load(path, **how) == weights, kind


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_what_is_in_several_files_is_read(tmp_path: Path, name: str) -> None:
    arrays = weights_of(name).to_layout(name)
    unilstm.save(weights_of(name), tmp_path / "part.safetensors", layout=name)
    index = {"metadata": {}, "weight_map": dict.fromkeys(arrays, "part.safetensors")}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    read = unilstm.load(tmp_path / "m.safetensors.index.json", layout=name, config=weights_of(name).layout_config(name))
    assert read == weights_of(name)


def test_elmo_is_read_from_its_own_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    weights = weights_of("elmo")
    with h5py.File(tmp_path / "elmo.hdf5", "w") as file:
        for place, array in weights.to_layout("elmo").items():
            file[place] = array
    (found,) = unilstm.inspect(tmp_path / "elmo.hdf5")
    assert (found.layout, found.spec) == ("elmo", weights.spec)


def test_the_versions_are_those_that_are_installed() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    stated = {kind.tested for kind in KINDS}
    for text in stated:
        name, version = text.split(" ")
        if name not in ABSENT:
            assert f"{pins[name]}.".startswith(f"{version}."), text
    assert {text.split(" ")[0] for text in stated} - pins.keys() == set(ABSENT)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("onnx/")])
def test_a_layout_names_the_version_that_its_golden_vectors_are_of(case: str) -> None:
    """ONNX's source is the operator's; what ran it is onnxruntime, as its page says."""
    with (GOLDEN / f"{case}.npz").open("rb") as file, np.load(file, allow_pickle=False) as npz:
        version = json.loads(str(npz["meta"]))["version"]
    stated = layout_of(case).source.partition(",")[0].split(" ")[-1]
    assert f"{version.split('+')[0]}.".startswith(f"{stated}."), version
