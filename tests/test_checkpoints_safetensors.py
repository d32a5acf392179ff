"""safetensors files: exact, small-headed, and refused where hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import SPECS, draw, save_zip, torch_state, write_header
from layout_cases import directions, usual
from unilstm import CheckpointError, LSTMSpec
from unilstm.checkpoints.metadata import KEY

safetensors_numpy = pytest.importorskip("safetensors.numpy")

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


@pytest.mark.parametrize("prefix", [None, "encoder.", "encoder"])
def test_safetensors_with_a_prefix_loads_with_and_without_it(tmp_path: Path, prefix: str | None) -> None:
    unilstm.save(draw(), tmp_path / "lstm.safetensors", prefix="encoder.")
    assert unilstm.load(tmp_path / "lstm.safetensors", prefix=prefix) == draw()


def test_safetensors_with_another_prefix_is_refused(tmp_path: Path) -> None:
    unilstm.save(draw(), tmp_path / "lstm.safetensors", prefix="encoder.")
    with pytest.raises(CheckpointError, match=r"no LSTM under prefix='decoder\.'\. It has: 'encoder\.'"):
        unilstm.load(tmp_path / "lstm.safetensors", prefix="decoder.")


@pytest.fixture
def among_others(tmp_path: Path) -> Path:
    """An LSTM of unilstm's under "module.enc.", of a spec that no array tells, and another's under "enc."."""
    spec = LSTMSpec(3, 4, num_layers=2, dropout=0.25)
    arrays = {**draw(spec).to_layout("torch", prefix="module.enc."), **draw().to_layout("torch", prefix="enc.")}
    safetensors_numpy.save_file({**arrays, "head.weight": np.ones((2, 4), "f4")}, tmp_path / "a.safetensors")
    config = {"batch_first": True, "dropout": 0.25}
    unilstm.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", lstm="module.enc", config=config)
    return tmp_path / "b.safetensors"


@pytest.mark.parametrize("prefix", [None, "module.enc.", "module.enc"])
def test_what_a_file_says_of_itself_counts_however_its_lstm_is_named(among_others: Path, prefix: str | None) -> None:
    assert unilstm.load(among_others, prefix=prefix).spec == LSTMSpec(3, 4, num_layers=2, dropout=0.25)


@pytest.mark.parametrize("prefix", ["enc.", "enc"])
def test_the_whole_prefix_of_another_lstm_goes_before_the_end_of_ones_own(among_others: Path, prefix: str) -> None:
    assert unilstm.load(among_others, prefix=prefix).spec == LSTMSpec(3, 4, batch_first=False)


@pytest.mark.parametrize("prefix", ["enc.", "enc", "module.enc"])
def test_the_end_of_the_prefix_is_enough_beside_other_arrays(tmp_path: Path, prefix: str) -> None:
    arrays = {**draw().to_layout("torch", prefix="module.enc."), "head.weight": np.ones((2, 4), "f4")}
    safetensors_numpy.save_file(arrays, tmp_path / "a.safetensors")
    unilstm.convert(tmp_path / "a.safetensors", tmp_path / "b.npz", config={"batch_first": True})
    assert unilstm.load(tmp_path / "b.npz", prefix=prefix) == draw()
    with pytest.raises(CheckpointError, match=r"no LSTM under prefix='nc'\. It has: 'module\.enc\.' \(unilstm"):
        unilstm.load(tmp_path / "b.npz", prefix="nc")


@pytest.mark.parametrize("layout", unilstm.layouts.names())
def test_a_layout_comes_back_without_being_told(tmp_path: Path, layout: str) -> None:
    """The metadata carries the layout and its arguments: dropout, batch_first and sizes, which no shape tells."""
    allow = ("merge-biases", "forget-offset", "drop-dropout")
    fields = usual(layout, 2) | {"direction": directions(layout, 2)[-1], "bias": "double"}
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
