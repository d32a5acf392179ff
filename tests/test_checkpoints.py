"""Files: what save() writes load() gives back; LSTMs are found in other checkpoints; a hostile file is refused."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import stat
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from layout_cases import directions, usual
from unilstm import CheckpointError, LSTMSpec, Weights
from unilstm.checkpoints.metadata import KEY

safetensors_numpy = pytest.importorskip("safetensors.numpy")

SPECS = {
    "plain": LSTMSpec(3, 4),
    "deep-bidirectional": LSTMSpec(3, 4, num_layers=2, direction="bidirectional", dropout=0.5, batch_first=False),
    "projected": LSTMSpec(3, 4, proj_size=2),
    "no-bias": LSTMSpec(3, 4, bias="none"),
    "peephole": LSTMSpec(3, 4, peephole=True, bias="single", cell_clip=3.0),
    "exotic": LSTMSpec(
        3, 4, num_layers=3, direction="alternating", gate_activation=("hard_sigmoid", 0.2, 0.5), learned_state=True
    ),
}


def draw(spec: LSTMSpec = SPECS["plain"], dtype: str = "float32") -> Weights:
    return Weights.initial(spec, seed=7, dtype=dtype)


def torch_state(spec: LSTMSpec = SPECS["plain"], prefix: str = "") -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    arrays = draw(spec).to_layout("torch", prefix=prefix, allow=("split-bias",))
    return {name: torch.tensor(array) for name, array in arrays.items()}


def write_header(path: Path, header: dict[str, Any] | bytes, data: bytes = b"", size: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def save_zip(state: Any, path: Path) -> Path:
    torch = pytest.importorskip("torch")
    torch.save(state, path)
    return path


# What is saved comes back.


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_safetensors_gives_back_exactly_what_was_saved(tmp_path: Path, spec: LSTMSpec, dtype: str) -> None:
    weights = draw(spec, dtype)
    unilstm.save(weights, tmp_path / "lstm.safetensors")
    assert unilstm.load(tmp_path / "lstm.safetensors") == weights


def test_safetensors_holds_the_canonical_names_and_the_spec(tmp_path: Path) -> None:
    from safetensors import safe_open

    unilstm.save(draw(), tmp_path / "lstm.safetensors", prefix="encoder.")
    with safe_open(tmp_path / "lstm.safetensors", framework="np") as file:
        assert sorted(file.keys()) == sorted(f"encoder.{name}" for name in draw())
        assert json.loads(file.metadata()[KEY]) == {
            "format": 1,
            "layout": None,
            "prefix": "encoder.",
            "spec": {"input_size": 3, "hidden_size": 4},
        }


@pytest.mark.parametrize("prefix", [None, "encoder."])
def test_safetensors_with_a_prefix_loads_with_and_without_it(tmp_path: Path, prefix: str | None) -> None:
    unilstm.save(draw(), tmp_path / "lstm.safetensors", prefix="encoder.")
    assert unilstm.load(tmp_path / "lstm.safetensors", prefix=prefix) == draw()


def test_safetensors_with_another_prefix_is_refused(tmp_path: Path) -> None:
    unilstm.save(draw(), tmp_path / "lstm.safetensors", prefix="encoder.")
    with pytest.raises(CheckpointError, match=r"under 'encoder\.', not under prefix='decoder\.'"):
        unilstm.load(tmp_path / "lstm.safetensors", prefix="decoder.")


@pytest.mark.parametrize("layout", unilstm.layouts.names())
def test_a_layout_comes_back_without_being_told(tmp_path: Path, layout: str) -> None:
    """The metadata carries the layout and its arguments: dropout, batch_first and sizes, which no shape tells."""
    allow = ("merge-biases", "forget-offset", "drop-dropout")
    fields = {"num_layers": 2, "direction": directions(layout, 2)[-1]} | usual(layout) | {"bias": "double"}
    spec = LSTMSpec(3, 4, **fields)
    unilstm.save(draw(spec), tmp_path / "lstm.safetensors", layout=layout, prefix="x.", allow=allow)
    loaded = unilstm.load(tmp_path / "lstm.safetensors")
    assert loaded.to_layout(layout, allow=allow).keys() == draw(spec).to_layout(layout, allow=allow).keys()
    assert loaded.spec == spec.replace(bias=loaded.spec.bias)
    if loaded.spec == spec:
        assert loaded == draw(spec)


def test_safetensors_writes_transposed_arrays_as_they_read(tmp_path: Path) -> None:
    """The library writes memory as it lies; Keras's kernels are transposed views of ours."""
    spec = LSTMSpec(3, 4, bias="single")
    unilstm.save(draw(spec), tmp_path / "lstm.safetensors", layout="keras")
    arrays = safetensors_numpy.load_file(tmp_path / "lstm.safetensors")
    for name, array in draw(spec).to_layout("keras").items():
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".PT"])
def test_pt_holds_a_plain_state_dict(tmp_path: Path, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / f"lstm{suffix}"
    unilstm.save(draw(), path)
    state = torch.load(path, weights_only=True)
    torch.nn.LSTM(3, 4).load_state_dict(state)
    assert unilstm.load(path, config={"batch_first": True}) == draw()


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


@pytest.mark.parametrize("suffix", [".pdparams", ".keras", ".h5", ".onnx", ".npz", ".msgpack", ""])
def test_other_file_types_say_what_is_supported_and_the_way_round(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lstm{suffix}"
    with pytest.raises(CheckpointError, match=r"not supported yet\. Supported: \.safetensors, .*to_layout"):
        unilstm.save(draw(), path)
    path.write_bytes(b"data")
    with pytest.raises(CheckpointError, match=r"not supported yet\. Supported: \.safetensors, .*from_layout"):
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


# bfloat16, which NumPy does not have.


def bfloat16_file(path: Path) -> Path:
    """Written by hand: 1.5 is 0x3FC0 in bfloat16, -2 is 0xC000."""
    halves = np.array([0x3FC0, 0xC000] * 24, "<u2")
    shapes = {"weight_ih_l0": [4, 3], "weight_hh_l0": [4, 1], "bias_ih_l0": [4], "bias_hh_l0": [4]}
    header, start = {}, 0
    for name, shape in shapes.items():
        end = start + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        start = end
    return write_header(path, header, halves.tobytes()[:start])


def test_bfloat16_is_refused_without_a_dtype(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is bfloat16, which NumPy does not have\. Pass dtype=\"float32\""):
        unilstm.load(bfloat16_file(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bfloat16_is_read_exactly_with_a_dtype(tmp_path: Path, dtype: str) -> None:
    loaded = unilstm.load(bfloat16_file(tmp_path / "m.safetensors"), dtype=dtype)
    np.testing.assert_array_equal(loaded["weight_ih_l0"].ravel(), [1.5, -2.0] * 6)
    assert loaded.dtype == dtype


def test_bfloat16_in_a_torch_file_is_read_exactly(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {name: t.bfloat16() for name, t in torch_state().items()}
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="bfloat16"):
        unilstm.load(tmp_path / "m.pt")
    loaded = unilstm.load(tmp_path / "m.pt", dtype="float32")
    np.testing.assert_array_equal(loaded["weight_hh_l0"], state["weight_hh_l0"].float().numpy())


def test_inspect_reports_bfloat16_as_stored(tmp_path: Path) -> None:
    (found,) = unilstm.inspect(bfloat16_file(tmp_path / "m.safetensors"))
    assert found.dtype == "bfloat16"
    assert found.spec == LSTMSpec(3, 1, batch_first=False)


def test_mixed_dtypes_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    arrays = draw().to_layout("torch")
    arrays["bias_ih_l0"] = arrays["bias_ih_l0"].astype(np.float64)
    safetensors_numpy.save_file(arrays, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="to one dtype"):
        unilstm.load(tmp_path / "m.safetensors")
    assert unilstm.load(tmp_path / "m.safetensors", dtype="float64").dtype == "float64"


# Paths that are no checkpoint.


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: cannot be opened \(No such file or directory\)"):
        unilstm.load(tmp_path / "none.pt")


def test_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        unilstm.inspect(tmp_path)


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


# Hostile safetensors files.

F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HOSTILE: dict[str, tuple[Any, bytes, int | None]] = {
    "header of 100 GB": (b"{}", b"", 100 << 30),
    "header of 2**64 - 1": (b"{}", b"", 2**64 - 1),
    "header longer than the file": ({"a": F32}, b"", 1000),
    "not JSON": (b"abcdefghij", b"", None),
    "no object": (b"[1, 2]    ", b"", None),
    "invalid UTF-8": (b'{"a\xff":1}', b"", None),
    "deep JSON": (b"[" * 100_000, b"", None),
    "missing data": ({"a": {**F32, "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 4, None),
    "data beyond the header": ({"a": F32}, b"\0" * 8, None),
    "unknown dtype": ({"a": {**F32, "dtype": "F99"}}, b"\0" * 4, None),
    "dtype is a number": ({"a": {**F32, "dtype": 5}}, b"\0" * 4, None),
    "overlapping offsets": ({"a": F32, "b": F32}, b"\0" * 4, None),
    "offsets backwards": ({"a": {**F32, "data_offsets": [4, 0]}}, b"\0" * 4, None),
    "a hole": ({"a": {**F32, "data_offsets": [4, 8]}}, b"\0" * 8, None),
    "negative shape": ({"a": {**F32, "shape": [-1]}}, b"\0" * 4, None),
    "shape of 2**80": ({"a": {**F32, "shape": [2**40, 2**40]}}, b"\0" * 4, None),
    "shape and size disagree": ({"a": {**F32, "shape": [2]}}, b"\0" * 4, None),
    "metadata is no text": ({"__metadata__": {KEY: 5}}, b"", None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_safetensors_file_is_refused(tmp_path: Path, case: str) -> None:
    header, data, size = HOSTILE[case]
    path = write_header(tmp_path / "m.safetensors", header, data, size)
    with pytest.raises(CheckpointError, match=r"m\.safetensors: is not a valid safetensors file \(.*download it again"):
        unilstm.load(path)


@pytest.mark.parametrize("keep", [1, 7, 8, 20, 100, -1])
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "m.safetensors"
    unilstm.save(draw(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is not a valid safetensors file"):
        unilstm.load(path)


def test_a_torch_file_under_the_wrong_name_is_refused(tmp_path: Path) -> None:
    path = save_zip(torch_state(), tmp_path / "m.pt").rename(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="of another type under this name"):
        unilstm.load(path)


def test_an_empty_tensor_with_an_enormous_shape_is_no_lstm(tmp_path: Path) -> None:
    header = {"weight_ih_l0": {"dtype": "F32", "shape": [2**60, 0], "data_offsets": [0, 0]}}
    with pytest.raises(CheckpointError, match=r"no LSTM|incomplete or misshapen"):
        unilstm.load(write_header(tmp_path / "m.safetensors", header))


def test_an_exotic_dtype_that_is_needed_is_refused(tmp_path: Path) -> None:
    arrays = draw().to_layout("torch")
    header, start = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F8_E4M3", "shape": array.shape, "data_offsets": [start, start + array.size]}
        start += array.size
    with pytest.raises(CheckpointError, match=r"is F8_E4M3, which no backend computes in"):
        unilstm.load(write_header(tmp_path / "m.safetensors", header, b"\0" * start), dtype="float32")


def test_an_exotic_dtype_elsewhere_in_the_file_does_not_matter(tmp_path: Path) -> None:
    header: dict[str, Any] = {}
    data = b""
    for name, array in draw().to_layout("torch").items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    header["other"] = {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [len(data), len(data) + 4]}
    path = write_header(tmp_path / "m.safetensors", header, data + b"\0" * 4)
    assert unilstm.load(path, config={"batch_first": True}) == draw()


ABOUT = {"format": 1, "layout": None, "prefix": "", "spec": {"input_size": 3, "hidden_size": 4}}
BAD_ABOUT = {
    "not JSON": ("{", "is not JSON"),
    "deep JSON": ("[" * 100_000, "is not JSON"),
    "no object": ("[]", "has no format number"),
    "no format": ("{}", "has no format number"),
    "a newer format": (json.dumps({**ABOUT, "format": 2}), "pip install --upgrade unilstm"),
    "an unknown field": (json.dumps({**ABOUT, "spec": {**ABOUT["spec"], "x": 1}}), "impossible spec: 'x'"),  # type: ignore[dict-item]
    "no spec": (json.dumps({"format": 1}), "impossible spec"),
    "a layout that is no text": (json.dumps({**ABOUT, "layout": 5}), "of the wrong kind"),
    "an unknown layout": (json.dumps({**ABOUT, "layout": "x"}), "layout 'x' is unknown"),
    "another size": (json.dumps({**ABOUT, "spec": {"input_size": 3, "hidden_size": 5}}), "has shape"),
    "an enormous size": (json.dumps({**ABOUT, "spec": {"input_size": 3, "hidden_size": 2**31 - 1}}), "has shape"),
    "an impossible size": (json.dumps({**ABOUT, "spec": {"input_size": 3, "hidden_size": 2**31}}), "impossible spec"),
    "too many layers": (
        json.dumps({**ABOUT, "spec": {"input_size": 3, "hidden_size": 4, "num_layers": 2**31 - 1}}),
        "says num_layers=2147483647",
    ),
    "too many layers of a layout": (
        json.dumps({**ABOUT, "layout": "jax-cudnn", "config": {"num_layers": 2**31 - 1}}),
        "says num_layers=2147483647",
    ),
    "another prefix": (json.dumps({**ABOUT, "prefix": "x."}), "weight_ih_l0"),
}


@pytest.mark.parametrize("case", BAD_ABOUT)
def test_hostile_metadata_is_refused(tmp_path: Path, case: str) -> None:
    text, message = BAD_ABOUT[case]
    path = tmp_path / "m.safetensors"
    safetensors_numpy.save_file(dict(draw()), path, {KEY: text})
    with pytest.raises(CheckpointError, match=r"m\.safetensors") as raised:
        unilstm.load(path)
    assert message in str(raised.value)


def test_hostile_metadata_can_be_read_past(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    safetensors_numpy.save_file(dict(draw()), path, {KEY: "{"})
    assert unilstm.load(path, layout="torch", config={"batch_first": True}) == draw()


# Hostile torch files.


class Bomb:
    """What it would run makes a folder; the folder's absence shows that nothing ran."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


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


def test_a_torchscript_archive_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = save_zip(torch_state(), tmp_path / "m.pt")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="is a TorchScript archive"):
        unilstm.load(path)


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
    with pytest.raises(CheckpointError, match=r"is compressed, as torch\.save never does"):
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


def test_strides_of_zero_do_not_make_four_bytes_a_terabyte(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    size = 1 << 18
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
    with pytest.raises(CheckpointError, match=r"two tensors come to the name 'lstm\."):
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


# Without the libraries.


def hide(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = builtins.__import__

    def fake(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.split(".")[0] == name:
            raise ImportError(f"No module named {name!r}")
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)


@pytest.mark.parametrize("action", ["load", "save"])
def test_without_safetensors_the_pip_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    path = tmp_path / "m.safetensors"
    unilstm.save(draw(), path)
    hide(monkeypatch, "safetensors")
    with pytest.raises(CheckpointError, match=r"safetensors is not installed.*pip install \"unilstm\[files\]\""):
        unilstm.load(path) if action == "load" else unilstm.save(draw(), path)


@pytest.mark.parametrize("action", ["load", "save"])
def test_without_torch_the_pip_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    path = save_zip(torch_state(), tmp_path / "m.pt")
    hide(monkeypatch, "torch")
    with pytest.raises(CheckpointError, match=r"torch files need torch.*pip install \"unilstm\[torch\]\""):
        unilstm.load(path) if action == "load" else unilstm.save(draw(), path)
