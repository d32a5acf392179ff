"""Reading Keras models: .keras, .weights.h5, and the older .h5 and .hdf5. Neither Keras nor TensorFlow is needed.

A .keras file is a zip of config.json and model.weights.h5. An older .h5 has the configuration as an attribute, and the
weights by their names. A weights file alone has no configuration: then activations and the like are Keras's defaults
unless the caller says otherwise, and that is told.
"""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import layouts
from ..errors import CheckpointError
from . import hdf5, keras_config
from .archives import PartOf, check_sums, offset, parts
from .contents import AGAIN, Contents, Entry, Place
from .formats import library
from .hdf5 import Open
from .json_text import LONGEST, parse
from .keras_config import KerasLSTM
from .metadata import KEY

DEFAULT_LAYOUT = "keras"
WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"
_VARIABLES = ("kernel", "recurrent_kernel", "bias")  # of a cell, which Keras 3 stores as 0, 1 and 2
_LAYOUTS = ("keras", "keras-cudnn", "addons-peephole", "addons-layer-norm", "haste")  # haste's names are Keras's, too
_SAID = "its configuration"
_ASSUMED = (
    "the file has no configuration of it: activations, go_backwards and merge_mode are taken as Keras's defaults; "
    "config= (--config) settles them"
)


def read(path: Path) -> Contents:
    """Open a file; arrays are named as Keras names its variables, such as "rnn_1/lstm_cell/kernel"."""
    zipped = zipfile.is_zipfile(path)
    hdf5.check_texts(path, ("keras_version", "model_config", "name", KEY))
    open_ = _zipped(path) if zipped else hdf5.opener(path)
    with open_() as file:
        version, own = hdf5.text(path, file.attrs, "keras_version"), hdf5.text(path, file.attrs, KEY)
        said = hdf5.text(path, file.attrs, "model_config")
        model = None if said is None else parse(path, said.encode("utf-8", "replace"), _SAID)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                model = parse(path, archive.read(CONFIG), _SAID)
                about = parse(path, archive.read(METADATA), "its metadata")
                about = about if isinstance(about, dict) else {}
                version, own = about.get("keras_version"), about.get(KEY)
        root = file.get("model_weights", file)
        if version is None and root is not file:
            version = hdf5.text(path, root.attrs, "keras_version")
        entries = {}
        known = keras_config.names(model)
        for place, dataset in hdf5.datasets(path, file).items():
            name = _name(path, file, place, known)
            entries[place if name in entries else name] = hdf5.entry(path, open_, place, dataset)
    metadata = {KEY: own} if isinstance(own, str) else {}
    return Contents(path, entries, metadata, tuple(_told(entries, model, version)))


def _zipped(path: Path) -> Open:
    """How to open the weights inside a .keras file, which are not compressed, in their place."""
    h5py = library("h5py", "keras", ".keras")
    found = {part.filename: part for part in parts(path)}
    for name in (CONFIG, METADATA, WEIGHTS):
        if name not in found:
            raise CheckpointError(f"{path}: has no part {name!r}, as every Keras file has. {AGAIN}")
    for name in (CONFIG, METADATA):
        if found[name].file_size > LONGEST:
            raise CheckpointError(f"{path}: its part {name!r} is longer than {LONGEST:,} bytes. {AGAIN}")
    check_sums(path, list(found.values()))

    start, size = offset(path, found[WEIGHTS]), found[WEIGHTS].file_size

    @contextlib.contextmanager
    def open_() -> Iterator[Any]:
        with PartOf(path, start, size) as inner, h5py.File(inner, "r") as file:
            yield file

    return open_


def _name(path: Path, file: Any, place: str, known: Mapping[str, str]) -> str:
    """A variable's name from its place in the file: "layers/lstm/cell/vars/0" is "rnn_1/lstm_cell/kernel"."""
    parts_ = place.split("/")
    if "vars" not in parts_:  # the older files have the names themselves, below one group a layer
        short = parts_[1:] if parts_[0] == "model_weights" else parts_
        return re.sub(":0$", "", "/".join(short[1:] if short[:1] == short[1:2] else short))
    named, where = [], ""
    for part in parts_[:-2]:
        where = f"{where}/{part}" if where else part
        if part in ("layers", "cells"):
            continue
        variables = f"{where}/vars"
        own = hdf5.text(path, file[variables].attrs, "name") if variables in file else None
        named.append((own or known.get(where) or part).replace("/", "_"))
    cell = len(file["/".join(parts_[:-1])]) in (2, 3) and bool(named) and "cell" in named[-1]
    index = parts_[-1]
    return "/".join([*named, _VARIABLES[int(index)] if cell and index in ("0", "1", "2") else index])


def _told(entries: Mapping[str, Entry], model: Any, version: str | None) -> list[Place]:
    """The LSTMs by names and shapes, each with what the configuration says of the layer of that name; in its order."""
    described = keras_config.lstms(model, version)
    places = []
    for found in layouts.find({name: entry.shape for name, entry in entries.items()}):
        if found.layout in _LAYOUTS:
            for part, own in _layers(described, found):
                order = described.index(own) if own else len(described)
                places.append((order, _place(part, own)))
    return [place for _, place in sorted(places, key=lambda pair: pair[0])]


def _layers(described: list[KerasLSTM], found: layouts.Found) -> list[tuple[layouts.Found, KerasLSTM | None]]:
    """What was found, with what is said of it; layers whose names look like those of a stack, and are none, apart."""
    own = _described(described, tuple(found.prefix.strip("/").split("/")))
    inside: dict[str, list[str]] = {}
    for name in found.names:
        inside.setdefault(found.prefix + name[len(found.prefix) :].partition("/")[0], []).append(name)
    said = [_described(described, tuple(place.split("/"))) for place in inside]
    layers = [layer for layer in said if layer is not None]
    if own is not None or len(inside) == 1 or len(layers) < len(inside):
        return [(found, own)]
    whole = {_alike(layer) for layer in layers}
    if len(whole) == 1 and not layers[0].config.get("go_backwards"):  # behind one, what order the next sees is open
        return [(found, layers[-1])]
    parts = (replace(found, prefix=f"{place}/", names=tuple(names)) for place, names in inside.items())
    return list(zip(parts, layers, strict=True))


def _alike(layer: KerasLSTM) -> str:
    """What the layers of one LSTM have in common."""
    return repr((layer.layout, layer.lost, layer.problem, sorted(layer.fields.items()), sorted(layer.config.items())))


def _place(found: layouts.Found, own: KerasLSTM | None) -> Place:
    if own is None:
        layout = "keras" if found.layout == "haste" else found.layout
        return Place(layout, found.prefix, found.names, assumed=_ASSUMED)
    return Place(
        own.layout,
        found.prefix,
        found.names,
        own.config,
        own.fields,
        assumed=own.lost,
        problem=f"its LSTM under {found.prefix!r} cannot be read: {own.problem}" if own.problem else None,
        said=own.said,
    )


def _described(lstms: list[KerasLSTM], place: tuple[str, ...]) -> KerasLSTM | None:
    """The layer whose place ends alike, by as many names as can be."""
    for count in range(len(place), 0, -1):
        alike = [lstm for lstm in lstms if lstm.place[-count:] == place[-count:]]
        if len(alike) == 1:
            return alike[0]
    return None
