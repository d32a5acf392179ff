"""HDF5 and Keras files that are made to do harm, or damaged: refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import unilstm
from layout_cases import GOLDEN
from test_checkpoints_keras import KERNELS, MODELS, legacy, tf_names
from unilstm import CheckpointError

h5py = pytest.importorskip("h5py")


def cyclic(file: Any) -> None:
    file["a/b/c"] = file["/"]


def soft(file: Any) -> None:
    file["a"] = h5py.SoftLink("/a")


def external_link(file: Any) -> None:
    file["a"] = h5py.ExternalLink("/etc/passwd", "/")


def deep(file: Any) -> None:
    file["/".join("a" * 100)] = 1.0


HOSTILE = {"cyclic": cyclic, "soft link": soft, "external link": external_link, "deep": deep}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_link_that_is_not_plain_is_refused(tmp_path: Path, case: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        HOSTILE[case](file)
    with pytest.raises(CheckpointError, match="links back into itself or too deep|links to somewhere else"):
        unilstm.load(tmp_path / "m.h5")


def test_data_in_another_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for name, a in KERNELS.items():
            where = [(str(tmp_path / "secret"), 0, a.nbytes)]
            file.create_dataset(f"rnn/{name}", a.shape, a.dtype, external=where)
    with pytest.raises(CheckpointError, match="has its data in another file"):
        unilstm.load(tmp_path / "m.h5")


def test_a_virtual_array_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for name, a in KERNELS.items():
            virtual = h5py.VirtualLayout(a.shape, a.dtype)
            virtual[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), name, a.shape)
            file.create_virtual_dataset(f"rnn/{name}", virtual)
    with pytest.raises(CheckpointError, match="has its data in another file"):
        unilstm.load(tmp_path / "m.h5")


def test_data_that_grows_when_it_is_unpacked_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        for name, shape in (("kernel", (3, 4 << 10)), ("recurrent_kernel", (1 << 10, 4 << 10))):
            file.create_dataset(f"rnn/{name}", shape, "f4", chunks=True, compression="gzip")
    with pytest.raises(CheckpointError, match=r"claims \d+ bytes of float32, holds 0"):
        unilstm.load(tmp_path / "m.h5")


def test_a_text_that_claims_four_gigabytes_is_refused(tmp_path: Path) -> None:
    """Found by the fuzzer: the library takes the memory, and half a minute, before it notices."""
    data = (GOLDEN / "keras/model_legacy.h5").read_bytes()
    text = data.replace(b"\x06\0\0\0\0\x08", b"\x06\0\0\xe9\0\x08", 1)  # that of keras_version, "3.15.1"
    assert text != data
    (tmp_path / "m.h5").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"'keras_version' claims 3,909,091,334 bytes"):
        unilstm.load(tmp_path / "m.h5")


def test_texts_that_lie_out_of_step_are_refused(tmp_path: Path) -> None:
    """Found by the fuzzer: one byte put into the heap of texts, and the library walks it for ever."""
    data = (GOLDEN / "keras/model_legacy.h5").read_bytes()
    at = data.index(b"GCOL") + 800
    (tmp_path / "m.h5").write_bytes(data[:at] + b"x" + data[at:])
    with pytest.raises(CheckpointError, match=r"its texts at 2048 are damaged"):
        unilstm.load(tmp_path / "m.h5")


def test_an_object_reference_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["rnn/kernel"] = KERNELS["kernel"]
        file["rnn/recurrent_kernel"] = KERNELS["recurrent_kernel"]
        file.create_dataset("rnn/bias", (16,), h5py.ref_dtype)[0] = file["rnn"].ref
    with pytest.raises(CheckpointError, match=r"claims 128 bytes of object"):
        unilstm.load(tmp_path / "m.h5")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("keep", [4, 100, 3000, -1, -3000])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    path.write_bytes((GOLDEN / "keras" / name).read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model.*: "):
        unilstm.load(path, prefix="first")


def test_a_keras_file_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    data = bytearray((GOLDEN / "keras/model.keras").read_bytes())
    data[20_000] ^= 1
    (tmp_path / "m.keras").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"its part 'model\.weights\.h5' is damaged"):
        unilstm.load(tmp_path / "m.keras", prefix="first")


@pytest.mark.parametrize("config", ["{", "[" * 100_000, "[]", "5", '{"config": {"layers": 5}}', '{"config": 5}'])
def test_a_damaged_configuration_is_no_crash(tmp_path: Path, config: str) -> None:
    path = legacy(tmp_path / "m.h5", {}, tf_names("rnn_1", KERNELS))
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = config
    try:
        assert "the configuration does not describe it" in str(unilstm.inspect(path)[0].uncertain)
    except CheckpointError as problem:
        assert "is not JSON" in str(problem)  # noqa: PT017
