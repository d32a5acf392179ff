"""torch files beyond the plain state_dict: training loops' checkpoints, TorchScript, views, checksums, shards."""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import random
import sys
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import Bomb, draw, save_zip, torch_state
from unilstm import CheckpointError, LSTMSpec, Weights

torch = pytest.importorskip("torch")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

FIRST = {"batch_first": True}


# What training loops write.


def test_numbers_paths_and_options_beside_the_tensors_do_no_harm(tmp_path: Path) -> None:
    """torch.load(weights_only=True) alone refuses a file for any one of them."""
    state = {
        "model": torch_state(),
        "best": np.float64(0.5),
        "history": np.arange(3),
        "options": argparse.Namespace(lr=0.1),
        "folder": pathlib.PosixPath("/tmp"),
    }
    assert unilstm.load(save_zip(state, tmp_path / "m.pt"), config=FIRST) == draw()


BESIDE = {
    "a NumPy number": np.mean([1.0, 2.0]),
    "an array": np.arange(3),
    "a time": datetime.datetime(2026, 1, 2),
    "bytes": b"abc",
    "a bytearray": bytearray(b"abc"),
    "the state of a generator": (b"abc", random.getstate()),
    "keys that are tuples": {(0, 1): b"abc"},
    "a key that is a class": {argparse.Namespace: b"abc"},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("what", BESIDE)
def test_what_lies_beside_the_state_dict_of_a_module_does_no_harm(tmp_path: Path, what: str, zipped: bool) -> None:
    """It is an OrderedDict with attributes (_metadata), which a pickle says as a state; a plain dict has none."""
    module = torch.nn.LSTM(3, 4, batch_first=True)
    module.load_state_dict(torch_state())
    state = {"model": module.state_dict(), "beside": BESIDE[what], "end": b"abc"}
    torch.save(state, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    assert unilstm.load(tmp_path / "m.pt", config=FIRST) == draw()


def test_a_lightning_checkpoint_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the parts that Lightning 2 writes, and a callback's class as Lightning 1 did; Lightning is not here."""

    class ModelCheckpoint:
        pass

    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = (
        "pytorch_lightning.callbacks.model_checkpoint",
        "ModelCheckpoint",
    )
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = ModelCheckpoint  # type: ignore[attr-defined]
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    checkpoint = {
        "epoch": 3,
        "global_step": 12,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": torch_state(prefix="model.lstm."),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(16, 3)}}, "param_groups": [{"lr": 1e-3}]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"hidden": 4},
    }
    save_zip(checkpoint, tmp_path / "m.ckpt")
    monkeypatch.setitem(sys.modules, module.__name__, None)
    assert unilstm.load(tmp_path / "m.ckpt", config=FIRST) == draw()
    assert [f.prefix for f in unilstm.inspect(tmp_path / "m.ckpt")] == ["state_dict.model.lstm."]


def test_a_stand_in_is_not_what_it_stands_for(tmp_path: Path) -> None:
    """A name on the list is not imported either: its state is dropped, and nothing of it runs."""
    path = save_zip({"a": argparse.Namespace(x=Bomb(tmp_path / "trace"))}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"holds a Python object \(\w+\.mkdir\)"):
        unilstm.load(path)
    assert not (tmp_path / "trace").exists()


# Tensors that share memory, and torches that do not say where their data is.


def shared() -> dict[str, Any]:
    """Transposed, offset and expanded views of one storage."""
    base = torch.arange(200, dtype=torch.float32) / 200
    return {
        "weight_ih_l0": base[:48].reshape(3, 16).T,
        "weight_hh_l0": base[100:164].reshape(16, 4),
        "bias_ih_l0": base[1:2].expand(16),
        "bias_hh_l0": base[:32:2],
    }


@pytest.mark.parametrize("older", [False, True], ids=["torch 2.11", "older torch"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_views_are_read_as_torch_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool, order: str
) -> None:
    path = save_zip(shared(), tmp_path / "m.pt")
    if older:
        monkeypatch.setattr("unilstm.checkpoints.torch_file._place", lambda torch, tensor: None)
    if order == "big":
        swap_bytes(path)
    loaded = unilstm.load(path, config=FIRST)
    for name, tensor in shared().items():
        np.testing.assert_array_equal(loaded[name], tensor.numpy())


def swap_bytes(path: Path) -> None:
    """The file as a big-endian machine writes it, without checksums."""
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            data = b"big" if name.endswith("/byteorder") else data
            archive.writestr(name, np.frombuffer(data, "<f4").astype(">f4").tobytes() if "/data/" in name else data)


def test_an_empty_tensor_is_read(tmp_path: Path) -> None:
    path = save_zip({**torch_state(), "none": torch.zeros(0, 3)}, tmp_path / "m.pt")
    assert unilstm.load(path, config=FIRST) == draw()


# Checksums and counts.


def damage_data(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = data.find(draw()["weight_hh_l0"].tobytes())
    assert place > 0
    data[place] ^= 1
    path.write_bytes(data)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = save_zip(torch_state(), tmp_path / "m.pt")
    damage_data(path)
    with pytest.raises(CheckpointError, match=r"its data at \d+ is damaged"):
        unilstm.load(path)


def test_a_file_that_was_saved_without_checksums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save_zip(torch_state(), tmp_path / "m.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert unilstm.load(path, config=FIRST) == draw()


# TorchScript.


class Tagger(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(8, 2)
        self.sizes = [3, 4]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_torchscript_archive_is_read_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    module = Tagger().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have us export
        program = torch.jit.script(module) if how == "script" else torch.jit.trace(module, torch.zeros(2, 5, 3))
        program.save(tmp_path / "m.pt")
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: pytest.fail("it ran"))
    (found,) = unilstm.inspect(tmp_path / "m.pt")
    assert (found.prefix, found.layout) == ("lstm.", "torch")
    loaded = unilstm.load(tmp_path / "m.pt", config=FIRST)
    assert loaded.spec == LSTMSpec(3, 4, num_layers=2, direction="bidirectional")
    for name, tensor in module.lstm.state_dict().items():
        np.testing.assert_array_equal(loaded[name], tensor.numpy())


def test_a_damaged_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have us export
        torch.jit.script(Tagger()).save(tmp_path / "m.pt")
    data = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(data.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9"))
    with pytest.raises(CheckpointError, match=r"data\.pkl' is damaged"):
        unilstm.load(tmp_path / "m.pt")


# Shards.


def shards(folder: Path, kind: str) -> Path:
    arrays = draw().to_layout("torch", prefix="lstm.")
    names = list(arrays)
    places = {name: f"part-{n // 2}.{kind}" for n, name in enumerate(names)}
    for shard in set(places.values()):
        own = {name: arrays[name] for name in names if places[name] == shard}
        if kind == "safetensors":
            safetensors_numpy.save_file(own, folder / shard)
        else:
            torch.save({name: torch.tensor(a) for name, a in own.items()}, folder / shard)
    index = folder / f"model.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_through_their_index(tmp_path: Path, kind: str) -> None:
    assert unilstm.load(shards(tmp_path, kind), config=FIRST) == draw()
    assert [f.prefix for f in unilstm.inspect(shards(tmp_path, kind))] == ["lstm."]


INDEXES = {
    "a shard elsewhere": ({"weight_map": {"a": "../part-0.safetensors"}}, "is not beside it"),
    "a shard by a whole path": ({"weight_map": {"a": "/etc/passwd"}}, "is not beside it"),
    "itself": ({"weight_map": {"a": "model.safetensors.index.json"}}, "is not beside it"),
    "no such shard": ({"weight_map": {"a": "none.safetensors"}}, "cannot be opened"),
    "no such array": ({"weight_map": {"a": "part-0.safetensors"}}, "where it is not"),
    "no map": ({"metadata": {}}, "has no weight_map"),
    "a number for a shard": ({"weight_map": {"a": 5}}, "has no weight_map"),
    "too many": ({"weight_map": {f"a{n}": "part-0.safetensors" for n in range(100_001)}}, "arrays or names"),
}


@pytest.mark.parametrize("case", INDEXES)
def test_a_hostile_index_is_refused(tmp_path: Path, case: str) -> None:
    index, message = INDEXES[case]
    path = shards(tmp_path, "safetensors")
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        unilstm.load(path)


def test_an_index_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="is not JSON"):
        unilstm.load(tmp_path / "m.safetensors.index.json")


def test_weights_of_any_spec_survive_a_state_dict(tmp_path: Path) -> None:
    spec = LSTMSpec(3, 4, num_layers=2, direction="bidirectional", proj_size=2)
    path = save_zip(torch_state(spec), tmp_path / "m.pt")
    assert unilstm.load(path, config=FIRST) == Weights.initial(spec, 7)
