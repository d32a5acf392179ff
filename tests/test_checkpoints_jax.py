"""Files of flax, orbax and equinox: read without those libraries; the LSTM in them computes what theirs did."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw, hide
from unilstm import CheckpointError, LSTMSpec
from unilstm.checkpoints.formats import open_checkpoint

msgpack = pytest.importorskip("msgpack")
pytest.importorskip("zstandard")

FILES = Path(__file__).parent / "files"


def close(weights: Any, recorded: str) -> bool:
    """Does an LSTM of these weights compute what the system did, in float32?"""
    with np.load(FILES / recorded, allow_pickle=False) as npz:
        y, _ = unilstm.LSTM(weights)(npz["x"])
        return bool(np.abs(y - npz["y"]).max() <= 1e-6)


def unzipped(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(FILES / f"{name}.zip") as archive:
        archive.extractall(folder)
    return folder


# flax


@pytest.mark.parametrize("name", ["flax.msgpack", "flax_chunked.msgpack"])
def test_a_flax_file_is_read(name: str) -> None:
    (found,) = unilstm.inspect(FILES / name)
    assert (found.prefix, found.layout, found.spec) == ("params/lstm/", "flax", LSTMSpec(3, 4, bias="single"))
    assert close(unilstm.load(FILES / name), "flax.npz")


def test_every_array_of_a_flax_file_is_read_exactly() -> None:
    entries = open_checkpoint(FILES / "flax_chunked.msgpack").entries
    with np.load(FILES / "flax.npz", allow_pickle=False) as npz:
        for name in set(npz.files) - {"x", "y"}:
            np.testing.assert_array_equal(entries[name].read(), npz[name])
    assert (entries["half"].dtype, entries["half"].read().tolist()) == ("bfloat16", [1.5, -2.0])
    assert entries["lr"].read() == np.float32(0.1)
    assert "step" not in entries


def packed(shape: Any, dtype: Any, data: bytes) -> Any:
    return msgpack.ExtType(1, msgpack.packb((shape, dtype, data)))


HOSTILE = {
    "more elements than bytes": ({"a": packed([9], "float32", b"0000")}, "an array of shape"),
    "a negative size": ({"a": packed([-1], "float32", b"")}, "a shape"),
    "objects": ({"a": packed([1], "object", b"00000000")}, "an array of 'object'"),
    "pieces that are too few": (
        {"a": {"__msgpack_chunked_array__": True, "shape": [9], "chunks": [packed([1], "float32", b"0000")]}},
        "in pieces that do not come to it",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_flax_file_is_refused(tmp_path: Path, case: str) -> None:
    content, message = HOSTILE[case]
    (tmp_path / "m.msgpack").write_bytes(msgpack.packb(content))
    with pytest.raises(CheckpointError, match=message):
        unilstm.load(tmp_path / "m.msgpack")


BYTES = {
    "lists of four billion in lists": b"\xdd\xff\xff\xff\xff" * 500,
    "a map of four billion": b"\xdf\xff\xff\xff\xff" + b"\xa1a\x00" * 1000,
    "a million keys": b"\xdf\x00\x0f\x42\x40" + b"".join(b"\xa6%06d\x00" % n for n in range(1_000_000)),
    "deep": b"\x91" * 100_000 + b"\x00",
    "a text without end": b"\xdb\xff\xff\xff\xffabc",
}


@pytest.mark.parametrize("case", BYTES)
def test_bytes_that_claim_more_than_there_is_are_refused(tmp_path: Path, case: str) -> None:
    (tmp_path / "m.msgpack").write_bytes(BYTES[case])
    with pytest.raises(CheckpointError, match=r"m\.msgpack: cannot be read"):
        unilstm.load(tmp_path / "m.msgpack")


@pytest.mark.parametrize("keep", [1, 100, -1, -30])
def test_a_truncated_flax_file_is_refused(tmp_path: Path, keep: int) -> None:
    (tmp_path / "m.msgpack").write_bytes((FILES / "flax.msgpack").read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.msgpack: cannot be read"):
        unilstm.load(tmp_path / "m.msgpack")


# orbax


@pytest.mark.parametrize("name", ["orbax_ocdbt", "orbax_zarr", "orbax_zarr3"])
def test_an_orbax_folder_is_read(tmp_path: Path, name: str) -> None:
    folder = unzipped(name, tmp_path)
    (found,) = unilstm.inspect(folder)
    assert (found.prefix, found.layout, found.spec) == ("params/lstm/", "flax", LSTMSpec(3, 4, bias="single"))
    assert close(unilstm.load(folder), "flax.npz")
    entries = open_checkpoint(folder).entries
    with np.load(FILES / "flax.npz", allow_pickle=False) as npz:
        assert set(npz.files) - {"x", "y"} == set(entries)
        for name_, entry in entries.items():
            np.testing.assert_array_equal(entry.read(), npz[name_])


def test_a_step_of_a_checkpoint_manager_is_read(tmp_path: Path) -> None:
    assert close(unilstm.load(unzipped("orbax_manager", tmp_path) / "7"), "flax.npz")


def test_an_nnx_state_is_read(tmp_path: Path) -> None:
    folder = unzipped("orbax_nnx", tmp_path)
    assert [(f.layout, f.prefix) for f in unilstm.inspect(folder)] == [("nnx", "")]
    assert close(unilstm.load(folder), "nnx.npz")


def test_neither_orbax_nor_tensorstore_nor_jax_is_imported(tmp_path: Path) -> None:
    code = f"import sys, unilstm; unilstm.load({str(unzipped('orbax_ocdbt', tmp_path))!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"orbax", "tensorstore", "jax", "flax"} & set(done.stdout.split())


def test_a_step_that_is_missing_its_data_is_refused(tmp_path: Path) -> None:
    folder = unzipped("orbax_ocdbt", tmp_path)
    for path in folder.rglob("d/*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="which is no file of its own"):
        unilstm.load(folder)


@pytest.mark.parametrize("name", ["orbax_ocdbt", "orbax_zarr3"])
def test_a_damaged_database_is_refused(tmp_path: Path, name: str) -> None:
    """Nodes have checksums, and zstd's data has a form."""
    folder = unzipped(name, tmp_path)
    for path in [folder / "manifest.ocdbt", *folder.rglob("d/*")]:
        data = bytearray(path.read_bytes())
        for place in range(0, len(data), 7):
            data[place] ^= 0x55
        path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"is damaged|is not a part|cannot be read"):
        unilstm.load(folder)


