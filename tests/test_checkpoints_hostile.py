"""Every reader against what is made to harm it: refused, with little memory, nothing run and nothing written.

Each reader is a process of its own, so that its memory can be told: what it has after reading a good file is what its
imports take, and hostile files may take 200 MB beyond that. `python tests/test_checkpoints_hostile.py` also prints the
processor time of each.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from unilstm import CheckpointError, LSTMSpec, Weights

MOST = 200 << 20
SECONDS = 60  # after which a reader is taken to hang; the two seconds are of processor time, and printed
FILES = Path(__file__).parent / "files"
MILLION = 1_000_000
Make = Callable[[Path, Path], None]  # (file to write, folder whose presence shows that something ran)


def weights() -> Weights:
    return Weights.initial(LSTMSpec(3, 4), seed=7)


class Calls:
    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what[0], self.what[1:]


def truncated(path: Path, trace: Path) -> None:
    good(path)
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 3])


def system(path: Path, trace: Path) -> None:
    """os.system in a pickle, in whatever the format puts around one."""
    bomb = {"weight_ih_l0": Calls(os.system, f"mkdir {trace}")}
    if path.suffix == ".pt":
        import torch

        torch.save(bomb, path)
    elif path.suffix == ".npz":
        np.savez(path, allow_pickle=True, a=np.array([bomb], object))
    else:
        path.write_bytes(pickle.dumps(bomb))


def pickle_bomb(path: Path, trace: Path) -> None:
    """A list of ten lists of ten lists …: small in the file, and shared, so that only who walks it is caught."""
    value: Any = [0.0] * 10
    for _ in range(40):
        value = [value] * 10
    if path.suffix == ".npz":
        np.savez_compressed(path, a=np.zeros(200 << 20, "u1"))  # the bomb that an archive can hold
    else:
        data = b"\x80\x02" + b"\x8a\x04\xff\xff\xff\x7f" + pickle.dumps(value, 2)[2:]
        path.write_bytes(data if path.suffix == ".pt" else pickle.dumps(value) + b"")


def wrong_sum(path: Path, trace: Path) -> None:
    good(path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        part = max(archive.infolist(), key=lambda part: part.file_size)
    data[part.header_offset + 30 + len(part.filename) + part.file_size // 2 + 64] ^= 1
    path.write_bytes(data)


def keys_safetensors(path: Path, trace: Path) -> None:
    entries = ",".join(f'"k{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(MILLION))
    header = ("{" + entries + "}").encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def keys_torch(path: Path, trace: Path) -> None:
    import torch

    torch.save({f"k{n}": 0 for n in range(MILLION)}, path)


def keys_pickle(path: Path, trace: Path) -> None:
    path.write_bytes(pickle.dumps({f"k{n}": 0 for n in range(MILLION)}))


def keys_npz(path: Path, trace: Path) -> None:
    """A central directory of many parts; zipfile itself takes half a gigabyte for a million."""
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(MILLION // 10 + 10):
            archive.writestr(f"k{n}.npy", b"")


def keys_onnx(path: Path, trace: Path) -> None:
    graph = b"\x2a\x03\x42\x01a" * MILLION
    size, text = len(graph), b""
    while size:
        text += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        size >>= 7
    path.write_bytes(b"\x3a" + text + graph)


def keys_msgpack(path: Path, trace: Path) -> None:
    path.write_bytes(b"\xdf\x00\x0f\x42\x40" + b"".join(b"\xa6%06d\x00" % n for n in range(MILLION)))


def keys_h5(path: Path, trace: Path) -> None:
    import h5py

    with h5py.File(path, "w", libver="latest") as file:
        for n in range(MILLION // 10 + 10):
            file.create_group(f"k{n}")


def keys_params(path: Path, trace: Path) -> None:
    one = struct.pack("<Iiiiii", 0xF993FAC9, 0, 0, 1, 0, 0) + b"\0" * 4
    path.write_bytes(struct.pack("<QQQ", 0x112, 0, MILLION) + one * MILLION)


def keys_eqx(path: Path, trace: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(()))
        one = path.read_bytes() if file.flush() is None else b""
        for _ in range(10):
            file.write(one * 10_001)


def keys_index(path: Path, trace: Path) -> None:
    path.write_text(json.dumps({"weight_map": {f"k{n}": "a.safetensors" for n in range(MILLION)}}))


def header_100_gb(path: Path, trace: Path) -> None:
    path.write_bytes(struct.pack("<Q", 100 << 30) + b"{}")


def passwd(path: Path, trace: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    good(path)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    model.ClearField("metadata_props")
    del helper
    path.write_bytes(model.SerializeToString())


def cyclic(path: Path, trace: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["a/b"] = file["/"]


def wrong_rank(path: Path, trace: Path) -> None:
    """Tensors of another number of axes under an LSTM's names."""
    arrays = weights().to_layout("torch")
    arrays["weight_hh_l0"] = arrays["weight_hh_l0"][None]
    if path.suffix == ".pt":
        import torch

        torch.save({name: torch.tensor(a) for name, a in arrays.items()}, path)
    else:
        np.savez(path, **arrays) if path.suffix == ".npz" else path.write_bytes(pickle.dumps(arrays))


