"""Files: what save() writes load() gives back; an LSTM is found and chosen; what is no checkpoint is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import SPECS, draw, hide, save_zip, torch_state
from unilstm import CheckpointError, LSTMSpec

safetensors_numpy = pytest.importorskip("safetensors.numpy")


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_layer_is_saved_as_its_weights_are(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    unilstm.save(unilstm.LSTM(draw(), backend=backend), tmp_path / "lstm.safetensors")
    assert unilstm.load(tmp_path / "lstm.safetensors") == draw()


def test_a_raw_torch_lstm_is_saved(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    lstm = torch.nn.LSTM(3, 4, batch_first=True)
    unilstm.save(lstm, tmp_path / "lstm.safetensors")
    loaded = unilstm.load(tmp_path / "lstm.safetensors")
    np.testing.assert_array_equal(loaded["weight_ih_l0"], lstm.weight_ih_l0.detach().numpy())


def test_load_converts_to_the_dtype_asked_for(tmp_path: Path) -> None:
    unilstm.save(draw(), tmp_path / "lstm.safetensors")
    assert unilstm.load(tmp_path / "lstm.safetensors", dtype="float64") == draw().astype("float64")


# Saving refuses, and leaves nothing behind.


def test_pt_refuses_a_spec_that_torch_does_not_have(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(unilstm.UnsupportedByLayout, match="peephole=True"):
        unilstm.save(draw(LSTMSpec(3, 4, peephole=True)), tmp_path / "lstm.pt")
    assert not any(tmp_path.iterdir())


def test_a_loss_is_refused_until_it_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(unilstm.LossyConversion, match="merge-biases"):
        unilstm.save(draw(), tmp_path / "lstm.safetensors", layout="keras")
    assert not any(tmp_path.iterdir())
    unilstm.save(draw(), tmp_path / "lstm.safetensors", layout="keras", allow="merge-biases")


def test_allow_without_a_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="loses nothing"):
        unilstm.save(draw(), tmp_path / "lstm.safetensors", allow="merge-biases")


def test_save_refuses_what_is_no_lstm(tmp_path: Path) -> None:
    with pytest.raises(unilstm.PortError, match=r"builtins\.dict"):
        unilstm.save({}, tmp_path / "lstm.safetensors")


@pytest.mark.parametrize("suffix", [".gguf", ".pkl", ".zip", ""])
def test_other_file_types_say_what_is_supported_and_the_way_round(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lstm{suffix}"
    with pytest.raises(CheckpointError, match=r"not supported\. Supported: .*\.safetensors, .*to_layout"):
        unilstm.save(draw(), path)
    path.write_bytes(b"data")
    with pytest.raises(CheckpointError, match=r"not supported\. Supported: .*\.safetensors, .*from_layout"):
        unilstm.load(path)


def test_save_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"folder does not exist\. Create"):
        unilstm.save(draw(), tmp_path / "none" / "lstm.safetensors")


def test_save_over_a_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "lstm.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="is a folder"):
        unilstm.save(draw(), tmp_path / "lstm.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("moment", ["write", "rename"])
def test_an_error_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, moment: str
) -> None:
    path = tmp_path / f"lstm{suffix}"
    if suffix == ".pt":
        pytest.importorskip("torch")
    unilstm.save(draw(), path)
    before = path.read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync" if moment == "write" else "replace", full)
    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)"):
        unilstm.save(draw(LSTMSpec(3, 5)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_in_the_middle_of_an_array_is_a_checkpoint_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    torch = pytest.importorskip("torch")
    from unilstm.checkpoints import torch_file

    del torch
    with pytest.raises(OSError, match=r".+"):
        torch_file.write(Path("/dev/full"), {"a": np.zeros(1 << 16)}, {})


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    unilstm.save(draw(), tmp_path / "lstm.safetensors")
    assert stat.S_IMODE((tmp_path / "lstm.safetensors").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "usual").stat().st_mode
    )


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_saving_through_a_symbolic_link_writes_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.safetensors"
    link.symlink_to(tmp_path / "real" / "lstm.safetensors")
    unilstm.save(draw(), link)
    assert link.is_symlink()
    assert unilstm.load(tmp_path / "real" / "lstm.safetensors") == draw()


def test_inspect_of_a_file_without_an_lstm_is_empty(tmp_path: Path) -> None:
    safetensors_numpy.save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "m.safetensors")
    assert unilstm.inspect(tmp_path / "m.safetensors") == []


def two_lstms(path: Path) -> Path:
    arrays = {**draw().to_layout("torch", prefix="a.rnn."), **draw().to_layout("torch", prefix="b.rnn.")}
    safetensors_numpy.save_file(arrays, path)
    return path


def test_several_lstms_are_listed_with_the_option_that_settles_it(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"2 LSTMs: 'a\.rnn\.' \(torch, 4 arrays\); 'b\.rnn\.' .*prefix= \(--lstm"
    ):
        unilstm.load(two_lstms(tmp_path / "m.safetensors"))


def test_a_prefix_that_fits_several_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds 2 LSTMs under prefix='rnn'"):
        unilstm.load(two_lstms(tmp_path / "m.safetensors"), prefix="rnn")


def test_a_prefix_chooses_one_of_several(tmp_path: Path) -> None:
    loaded = unilstm.load(two_lstms(tmp_path / "m.safetensors"), prefix="b.rnn.", config={"batch_first": True})
    assert loaded == draw()


def test_a_prefix_that_fits_none_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no LSTM under prefix='c\.'\. It has: 'a\.rnn\.'"):
        unilstm.load(two_lstms(tmp_path / "m.safetensors"), prefix="c.")


def test_half_a_name_is_no_prefix(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no LSTM under prefix='nn'"):
        unilstm.load(two_lstms(tmp_path / "m.safetensors"), prefix="nn")


def test_no_lstm_says_what_was_there_and_what_to_pass(tmp_path: Path) -> None:
    safetensors_numpy.save_file({"fc.weight": np.zeros((2, 2), np.float32)}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"no LSTM found among 1 arrays \('fc\.weight'\).*layout= \(--from\)"):
        unilstm.load(tmp_path / "m.safetensors")


def test_two_layouts_that_fit_alike_are_not_guessed_between(tmp_path: Path) -> None:
    """weight_ih and weight_hh alone are an LSTMCell of torch or of Equinox."""
    arrays = draw(SPECS["no-bias"]).to_layout("torch")
    cell = {name.removesuffix("_l0"): array for name, array in arrays.items()}
    safetensors_numpy.save_file(cell, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="settles it"):
        unilstm.load(tmp_path / "m.safetensors")
    loaded = unilstm.load(tmp_path / "m.safetensors", layout="torch", config={"batch_first": True, "bias": False})
    assert loaded == draw(SPECS["no-bias"])


def test_a_named_layout_is_read_where_an_lstm_of_another_was_found(tmp_path: Path) -> None:
    """The finder says torch, the caller knows better; the place is the same."""
    arrays = draw(SPECS["no-bias"]).to_layout("torch")
    cell = {"model.cell." + name.removesuffix("_l0"): array for name, array in arrays.items()}
    safetensors_numpy.save_file(cell, tmp_path / "m.safetensors")
    assert unilstm.load(tmp_path / "m.safetensors", layout="equinox") == draw(SPECS["no-bias"])


def test_a_named_layout_reads_what_cannot_be_found(tmp_path: Path) -> None:
    """A flat vector has no shape to be found by; its arguments say what it is."""
    config = draw().layout_config("jax-cudnn")
    safetensors_numpy.save_file(draw().to_layout("jax-cudnn", prefix="rnn."), tmp_path / "m.safetensors")
    loaded = unilstm.load(tmp_path / "m.safetensors", layout="jax-cudnn", prefix="rnn.", config=config)
    assert loaded == draw()


def test_a_named_layout_under_a_missing_prefix_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no array is named 'c\.'"):
        unilstm.load(two_lstms(tmp_path / "m.safetensors"), layout="jax-cudnn", prefix="c.")


def test_an_unknown_layout_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(unilstm.LayoutError, match="Choose one of: torch"):
        unilstm.load(two_lstms(tmp_path / "m.safetensors"), layout="pytorch")


def test_an_unknown_dtype_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(unilstm.LayoutError, match="dtype='int8' is not supported"):
        unilstm.load(two_lstms(tmp_path / "m.safetensors"), dtype="int8")


def test_a_misshapen_lstm_names_the_file_and_the_tensor(tmp_path: Path) -> None:
    arrays = {**draw().to_layout("torch"), "bias_hh_l0": np.zeros(15, np.float32)}
    safetensors_numpy.save_file(arrays, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"m\.safetensors.*bias_hh_l0"):
        unilstm.load(tmp_path / "m.safetensors", layout="torch")


# Paths that are no checkpoint.


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: cannot be opened \(No such file or directory\)"):
        unilstm.load(tmp_path / "none.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_without_waiting_on_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="not a regular file"):
        unilstm.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_an_empty_file_says_so(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"m{suffix}").touch()
    with pytest.raises(CheckpointError, match="is empty"):
        unilstm.load(tmp_path / f"m{suffix}")


def test_a_path_that_no_system_can_open_says_so() -> None:
    with pytest.raises(CheckpointError, match="cannot be opened"):
        unilstm.load("nul\0byte.pt")


# Without the libraries.


def test_without_safetensors_files_are_written_and_the_pip_command_to_read_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "safetensors")
    unilstm.save(draw(), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"safetensors is not installed.*pip install \"unilstm\[files\]\""):
        unilstm.load(tmp_path / "m.safetensors")
    monkeypatch.undo()
    assert unilstm.load(tmp_path / "m.safetensors") == draw()


@pytest.mark.parametrize("action", ["load", "save"])
def test_without_torch_the_pip_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    path = save_zip(torch_state(), tmp_path / "m.pt")
    hide(monkeypatch, "torch")
    with pytest.raises(CheckpointError, match=r"torch files need torch.*pip install \"unilstm\[torch\]\""):
        unilstm.load(path) if action == "load" else unilstm.save(draw(), path)