def test_data_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A manifest written by hand, whose one data file is ../secret."""
    from unilstm.checkpoints.ocdbt import _crc32c

    (tmp_path / "db").mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 100)
    path = b"../secret"
    body = b"\0" * 16 + b"\0\x01\x01\x04\0"
    body += bytes([1, len(path), 0]) + path + bytes([1, 1, 0, 0, 0, 100, 1, 1, 0]) + b"\0" * 8 + b"\0"
    head = struct.pack(">I", 0x0CDB3A2A) + struct.pack("<Q", 14 + len(body) + 4) + b"\0\0"
    whole = head + body
    (tmp_path / "db/manifest.ocdbt").write_bytes(whole + struct.pack("<I", _crc32c(whole)))
    with pytest.raises(CheckpointError, match=r"has data in '\.\./secret'"):
        unilstm.load(tmp_path / "db")


def test_the_checksum_is_castagnolis() -> None:
    from unilstm.checkpoints.ocdbt import _crc32c

    assert _crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C


ARRAYS = {
    "a chunk of another size": ({"chunks": [8, 8]}, "has a chunk of"),
    "chunks of nothing": ({"chunks": [0, 4]}, "has shape"),
    "a negative shape": ({"shape": [-1, 4]}, "has shape"),
    "a shape of a terabyte": ({"shape": [1 << 20, 1 << 20], "chunks": [1, 1]}, "too many or too large chunks"),
    "objects": ({"dtype": "|O"}, "has shape"),
    "an unknown codec": ({"compressor": {"id": "blosc"}}, "is packed with 'blosc'"),
    "filters": ({"filters": [{"id": "delta"}]}, "is not described as orbax does it"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_a_hostile_description_is_refused(tmp_path: Path, case: str) -> None:
    changes, message = ARRAYS[case]
    folder = unzipped("orbax_zarr", tmp_path)
    for path in folder.rglob("*.kernel/.zarray"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=message):
        [entry.read() for entry in open_checkpoint(folder).entries.values()]


def test_a_chunk_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    import zstandard

    folder = unzipped("orbax_zarr", tmp_path)
    (folder / "params.lstm.hi.kernel/0.0").write_bytes(zstandard.compress(b"\0" * (1 << 20)))
    with pytest.raises(CheckpointError, match="unpacks to 1048576 bytes, more than 64"):
        unilstm.load(folder)


def test_a_folder_that_is_nothing_says_what_it_could_be(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder, but none of orbax's, and has no model\.safetensors"):
        unilstm.load(tmp_path)


def test_a_folder_with_a_model_in_it_is_opened(tmp_path: Path) -> None:
    unilstm.save(draw(), tmp_path / "model.safetensors")
    assert unilstm.load(tmp_path) == draw()


# equinox

NAMES = ["scale", "cell/weight_ih", "cell/weight_hh", "cell/bias", "head/weight", "head/bias"]


def test_an_equinox_file_is_read_with_the_names_of_its_arrays() -> None:
    (found,) = unilstm.inspect(FILES / "equinox.eqx", template=NAMES)
    assert (found.prefix, found.layout, found.uncertain) == ("cell/", "equinox", None)
    assert close(unilstm.load(FILES / "equinox.eqx", template=NAMES), "equinox.npz")


def test_an_equinox_file_is_read_with_a_pytree() -> None:
    """Leaves in jax's order; what equinox does not save (text, None) is passed over, and shapes are compared."""
    pytest.importorskip("jax")
    cell = [np.zeros((16, 3)), np.zeros((16, 4)), np.zeros(16)]
    tree = {"a": 0.5, "cell": cell, "head": [np.zeros((2, 4)), np.zeros(2)], "text": "text", "none": None}
    entries = open_checkpoint(FILES / "equinox.eqx", tree).entries
    assert list(entries) == ["a", "cell/0", "cell/1", "cell/2", "head/0", "head/1"]
    tree["cell"] = cell[::-1]
    with pytest.raises(CheckpointError, match=r"of shape \[16, 3\] where template= has 'cell/0' of \[16\]"):
        open_checkpoint(FILES / "equinox.eqx", tree)


