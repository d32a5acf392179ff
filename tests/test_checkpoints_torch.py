"""torch files: found in whatever dict they lie, opened without running anything, refused where hostile."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import SPECS, Bomb, draw, save_zip, torch_state
from unilstm import CheckpointError, LSTMSpec

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".PT"])
def test_pt_holds_a_plain_state_dict(tmp_path: Path, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / f"lstm{suffix}"
    unilstm.save(draw(), path)
    state = torch.load(path, weights_only=True)
    torch.nn.LSTM(3, 4).load_state_dict(state)
    assert unilstm.load(path, config={"batch_first": True}) == draw()


# LSTMs are found in what something else wrote.


def nested_checkpoint(path: Path) -> Path:
    """As training loops write them: a step, the model's state, an optimizer's."""
    torch = pytest.importorskip("torch")
    model = OrderedDict(torch_state(prefix="lstm."))
    model["linear.weight"] = torch.ones(5, 4)
    optimizer = {"state": {0: {"exp_avg": torch.ones(16, 3)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]}
    return save_zip({"step": 3, "model_state": model, "optimizer_state": optimizer}, path)


@pytest.mark.parametrize("prefix", [None, "model_state.lstm.", "lstm.", "lstm"])
def test_an_lstm_is_found_in_a_training_checkpoint(tmp_path: Path, prefix: str | None) -> None:
    path = nested_checkpoint(tmp_path / "model.pt")
    loaded = unilstm.load(path, prefix=prefix, config={"batch_first": True})
    assert loaded == draw()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_both_torch_formats_are_read(tmp_path: Path, legacy: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch_state(), tmp_path / "model.pt", _use_new_zipfile_serialization=not legacy)
    assert unilstm.load(tmp_path / "model.pt", config={"batch_first": True}) == draw()


def test_inspect_says_where_and_what(tmp_path: Path) -> None:
    (found,) = unilstm.inspect(nested_checkpoint(tmp_path / "model.pt"))
    assert found.prefix == "model_state.lstm."
    assert found.layout == "torch"
    assert found.spec == LSTMSpec(3, 4, batch_first=False)
    assert found.parameters == 16 * 3 + 16 * 4 + 32
    assert (found.dtype, found.uncertain, found.problem) == ("float32", None, None)
    assert json.loads(json.dumps(found.to_dict()))["spec"] == {"input_size": 3, "hidden_size": 4, "batch_first": False}


def test_inspect_of_an_own_file_is_exact(tmp_path: Path) -> None:
    unilstm.save(draw(SPECS["exotic"]), tmp_path / "lstm.safetensors")
    (found,) = unilstm.inspect(tmp_path / "lstm.safetensors")
    assert (found.spec, found.layout, found.prefix) == (SPECS["exotic"], "unilstm", "")


def test_bfloat16_in_a_torch_file_is_read_exactly(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {name: t.bfloat16() for name, t in torch_state().items()}
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="bfloat16"):
        unilstm.load(tmp_path / "m.pt")
    loaded = unilstm.load(tmp_path / "m.pt", dtype="float32")
    np.testing.assert_array_equal(loaded["weight_hh_l0"], state["weight_hh_l0"].float().numpy())


# Hostile torch files.


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_pickle_bomb_is_refused_and_does_not_run(tmp_path: Path, legacy: bool) -> None:
    torch = pytest.importorskip("torch")
    state = {**torch_state(), "extra": Bomb(tmp_path / "trace")}
    torch.save(state, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"m\.pt: holds a Python object \(\w+\.mkdir\).*model\.state_dict\(\)"):
        unilstm.load(tmp_path / "m.pt")
    assert not (tmp_path / "trace").exists()


def test_a_plain_pickle_bomb_is_refused_and_does_not_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "m.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "trace"), protocol=2))
    with pytest.raises(CheckpointError, match=r"m\.pt: "):
        unilstm.load(tmp_path / "m.pt")
    assert not (tmp_path / "trace").exists()


def test_a_whole_module_is_refused_with_the_cure(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = save_zip(torch.nn.LSTM(3, 4), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"\(torch\.nn\.modules\.rnn\.LSTM\).*torch\.save\(model\.state_dict\(\)"):
        unilstm.load(path)


def test_the_refusal_never_advises_to_run_the_file(tmp_path: Path) -> None:
    path = save_zip({"extra": Bomb(tmp_path / "trace")}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError) as raised:
        unilstm.load(path)
    assert "weights_only" not in str(raised.value)
    assert "safe_globals" not in str(raised.value)


@pytest.mark.parametrize("keep", [3, 10, 500, -1, -30, -200])
def test_a_truncated_zip_is_refused(tmp_path: Path, keep: int) -> None:
    path = save_zip(torch_state(), tmp_path / "m.pt")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.pt: .*Copy or download it again"):
        unilstm.load(path)


@pytest.mark.parametrize("keep", [3, 50, 500, -1, -30])
def test_a_truncated_legacy_file_is_refused(tmp_path: Path, keep: int) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    torch.save(torch_state(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.pt: .*Copy or download it again"):
        unilstm.load(path)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_torch_file_raises_nothing_but_checkpoint_error(tmp_path: Path, seed: int) -> None:
    """Random bytes over a legacy file's pickle. Damage to the data alone goes unseen: the format has no checksum."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    torch.save(torch_state(), path, _use_new_zipfile_serialization=False)
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, 600, 10):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    try:
        unilstm.load(path)
    except CheckpointError as problem:
        assert str(path) in str(problem)  # noqa: PT017 (no error is an allowed outcome)


