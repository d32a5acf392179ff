"""Every reader against what is made to harm it: refused, in little time and memory, nothing run and nothing written.

Each reader is a process of its own, so that its memory can be told: what it has after reading a good file is what its
imports take, and hostile files may take 200 MB beyond that, and two seconds of the processor.
`python tests/test_checkpoints_hostile.py` prints what each takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import hostile_bombs as bombs
import hostile_files as files
import unilstm
from hostile_bombs import h5_of, plain, text_of, torch_legacy, torch_zip
from hostile_files import FILES, Make, copied, cut, own, unpacked, wrong_sum
from layout_cases import GOLDEN
from unilstm import CheckpointError

BYTES, SECONDS = 200 << 20, 2.0
HANGS = 60  # seconds by the clock, for all files of a format


@dataclass(frozen=True)
class Format:
    """suffix: of its files; "" for a folder. good: makes one that is read, with these options. rank: the options which
    say where tensors of a wrong rank are."""

    suffix: str
    good: Callable[[Path], None]
    cases: dict[str, Make]
    options: dict[str, Any] = field(default_factory=dict)
    rank: dict[str, Any] = field(default_factory=dict)


def zipped(good: Callable[[Path], None], **more: Make) -> dict[str, Make]:
    return {"cut": cut(good), "sum": wrong_sum(good), "parts": bombs.parts, **more}


def keras(name: str) -> Callable[[Path], None]:
    return copied(GOLDEN / "keras" / name)


IN_KERAS = {"layout": "keras", "prefix": "first/cell/"}


def h5(name: str) -> Format:
    cases: dict[str, Make] = {"cut": cut(keras(name)), "cyclic": h5_of(bombs.h5_cyclic), "fan": h5_of(bombs.h5_fan)}
    cases |= {"keys": h5_of(bombs.h5_keys), "rank": h5_of(files.h5_rank)}
    return Format(".h5", keras(name), cases, {"prefix": "first"}, IN_KERAS)


def orbax(name: str, **more: Make) -> Format:
    return Format(
        "",
        unpacked(name),
        {"names": text_of("tree_metadata"), **more},
        rank={"layout": "flax", "prefix": "params/lstm/"},
    )


ARRAYS: dict[str, Make] = {"system": bombs.system, "rank": files.rank_arrays}
IN_TORCH = ("memo", "dicts", "zeros", "twice", "deep", "fans", "sets", "copies", "nothing", "keys")
ZARR = unpacked("orbax_zarr.zip")
OCDBT = unpacked("orbax_ocdbt.zip")
FORMATS = {
    "safetensors": Format(
        ".safetensors",
        own,
        {
            "header of 100 GB": bombs.huge_header,
            "cut": cut(own),
            "keys": bombs.keys_safetensors,
            "metadata": bombs.metadata_safetensors,
            "rank": files.rank_arrays,
        },
        rank={"layout": "torch"},
    ),
    "shards": Format(
        ".safetensors.index.json",
        files.sharded,
        {
            "cut": cut(files.sharded),
            "cut shard": cut(files.sharded, "0.safetensors"),
            "keys": text_of("weight_map"),
        },
    ),
    "torch": Format(
        ".pt",
        own,
        zipped(
            own,
            again=bombs.again_and_again,
            system=bombs.system,
            rank=files.rank_torch,
            **{name: torch_zip(name) for name in IN_TORCH},
        ),
        rank={"layout": "torch"},
    ),
    "torch-legacy": Format(
        ".pt",
        files.legacy,
        {
            "cut": cut(files.legacy),
            "system": bombs.system,
            "rank": files.rank_torch,
            **{name: torch_legacy(name) for name in IN_TORCH},
        },
        rank={"layout": "torch"},
    ),
    "torchscript": Format(
        ".pt", files.script, {"cut": cut(files.script), "sum": wrong_sum(files.script), "keys": torch_zip("keys", True)}
    ),
    "paddle": Format(
        ".pdparams",
        own,
        {
            "cut": cut(own),
            **ARRAYS,
            **{name: plain(name) for name in ("fan", "dicts", "zeros", "twice", "deep", "keys")},
            "name": bombs.long_name,
        },
        rank={"layout": "paddle"},
    ),
    "npz": Format(".npz", own, zipped(own, **ARRAYS, bomb=bombs.zip_bomb), rank={"layout": "torch"}),
    "onnx": Format(
        ".onnx",
        own,
        {
            "cut": cut(own),
            "passwd": bombs.passwd,
            "initialisers": bombs.messages(5, inside=True),
            "values": bombs.messages(13, inside=True),
            "metadata": bombs.messages(14),
            "rank": files.rank_onnx,
        },
        rank={"layout": "onnx"},
    ),
    "keras": Format(
        ".keras",
        keras("model.keras"),
        zipped(
            keras("model.keras"),
            cyclic=h5_of(bombs.h5_cyclic),
            keys=h5_of(bombs.h5_keys),
            config=bombs.keras_config,
            rank=h5_of(files.h5_rank),
        ),
        {"prefix": "first"},
        IN_KERAS,
    ),
    "keras-weights": h5("model.weights.h5"),
    "keras-legacy": h5("model_legacy.h5"),
    "flax": Format(
        ".msgpack",
        copied(FILES / "flax.msgpack"),
        {
            "cut": cut(copied(FILES / "flax.msgpack")),
            "keys": bombs.keys_msgpack,
            "nested": bombs.nested_msgpack,
            "rank": files.rank_msgpack,
        },
        rank={"layout": "flax"},
    ),
    "orbax-ocdbt": orbax(
        "orbax_ocdbt.zip",
        **{"cut manifest": cut(OCDBT, "manifest.ocdbt"), "cut": cut(OCDBT, "d/*"), "cut tree": cut(OCDBT, "_METADATA")},
    ),
    "orbax-zarr": orbax(
        "orbax_zarr.zip",
        **{
            "cut array": cut(ZARR, "*lstm*/.zarray"),
            "cut chunk": cut(ZARR, "*lstm*/0*"),
            "rank": files.rank_zarr,
            "bomb": files.packed_zarr,
        },
    ),
    "equinox": Format(
        ".eqx",
        copied(FILES / "equinox.eqx"),
        {"cut": cut(copied(FILES / "equinox.eqx")), "keys": bombs.keys_eqx, "rank": files.rank_arrays},
        {"layout": "equinox"},
        {"layout": "equinox", "template": ["weight_ih", "weight_hh", "bias"]},
    ),
    "mxnet": Format(
        ".params",
        copied(FILES / "mxnet.params"),
        {"cut": cut(copied(FILES / "mxnet.params")), "keys": bombs.keys_params, "rank": files.rank_params},
        rank={"layout": "mxnet"},
    ),
    "model folder": Format(
        "",
        files.pretrained,
        {
            "cut config": cut(files.pretrained, "config.json"),
            "cut weights": cut(files.pretrained, "model.safetensors"),
            "keys": text_of("spec"),
        },
    ),
}


def refused(path: Path, how: str, **options: Any) -> str:
    try:
        if how == "model folder":
            unilstm.from_pretrained(path)
        else:
            unilstm.load(path, **options)
    except (CheckpointError, unilstm.LayoutError) as problem:
        return f"refused: {problem}"
    return "read"


def peak() -> int:
    """The most memory that this process has had. (ru_maxrss would count the process that started it, too.)"""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def place(folder: Path, name: str, case: str) -> Path:
    return folder / case / f"{name.replace(' ', '-')}{FORMATS[name].suffix}"


def child(folder: Path, name: str) -> None:
    """Read the good file, then each hostile one; a line of JSON each."""
    form = FORMATS[name]
    assert refused(place(folder, name, "good"), name, **form.options) == "read"
    before = peak()
    for case in form.cases:
        # Tensors of a wrong rank are no LSTM that is found; and none that is read by one who says where it is.
        options = [{}, form.rank] if case == "rank" else [form.options]
        start = time.process_time()
        results = [refused(place(folder, name, case), name, **each) for each in options]
        took = time.process_time() - start
        result = next((result for result in results if not result.startswith("refused")), results[-1])
        print(json.dumps({"case": case, "result": result, "seconds": took, "bytes": peak() - before}), flush=True)


def attempt(folder: Path, name: str) -> list[dict[str, Any]]:
    for case, make in {"good": lambda path, _: FORMATS[name].good(path), **FORMATS[name].cases}.items():
        place(folder, name, case).parent.mkdir()
        make(place(folder, name, case), folder / "trace")
    before = sorted(folder.rglob("*"))
    command = [sys.executable, __file__, str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(folder.rglob("*")) == before, "something was written"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(sys.platform != "linux", reason="the system's count of memory is Linux's")
@pytest.mark.parametrize("name", FORMATS)
def test_hostile_files_are_refused_in_little_time_and_memory_and_nothing_runs(tmp_path: Path, name: str) -> None:
    for library in ("torch", "onnx", "h5py", "safetensors", "msgpack", "zstandard"):
        pytest.importorskip(library)
    found = attempt(tmp_path, name)
    assert [line["case"] for line in found] == list(FORMATS[name].cases)
    for line in found:
        assert line["result"].startswith("refused"), line
        assert line["bytes"] <= BYTES, line
        assert line["seconds"] <= SECONDS, line


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(Path(sys.argv[1]), sys.argv[2])
    else:
        import tempfile

        for kind in FORMATS:
            with tempfile.TemporaryDirectory() as made:
                for line in attempt(Path(made), kind):
                    took = f"{line['seconds']:5.2f} s {line['bytes'] >> 20:4d} MB"
                    print(f"{kind:>14} {line['case']:<16} {took}  {line['result'].split(': ')[-1][:90]}")