def test_without_a_template_a_cell_is_a_guess_that_must_be_confirmed() -> None:
    (found,) = unilstm.inspect(FILES / "equinox.eqx")
    assert (found.prefix, found.spec) == ("1/", LSTMSpec(3, 4, bias="single"))
    assert "the file has no names" in str(found.uncertain)
    with pytest.raises(CheckpointError, match="the file has no names"):
        unilstm.load(FILES / "equinox.eqx")
    assert close(unilstm.load(FILES / "equinox.eqx", layout="equinox"), "equinox.npz")


def test_hyperparameters_before_the_arrays_are_stepped_over(tmp_path: Path) -> None:
    data = b'{"hidden": 4}\n' + (FILES / "equinox.eqx").read_bytes()
    (tmp_path / "m.eqx").write_bytes(data)
    assert close(unilstm.load(tmp_path / "m.eqx", template=NAMES), "equinox.npz")


TEMPLATES = {
    "too few": (NAMES[1:], "has 6 arrays, but template= has 5"),
    "no template": (5, "template= has 1|is a int"),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_that_does_not_fit_is_refused(case: str) -> None:
    template, message = TEMPLATES[case]
    with pytest.raises(CheckpointError, match=message):
        unilstm.load(FILES / "equinox.eqx", template=template)


def test_a_template_for_another_file_type_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"only \.eqx files need one"):
        unilstm.load(FILES / "flax.msgpack", template=NAMES)


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "m.eqx").open("wb") as file:
        np.save(file, np.array([{}], object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="is of objects or cut off"):
        unilstm.load(tmp_path / "m.eqx")


@pytest.mark.parametrize("keep", [1, 50, 200, -1, -30])
def test_a_truncated_equinox_file_is_refused(tmp_path: Path, keep: int) -> None:
    (tmp_path / "m.eqx").write_bytes((FILES / "equinox.eqx").read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"m\.eqx: "):
        unilstm.load(tmp_path / "m.eqx", layout="equinox")


@pytest.mark.parametrize(("name", "extra", "file"), [("msgpack", "flax", "flax.msgpack"), ("zstandard", "orbax", "")])
def test_without_the_library_the_pip_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: str, file: str
) -> None:
    path = FILES / file if file else unzipped("orbax_ocdbt", tmp_path)
    hide(monkeypatch, name)
    with pytest.raises(CheckpointError, match=rf'{name} is not installed.*pip install "unilstm\[{extra}\]"'):
        unilstm.load(path)