@pytest.mark.parametrize("content", [b"not a pickle at all", b"\x80\x02.", b"PK\x03\x04", b"\0" * 100])
def test_what_is_no_torch_file_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("torch")
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.pt: "):
        unilstm.load(tmp_path / "m.pt")


def rewrite_zip(path: Path, compression: int) -> Path:
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    path = rewrite_zip(save_zip(torch_state(), tmp_path / "m.pt"), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"is compressed, as its writer never does"):
        unilstm.load(path)


def test_a_zip_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = save_zip(torch_state(), tmp_path / "m.pt")
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\x01\x02")  # the last entry of the central directory; its sizes are 20 bytes on
    content[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"claims \d+ bytes of data in a file of \d+"):
        unilstm.load(path)


def test_a_legacy_file_that_claims_a_petabyte_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "m.pt"
    torch.save({"weight_ih_l0": torch.zeros(77)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert content.count(b"K\x4d") == 2  # the pickle's one-byte integer 77: elements of the storage, and the shape
    path.write_bytes(content.replace(b"K\x4d", b"\x8a\x07" + (2**50).to_bytes(7, "little"), 1))
    with pytest.raises(CheckpointError, match=r"m\.pt: "):
        unilstm.load(path)


def test_strides_of_zero_do_not_make_four_bytes_sixteen_megabytes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    size = 1 << 10  # what claims more than 64 MB is refused before
    state = {
        "weight_ih_l0": torch.zeros(1).expand(4 * size, 3),
        "weight_hh_l0": torch.zeros(1).expand(4 * size, size),
    }
    path = save_zip(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"claims \d+ elements but holds 4 bytes"):
        unilstm.load(path, layout="torch")


def test_a_dict_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    state: dict[str, Any] = {"model": torch_state()}
    state["model"]["self"] = state
    path = save_zip(state, tmp_path / "m.pt")
    assert unilstm.load(path, config={"batch_first": True}) == draw()


def test_a_fan_of_shared_dicts_is_read_once(tmp_path: Path) -> None:
    state: dict[str, Any] = torch_state()
    for _ in range(40):  # 2**40 places, 41 dicts
        state = {"a": state, "b": state}
    assert len(unilstm.inspect(save_zip(state, tmp_path / "m.pt"))) == 1


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    state: dict[str, Any] = torch_state()
    for _ in range(100):
        state = {"a": state}
    path = save_zip(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="nested more than 64 levels"):
        unilstm.load(path)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    state = torch_state(prefix="lstm.")
    path = save_zip({**state, "lstm": torch_state()}, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"two arrays come to the name 'lstm\."):
        unilstm.load(path)


@pytest.mark.parametrize("kind", ["sparse", "without data", "quantized"])
def test_a_tensor_that_is_not_plain_is_refused(tmp_path: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    state = torch_state()
    plain = state["weight_ih_l0"]
    if kind == "sparse":
        state["weight_ih_l0"] = plain.to_sparse()
    elif kind == "without data":
        state["weight_ih_l0"] = plain.to("meta")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch is about to drop these tensors, but files with them remain
            state["weight_ih_l0"] = torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8)
    path = save_zip(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"m\.pt: .*" + kind):
        unilstm.load(path)
