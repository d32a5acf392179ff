"""Small files that would become large, files of a million names, and files that would run something."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hostile_files import Make, own, pretrained, script, unpacked
from layout_cases import GOLDEN

MILLION, MEGA = 1_000_000, 1 << 20

# Pickles.


class Calls:
    def __init__(self, *what: Any) -> None:
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what[0], self.what[1:]


def system(path: Path, trace: Path) -> None:
    """os.system in a pickle, in whatever the format puts around one."""
    bomb = {"weight_ih_l0": Calls(os.system, f"mkdir {trace}")}
    if path.suffix == ".pt":
        import torch

        torch.save(bomb, path, _use_new_zipfile_serialization="legacy" not in str(path))
    elif path.suffix == ".npz":
        np.savez(path, allow_pickle=True, a=np.array([bomb], object))
    else:
        path.write_bytes(pickle.dumps(bomb))


def out_of_nothing() -> bytes:
    """An LSTM of 1.5 GB in 250 bytes: the pickle asks torch for tensors, and says nothing of what is in them."""
    body = b"\x80\x02}("
    for name, shape in {"weight_ih": (16000, 20000), "weight_hh": (16000, 4000)}.items():
        sizes = b"".join(b"J" + struct.pack("<i", size) for size in shape)
        body += b"X\x0c\0\0\0" + f"{name}_l0".encode() + b"ctorch\nTensor\n(" + sizes + b"tR"
    return body + b"u." + pickle.dumps([], 2)  # the second is what an older file ends with


def again_and_again(path: Path, trace: Path) -> None:
    """The same megabyte in each of a thousand layers, which would come to two gigabytes."""
    import torch

    one = torch.zeros(1024, 256)
    torch.save({f"weight_{part}_l{k}": one for k in range(1000) for part in ("ih", "hh")}, path)


def fan() -> Any:
    """A list of ten lists of ten lists …: small in the file, and shared, so that only who walks it is caught."""
    value: Any = [0.0] * 10
    for _ in range(40):
        value = [value] * 10
    return value


NUMBER = b"\x8a\x05\x00\x00\x00\x00\x01"  # 2**32, as a pickle has it
LATIN, TWICE = b"X\x06\0\0\0latin1\x86R", b"X\x03\0\0\0hex\x86R"
BOMBS: dict[str, Callable[[], bytes]] = {
    "fan": lambda: pickle.dumps(fan(), 2),
    "memo": lambda: b"\x80\x02\x8a\x04\xff\xff\xff\x7f" + pickle.dumps(fan(), 2)[2:],
    "dicts": lambda: b"\x80\x02" + b"}" * 8_000_000 + b".",  # each a byte in the file, and 64 in memory
    "zeros": lambda: b"\x80\x02c__builtin__\nbytearray\n" + NUMBER + b"\x85R.",  # four gigabytes of them
    "twice": lambda: b"\x80\x02c_codecs\nencode\nq\x01" + b"h\x01" * 31 + b"X\x01\0\0\0a" + LATIN + TWICE * 31 + b".",
    "deep": lambda: b"\x80\x02}" + b")" + b"\x85" * 500_000 + b"K\x01s.",  # hashing it overflows the stack of C
    "fans": lambda: b"\x80\x02})q\1" + b"h\1\x86q\1" * 60 + b"K\1s.",  # a key of 2**60 tuples, to be hashed
    "sets": lambda: (  # of one list, six billion numbers in all
        b"\x80\x02](]q\1(" + b"K\1" * 99_999 + b"ec__builtin__\nset\nq\2" + b"h\2h\1\x85R" * 60_000 + b"e."
    ),
    "copies": lambda: (  # of one text, thirty gigabytes in all
        b"\x80\x02](X\0\0\x10\0" + b"a" * MEGA + b"q\1c_codecs\nencode\nq\2" + (b"h\2h\1" + LATIN) * 30_000 + b"e."
    ),
    "nothing": out_of_nothing,
    "keys": lambda: pickle.dumps({f"k{n}": 0 for n in range(MILLION)}, 2),
}


@cache
def bytes_of(bomb: str) -> bytes:
    return BOMBS[bomb]()


def torch_zip(bomb: str, script_: bool = False) -> Make:
    """A pickle as the index of a torch.save file, or of a TorchScript archive."""

    def make(path: Path, trace: Path) -> None:
        (script if script_ else own)(path)
        with zipfile.ZipFile(path) as archive:
            parts = {part.filename: archive.read(part) for part in archive.infolist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, bytes_of(bomb) if name.endswith("/data.pkl") else content)

    return make


def torch_legacy(bomb: str) -> Make:
    def make(path: Path, trace: Path) -> None:
        import torch

        head = (torch.serialization.MAGIC_NUMBER, 1001, {"protocol_version": 1001, "little_endian": True})
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + bytes_of(bomb))

    return make


def plain(bomb: str) -> Make:
    return lambda path, trace: path.write_bytes(bytes_of(bomb)) and None


def long_name(path: Path, trace: Path) -> None:
    """Eight megabytes of a name above fifty thousand arrays, each of which has it in its own."""
    arrays = dict.fromkeys(map(str, range(50_000)), np.zeros(1, "f4"))
    path.write_bytes(pickle.dumps({"k" * (8 << 20): arrays}, 4))


def zip_bomb(path: Path, trace: Path) -> None:
    """The bomb that an archive can hold."""
    np.savez_compressed(path, a=np.zeros(200 << 20, "u1"))


# A million of everything.


def parts(path: Path, trace: Path) -> None:
    """A zip of a million empty parts, as zipfile would write it if it had the memory."""
    names = np.char.zfill(np.arange(MILLION).astype("S6"), 6)
    head = [("magic", "S4"), ("said", "<u2", 5), ("sizes", "<u4", 3), ("name", "<u2"), ("extra", "<u2"), ("text", "S6")]
    local = np.zeros(MILLION, np.dtype(head))
    local["magic"], local["name"], local["text"] = b"PK\3\4", 6, names
    line = [("magic", "S4"), ("said", "<u2", 6), ("sizes", "<u4", 3), ("name", "<u2"), ("rest", "<u2", 4)]
    line += [("mode", "<u4"), ("at", "<u4"), ("text", "S6")]
    directory = np.zeros(MILLION, np.dtype(line))
    directory["magic"], directory["name"], directory["text"] = b"PK\1\2", 6, names
    directory["at"] = np.arange(MILLION) * local.itemsize
    start, end = local.nbytes, local.nbytes + directory.nbytes
    tail = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, MILLION, MILLION, directory.nbytes, start)
    tail += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    tail += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(local.tobytes() + directory.tobytes() + tail)


def header(text: str) -> Make:
    return lambda path, trace: path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + b"\0" * 4) and None


def keys_safetensors(path: Path, trace: Path) -> None:
    one = '"k{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    header("{" + ",".join(map(one.format, range(MILLION))) + "}")(path, trace)


def metadata_safetensors(path: Path, trace: Path) -> None:
    texts = ",".join(f'"{n:x}":""' for n in range(MILLION))
    header('{"__metadata__":{' + texts + '},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')(path, trace)


def message(field: int, body: bytes) -> bytes:
    """A field of protobuf's that has a length."""
    size, text = len(body), b""
    while size > 0x7F:
        text += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([field << 3 | 2]) + text + bytes([size]) + body


