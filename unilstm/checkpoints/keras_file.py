"""Reading Keras models: .keras, .weights.h5, and the older .h5 and .hdf5. Neither Keras nor TensorFlow is needed.

A .keras file is a zip of config.json and model.weights.h5. An older .h5 has the configuration as an attribute, and the
weights by their names. A weights file alone has no configuration: then activations and the like are Keras's defaults
unless the caller says otherwise, and that is told. Where there is a configuration that does not describe an LSTM, the
caller must say.
"""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, pairwise
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
_ASSUMED_STACK = "; its layers, which may have anything between them, as one stack"
_UNDESCRIBED = (
    "the configuration does not describe it, as of a layer or a model of one's own: activations, go_backwards and "
    "merge_mode are open. config= (--config), or layout={!r} with the usual ones, settles them"
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
        known, backwards = keras_config.names(model), keras_config.backwards(model)
        for place, dataset in hdf5.datasets(path, file).items():
            name = _name(path, file, place, known, backwards)
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


def _name(path: Path, file: Any, place: str, known: Mapping[str, str], backwards: set[tuple[str, str]]) -> str:
    """A variable's name from its place in the file: "layers/lstm/cell/vars/0" is "rnn_1/lstm_cell/kernel".

    A backward layer is called so, as all are but those that somebody gave to a Bidirectional of Keras 3.
    """
    parts_ = place.split("/")
    if "vars" not in parts_:  # the older files have the names themselves, below one group a layer
        short = parts_[1:] if parts_[0] == "model_weights" else parts_
        if short[0] in short[1:]:  # the layer's name again, perhaps behind the model's
            short = short[short.index(short[0], 1) :]
        inner = [_backward(pair[1]) if pair in backwards else pair[1] for pair in pairwise(short)]
        return re.sub(":0$", "", "/".join([short[0], *inner]))
    named, where = [], ""
    for part in parts_[:-2]:
        where = f"{where}/{part}" if where else part
        if part in ("layers", "cells"):
            continue
        variables = f"{where}/vars"
        own = hdf5.text(path, file[variables].attrs, "name") if variables in file else None
        name = (own or known.get(where) or part).replace("/", "_")
        named.append(_backward(name) if part == "backward_layer" else name)
    cell = len(file["/".join(parts_[:-1])]) in (2, 3) and bool(named) and "cell" in named[-1]
    index = parts_[-1]
    return "/".join([*named, _VARIABLES[int(index)] if cell and index in ("0", "1", "2") else index])


def _backward(name: str) -> str:
    return name if name.startswith("backward_") else f"backward_{name}"


def _told(entries: Mapping[str, Entry], model: Any, version: str | None) -> list[Place]:
    """The LSTMs by names and shapes, each with what the configuration says of the layer of that name; in its order."""
    found = [one for one in layouts.find({n: e.shape for n, e in entries.items()}) if one.layout in _LAYOUTS]
    if model is None:
        return [_assumed(one) for one in found]
    described, parts = keras_config.lstms(model, version), [_layers(one) for one in found]
    own = iter(_described(described, [tuple(part.prefix.strip("/").split("/")) for one in parts for part in one]))
    places = []
    for one, inside in zip(found, parts, strict=True):
        said = list(islice(own, len(inside)))
        pairs = [(one, said[-1])] if _one_stack(said) else zip(inside, said, strict=True)
        places += [(described.index(layer) if layer else len(described), _place(part, layer)) for part, layer in pairs]
    return [place for _, place in sorted(places, key=lambda pair: pair[0])]


def _layers(found: layouts.Found) -> list[layouts.Found]:
    """What was found, a Keras layer each; their names may look like those of a stack when there is none."""
    inside: dict[str, list[str]] = {}
    for name in found.names:
        inside.setdefault(name[len(found.prefix) :].partition("/")[0], []).append(name)
    if not all(re.fullmatch(r"layer_\d+", layer) for layer in inside):
        return [found]
    return [replace(found, prefix=f"{found.prefix}{layer}/", names=tuple(names)) for layer, names in inside.items()]


def _one_stack(said: list[KerasLSTM | None]) -> bool:
    """Are these alike, and each fed by the one before and nothing else?"""
    layers = [layer for layer in said if layer is not None]
    if len(layers) < max(2, len(said)) or layers[0].config.get("go_backwards"):
        return False  # behind one that runs backwards, what order the next sees is open
    fed = all(above.source == below.place and below.said.get("return_sequences") for below, above in pairwise(layers))
    return fed and len({_alike(layer) for layer in layers}) == 1


def _alike(layer: KerasLSTM) -> str:
    """What the layers of one LSTM have in common."""
    return repr((layer.layout, layer.lost, layer.problem, sorted(layer.fields.items()), sorted(layer.config.items())))


def _layout(found: layouts.Found) -> str:
    return "keras" if found.layout == "haste" else found.layout


def _assumed(found: layouts.Found) -> Place:
    """Of a file without a configuration."""
    stack = _ASSUMED_STACK if len(_layers(found)) > 1 else ""
    return Place(_layout(found), found.prefix, found.names, assumed=_ASSUMED + stack)


def _place(found: layouts.Found, own: KerasLSTM | None) -> Place:
    if own is None:
        layout = _layout(found)
        doubt = _UNDESCRIBED.format(layout)
        return Place(layout, found.prefix, found.names, uncertain=doubt, config_settles=True)
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


def _described(lstms: list[KerasLSTM], places: list[tuple[str, ...]]) -> list[KerasLSTM | None]:
    """Of each place the layer whose own place ends alike. A layer is in one place: in that which is most like its own,
    and in none where two are, since one of them is not described then."""
    fits: dict[int, list[tuple[int, int]]] = {}
    for at, place in enumerate(places):
        n, common = _ends_alike(lstms, place)
        if common:
            fits.setdefault(n, []).append((len(place) + len(lstms[n].place) - 2 * common, at))
    found: list[KerasLSTM | None] = [None] * len(places)
    for n, those in fits.items():
        (unlike, at), *others = sorted(those)
        if all(more > unlike for more, _ in others):
            found[at] = lstms[n]
    return found


def _ends_alike(lstms: list[KerasLSTM], place: tuple[str, ...]) -> tuple[int, int]:
    """The one layer whose place ends alike by as many names as can be, and how many these are."""
    for common in range(len(place), 0, -1):
        alike = [n for n, lstm in enumerate(lstms) if lstm.place[-common:] == place[-common:]]
        if len(alike) == 1:
            return alike[0], common
    return 0, 0