def good(path: Path) -> None:
    """A file of this format that is read."""
    named = {"flax.msgpack": ".msgpack", "mxnet.params": ".params", "equinox.eqx": ".eqx"}
    for name, suffix in named.items():
        if path.suffix == suffix:
            shutil.copy(FILES / name, path)
            return
    if path.suffix in (".keras", ".h5"):
        from layout_cases import GOLDEN

        shutil.copy(str(GOLDEN / "keras" / ("model.keras" if path.suffix == ".keras" else "model_legacy.h5")), path)
    elif path.suffix == ".json":
        unilstm.save(weights(), path.parent / "a.safetensors")
        path.write_text(json.dumps({"weight_map": dict.fromkeys(weights(), "a.safetensors")}))
    else:
        unilstm.save(weights(), path)


CASES: dict[str, dict[str, Make]] = {
    ".safetensors": {"header": header_100_gb, "truncated": truncated, "keys": keys_safetensors},
    ".pt": {
        "system": system,
        "bomb": pickle_bomb,
        "sum": wrong_sum,
        "truncated": truncated,
        "rank": wrong_rank,
        "keys": keys_torch,
    },
    ".pdparams": {
        "system": system,
        "bomb": pickle_bomb,
        "truncated": truncated,
        "rank": wrong_rank,
        "keys": keys_pickle,
    },
    ".npz": {
        "system": system,
        "bomb": pickle_bomb,
        "sum": wrong_sum,
        "truncated": truncated,
        "rank": wrong_rank,
        "keys": keys_npz,
    },
    ".onnx": {"passwd": passwd, "truncated": truncated, "keys": keys_onnx},
    ".keras": {"sum": wrong_sum, "truncated": truncated},
    ".h5": {"cyclic": cyclic, "truncated": truncated, "keys": keys_h5},
    ".msgpack": {"truncated": truncated, "keys": keys_msgpack},
    ".params": {"truncated": truncated, "keys": keys_params},
    ".eqx": {"truncated": truncated, "keys": keys_eqx},
    ".safetensors.index.json": {"keys": keys_index},
}


def refused(path: Path) -> str:
    try:
        unilstm.load(
            path, layout="equinox" if path.suffix == ".eqx" else None, config={} if "rank" in path.name else None
        )
    except CheckpointError as problem:
        return f"refused: {problem}"
    return "read"


def peak() -> int:
    """The most memory that this process has had. (ru_maxrss would count the process that started it, too.)"""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def child(folder: Path, suffix: str) -> None:
    """Read the good file, then each hostile one; a line of JSON each."""
    options: dict[str, Any] = {"layout": "equinox"} if suffix == ".eqx" else {}
    options |= {"prefix": "first"} if suffix in (".keras", ".h5") else {}
    unilstm.load(folder / f"good{suffix}", **options)
    before = peak()
    for case in CASES[suffix]:
        start = time.process_time()
        result = refused(folder / f"{case}{suffix}")
        took = time.process_time() - start
        more = peak() - before
        print(json.dumps({"case": case, "result": result, "seconds": took, "bytes": more}), flush=True)


def attempt(folder: Path, suffix: str) -> list[dict[str, Any]]:
    good(folder / f"good{suffix}")
    for case, make in CASES[suffix].items():
        make(folder / f"{case}{suffix}", folder / "trace")
    names = sorted(path.name for path in folder.iterdir())
    command = [sys.executable, __file__, str(folder), suffix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS * len(CASES[suffix]), check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == names, "something was written"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(sys.platform != "linux", reason="the system's count of memory is Linux's")
@pytest.mark.parametrize("suffix", CASES)
def test_hostile_files_are_refused_with_little_memory_and_nothing_runs(tmp_path: Path, suffix: str) -> None:
    for library in ("torch", "onnx", "h5py", "safetensors", "msgpack"):
        pytest.importorskip(library)
    found = attempt(tmp_path, suffix)
    assert [line["case"] for line in found] == list(CASES[suffix])
    for line in found:
        assert line["result"].startswith("refused"), line
        assert line["bytes"] <= MOST, line


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(Path(sys.argv[1]), sys.argv[2])
    else:
        import tempfile

        for kind in CASES:
            with tempfile.TemporaryDirectory() as name:
                for line in attempt(Path(name), kind):
                    took = f"{line['seconds']:5.2f} s {line['bytes'] >> 20:4d} MB"
                    print(f"{kind:>24} {line['case']:<10} {took}  {line['result'][-80:]}")