def keys_msgpack(path: Path, trace: Path) -> None:
    path.write_bytes(b"\xdf\x00\x0f\x42\x40" + b"".join(b"\xa6%06d\x00" % n for n in range(MILLION)))


def nested_msgpack(path: Path, trace: Path) -> None:
    """Sixteen million empty dicts in lists."""
    path.write_bytes(b"\xdc\x0f\xff" + (b"\xdc\x0f\xff" + b"\x80" * 4095) * 4095)


def keys_params(path: Path, trace: Path) -> None:
    one = struct.pack("<Iiiiii", 0xF993FAC9, 0, 0, 1, 0, 0) + b"\0" * 4
    path.write_bytes(struct.pack("<QQQ", 0x112, 0, MILLION) + one * MILLION)


def keys_eqx(path: Path, trace: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(0))
    with path.open("wb") as file:
        for _ in range(100):
            file.write(buffer.getvalue() * (MILLION // 100))


def text_of(key: str) -> Make:
    """A JSON text of a million names, in a file or in a folder."""

    def make(path: Path, trace: Path) -> None:
        target = path
        if key == "tree_metadata":
            unpacked("orbax_ocdbt.zip")(path)
            target = path / "_METADATA"
        elif key == "spec":
            pretrained(path)
            target = path / "config.json"
        target.write_text(f'{{"{key}":{{' + ",".join(f'"{n:x}":""' for n in range(MILLION)) + "}}")

    return make


# HDF5 and Keras.


@cache
def h5_bytes(fill: Callable[[Any], None]) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def h5_of(fill: Callable[[Any], None]) -> Make:
    """An HDF5 file, by itself or in a .keras file."""

    def make(path: Path, trace: Path) -> None:
        if path.suffix == ".keras":
            keras_zip("model.weights.h5", h5_bytes(fill))(path, trace)
        else:
            path.write_bytes(h5_bytes(fill))

    return make


def keras_zip(name: str, content: bytes) -> Make:
    def make(path: Path, trace: Path) -> None:
        with zipfile.ZipFile(str(GOLDEN / "keras/model.keras")) as old, zipfile.ZipFile(path, "w") as new:
            for part in old.namelist():
                new.writestr(part, content if part == name else old.read(part))

    return make


def h5_keys(file: Any) -> None:
    """Names of one array, a few more than are read; a million would take longer to write than all else here."""
    file["k"] = 1.0
    for n in range(100_010):
        file.id.links.create_hard(b"k%d" % n, file.id, b"k")


def h5_fan(file: Any) -> None:
    """Ten names of a group of ten names of a group …: a million places in six groups."""
    for n in range(6):
        group = file.create_group(f"g{n}")
        for m in range(10):
            group[f"k{m}"] = file[f"g{n - 1}"] if n else 1.0


def h5_cyclic(file: Any) -> None:
    file["a/b"] = file["/"]


def keras_config(path: Path, trace: Path) -> None:
    keras_zip("config.json", b'{"a":{' + b",".join(b'"k%d":0' % n for n in range(MILLION)) + b"}}")(path, trace)


def huge_header(path: Path, trace: Path) -> None:
    """A safetensors file that claims a header of 100 GB."""
    path.write_bytes(struct.pack("<Q", 100 << 30) + b"{}")


def passwd(path: Path, trace: Path) -> None:
    """An ONNX model with its data in a file that is none of its business."""
    import onnx

    own(path)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    model.ClearField("metadata_props")
    path.write_bytes(model.SerializeToString())


def messages(field: int, inside: bool = False) -> Make:
    """An ONNX model of a million empty messages, of its own or of its graph."""

    def make(path: Path, trace: Path) -> None:
        body = message(field, b"") * MILLION
        path.write_bytes(message(7, body) if inside else body)

    return make
