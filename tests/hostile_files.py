"""Files of every format that are read, and what is done to them: cut off, damaged, or of tensors of another rank."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import unilstm
from unilstm import LSTMSpec, Weights
from unilstm.checkpoints import safetensors_file

FILES = Path(__file__).parent / "files"
Make = Callable[[Path, Path], None]  # (file or folder to make, folder whose presence shows that something ran)


def weights(bias: str = "double") -> Weights:
    return Weights.initial(LSTMSpec(3, 4, bias=bias), seed=7)


# What is read, and of it: what is cut off, or has a wrong checksum.


def own(path: Path) -> None:
    unilstm.save(weights(), path)


def copied(source: Any) -> Callable[[Path], None]:
    return lambda path: shutil.copy(str(source), path) and None


def unpacked(name: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(FILES / name) as archive:
            archive.extractall(path)

    return make


def legacy(path: Path) -> None:
    import torch

    torch.save(
        {name: torch.tensor(a) for name, a in weights().to_layout("torch").items()},
        path,
        _use_new_zipfile_serialization=False,
    )


def script(path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.LSTM(3, 4)).save(path)


def sharded(path: Path) -> None:
    """An index, and two files beside it."""
    shards = {name: f"{n % 2}.safetensors" for n, name in enumerate(weights())}
    for shard in set(shards.values()):
        arrays = {n: a for n, a in weights().items() if shards[n] == shard}
        safetensors_file.write(path.parent / shard, arrays, {})
    path.write_text(json.dumps({"weight_map": shards}))


def pretrained(path: Path) -> None:
    unilstm.save_pretrained(weights(), path)


def cut(good: Callable[[Path], None], which: str = "", keep: float = 2 / 3) -> Make:
    """Less a third; of a folder, the largest file of this pattern. Of an index's, a file beside it."""

    def make(path: Path, trace: Path) -> None:
        good(path)
        victim = path
        if which or path.is_dir():
            folder = path if path.is_dir() else path.parent
            fitting = [file for file in folder.glob(which or "**/*") if file.is_file()]
            victim = max(fitting, key=lambda file: file.stat().st_size)
        data = victim.read_bytes()
        victim.write_bytes(data[: int(len(data) * keep)])

    return make


def wrong_sum(good: Callable[[Path], None]) -> Make:
    def make(path: Path, trace: Path) -> None:
        good(path)
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            part = max(archive.infolist(), key=lambda part: part.file_size)
        data[part.header_offset + 30 + len(part.filename) + part.file_size // 2 + 64] ^= 1
        path.write_bytes(data)

    return make


# Tensors of another number of axes under an LSTM's names.


def deeper(layout: str, bias: str = "double") -> dict[str, Any]:
    """The arrays of a layout, each with an axis of one before its own."""
    return {name: np.ascontiguousarray(a[None]) for name, a in weights(bias).to_layout(layout).items()}


def rank_torch(path: Path, trace: Path) -> None:
    import torch

    arrays = {name: torch.tensor(a) for name, a in deeper("torch").items()}
    torch.save(arrays, path, _use_new_zipfile_serialization="legacy" not in str(path))


def rank_arrays(path: Path, trace: Path) -> None:
    if path.suffix == ".safetensors":
        safetensors_file.write(path, deeper("torch"), {})
    elif path.suffix == ".npz":
        np.savez(path, **deeper("torch"))
    elif path.suffix == ".pdparams":
        path.write_bytes(pickle.dumps(deeper("paddle")))
    else:  # .eqx
        with path.open("wb") as file:
            for array in deeper("equinox", "single").values():
                np.save(file, array)


def rank_msgpack(path: Path, trace: Path) -> None:
    import msgpack

    tree: dict[str, Any] = {}
    for name, a in deeper("flax", "single").items():
        *place, last = name.split("/")
        node = tree
        for key in place:
            node = node.setdefault(key, {})
        node[last] = msgpack.ExtType(1, msgpack.packb((a.shape, a.dtype.name, a.tobytes())))
    path.write_bytes(msgpack.packb(tree))


def rank_params(path: Path, trace: Path) -> None:
    arrays = deeper("mxnet")
    data = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for a in arrays.values():
        data += struct.pack(f"<Iii{a.ndim}qiii", 0xF993FAC9, 0, a.ndim, *a.shape, 1, 0, 0) + a.astype("<f4").tobytes()
    data += struct.pack("<Q", len(arrays))
    path.write_bytes(data + b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays))


def rank_onnx(path: Path, trace: Path) -> None:
    import onnx

    own(path)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        tensor.dims.insert(0, 1)
    model.ClearField("metadata_props")
    path.write_bytes(model.SerializeToString())


def rank_zarr(path: Path, trace: Path) -> None:
    unpacked("orbax_zarr.zip")(path)
    for file in path.rglob(".zarray"):
        said = json.loads(file.read_bytes())
        said |= {"shape": [1, *said["shape"]], "chunks": [1, *said["chunks"]]}
        file.write_text(json.dumps(said))
        for chunk in file.parent.glob("[0-9]*"):
            chunk.rename(chunk.with_name(f"0.{chunk.name}"))


def h5_rank(file: Any) -> None:
    for name, array in deeper("keras", "single").items():
        file[f"layers/first/cell/vars/{('kernel', 'recurrent_kernel', 'bias').index(name)}"] = array


def packed_zarr(path: Path, trace: Path) -> None:
    """An LSTM of more than a gigabyte, which is zeros, and packed."""
    import zstandard

    unpacked("orbax_zarr.zip")(path)
    zeros = {axes: zstandard.ZstdCompressor().compress(bytes(4 * 6000**axes)) for axes in (1, 2)}
    for file in path.glob("*lstm*/.zarray"):
        said = json.loads(file.read_bytes())
        axes = len(said["shape"])
        file.write_text(json.dumps(said | {"shape": [6000] * axes, "chunks": [6000] * axes}))
        (file.parent / ".".join("0" * axes)).write_bytes(zeros[axes])
