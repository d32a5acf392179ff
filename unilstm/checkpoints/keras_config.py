"""A Keras model's configuration: its LSTMs, in the terms of the layout "keras"."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Names = tuple[str, ...]

# Classes → the layout of their arrays.
_CELLS = {
    "LSTMCell": "keras",
    "Addons>PeepholeLSTMCell": "addons-peephole",
    "Addons>LayerNormLSTMCell": "addons-layer-norm",
}
_LSTMS = {"LSTM": "keras", "CuDNNLSTM": "keras-cudnn"}
_MODELS = ("Sequential", "Functional", "Model")
_DEPTH = 32
_ACTIVATIONS = {
    "activation": ("cell_activation", "output_activation"),
    "recurrent_activation": ("gate_activation",),
}
_SAID = ("return_sequences", "return_state", "stateful")  # of a call, not of the LSTM: told, not translated
_DROPOUTS = ("dropout", "recurrent_dropout")
_ARGUMENTS = ("units", "activation", "recurrent_activation", "use_bias", "norm_epsilon")


@dataclass(frozen=True)
class KerasLSTM:
    """An LSTM of a configuration. place: the names of the layers it lies in, and its own. layout: of its arrays.

    config, fields, problem: see contents.Place. said: what else its configuration says. lost: what is not translated.
    source: the place of the layer whose first output is all that it reads, where there is one such.
    """

    place: Names
    layout: str
    config: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    lost: str | None = None
    problem: str | None = None
    source: Names | None = None


def lstms(model: Any, version: str | None) -> list[KerasLSTM]:
    """Every LSTM in a model's configuration. version: Keras's, because hard_sigmoid is not one function."""
    return [
        replace(found, source=source)
        for place, layer, source in _layers(model, (), 0)
        for found in _lstms(place, layer, version)
    ]


def backwards(model: Any) -> set[tuple[str, str]]:
    """Of each Bidirectional with a backward layer of its own: its name and that layer's, which need not say so."""
    found = set()
    for place, layer, _ in _layers(model, (), 0):
        own = _config(layer).get("backward_layer") if _kind(layer) == "Bidirectional" else None
        if own is not None:
            found.add((place[-1], _named(own)))
    return found


def names(model: Any) -> dict[str, str]:
    """Where Keras 3 keeps a layer's weights in a file ("layers/lstm_1") → the layer's name."""
    return dict(_stored(model, "", 0))


def _layers(model: Any, place: Names, depth: int) -> Iterator[tuple[Names, Mapping[str, Any], Names | None]]:
    """Every layer that is no model, with the names on the way to it, and the place of its source; see KerasLSTM."""
    sources = _sources(model)
    for layer in _children(model) if depth < _DEPTH else ():
        source = sources.get(_named(layer))
        yield from _inside(layer, (*place, _named(layer)), None if source is None else (*place, source), depth)


def _inside(
    layer: Mapping[str, Any], here: Names, source: Names | None, depth: int
) -> Iterator[tuple[Names, Mapping[str, Any], Names | None]]:
    """A layer, or those in it where it is a model or runs another at each step."""
    inner = _config(layer).get("layer")
    if _kind(layer) in _MODELS:
        yield from _layers(layer, here, depth + 1)
    elif _kind(layer) == "TimeDistributed" and isinstance(inner, Mapping):
        if depth < _DEPTH:
            yield from _inside(inner, (*here, _named(inner)), None, depth + 1)
    else:
        yield here, layer, source


def _sources(model: Any) -> dict[str, str]:
    """A layer's name → that of the layer whose first output it reads, and nothing else, in all of its calls."""
    layers = [layer for layer in _children(model) if _kind(layer) != "InputLayer"]
    if _kind(model) == "Sequential":
        return {_named(above): _named(below) for below, above in itertools.pairwise(layers)}
    found = {}
    for layer in layers:
        nodes = layer.get("inbound_nodes")
        calls = [_read(node) for node in nodes] if isinstance(nodes, list) else []
        read = set().union(*calls)
        if all(len(call) == 1 for call in calls) and len(read) == 1:
            name, output = read.pop()
            if output == 0:
                found[_named(layer)] = name
    return found


def _read(node: Any) -> set[tuple[str, int]]:
    """The outputs that a call of a layer reads: name and number. Keras 2 and 3 have [name, call, number, …] of each."""
    found, left = set(), [node]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left += value.values()
        elif isinstance(value, list):
            if [type(part) for part in value[:3]] == [str, int, int]:
                found.add((value[0], value[2]))
                value = value[3:]
            left += value
    return found


def _stored(model: Any, before: str, depth: int) -> Iterator[tuple[str, str]]:
    count: dict[str, int] = {}
    for layer in _children(model) if depth < _DEPTH else ():
        key = _snake(str(layer.get("class_name", "")))
        key = "functional" if key == "model" else key
        count[key] = count.get(key, -1) + 1
        where = f"{before}layers/{key}" + (f"_{count[key]}" if count[key] else "")
        yield where, _named(layer)
        yield from _stored(layer, f"{where}/", depth + 1)


def _children(model: Any) -> list[Mapping[str, Any]]:
    config = model.get("config") if isinstance(model, Mapping) else None
    found = config.get("layers") if isinstance(config, Mapping) else config  # Keras 1's Sequential: a bare list
    return [layer for layer in found if isinstance(layer, Mapping)] if isinstance(found, list) else []


def _config(layer: Any) -> Mapping[str, Any]:
    config = layer.get("config") if isinstance(layer, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def _named(layer: Any) -> str:
    own = layer.get("name", "") if isinstance(layer, Mapping) else ""
    return str(_config(layer).get("name", own))


def _snake(name: str) -> str:
    name = re.sub(r"\W+", "", name[:200])
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _lstms(place: Names, layer: Mapping[str, Any], version: str | None) -> Iterator[KerasLSTM]:
    kind, config = _kind(layer), _config(layer)
    if kind in _LSTMS:
        yield _one(place, _LSTMS[kind], config, config, version)
    elif kind == "Bidirectional" and _has_lstm(config.get("layer")):
        yield _two(place, config, version)
    elif kind == "RNN":
        cells = config.get("cell")
        if _kind(cells) in _CELLS:
            yield _one(place, _CELLS[_kind(cells)], config, _config(cells), version)
        elif _kind(cells) == "StackedRNNCells":
            inner = (*place, str(_config(cells).get("name", "stacked_rnn_cells")))
            for cell in _config(cells).get("cells", ()):
                if _kind(cell) in _CELLS:
                    name = str(_config(cell).get("name"))
                    yield _one((*inner, name), _CELLS[_kind(cell)], config, _config(cell), version)


def _kind(layer: Any) -> str:
    return str(layer.get("class_name")) if isinstance(layer, Mapping) else ""


def _has_lstm(layer: Any) -> bool:
    """Is it an LSTM, or an RNN of one cell?"""
    return _kind(layer) in _LSTMS or (_kind(layer) == "RNN" and _kind(_config(layer).get("cell")) in _CELLS)


def _one(
    place: Names, layout: str, layer: Mapping[str, Any], cell: Mapping[str, Any], version: str | None
) -> KerasLSTM:
    """layer: what iterates. cell: what has the weights; the same of an LSTM, another of RNN(LSTMCell)."""
    config = {key: cell[key] for key in _ARGUMENTS if key in cell}
    if layer.get("go_backwards"):
        config["go_backwards"] = True
    if layer.get("time_major"):
        config["batch_first"] = False
    said = {key: layer[key] for key in _SAID if key in layer}
    dropped = {key: cell[key] for key in _DROPOUTS if cell.get(key)}
    lost = None
    if layout == "keras-cudnn":  # it has neither a choice of activations nor dropout
        config = {key: value for key, value in config.items() if "activation" not in key and key != "use_bias"}
    elif len(dropped) == 2 and layout != "addons-layer-norm":
        lost = " and ".join(f"{key}={value!r}" for key, value in dropped.items())
        lost += " have a mask a gate each, act in training only, and are not translated"
    else:
        config |= dropped
    return KerasLSTM(place, layout, config, _hard_sigmoids(config, version), said, lost)


def _hard_sigmoids(config: dict[str, Any], version: str | None) -> dict[str, Any]:
    """The fields whose hard_sigmoid is Keras 1's and 2's, of slope 0.2; taken out of the config, which is Keras 3's."""
    old = [key for key in _ACTIVATIONS if config.get(key) == "hard_sigmoid"] if (version or "3")[0] in "12" else []
    for key in old:
        del config[key]
    return {field_: ("hard_sigmoid", 0.2, 0.5) for key in old for field_ in _ACTIVATIONS[key]}


def _two(place: Names, config: Mapping[str, Any], version: str | None) -> KerasLSTM:
    ahead = next(_lstms(place, config["layer"], version))
    back = next(_lstms(place, config["backward_layer"], version), None) if config.get("backward_layer") else None
    problem = None
    if ahead.config.pop("go_backwards", False):
        problem = "its forward layer has go_backwards=True, so its directions are swapped; build it the usual way round"
    elif back is not None:
        theirs = {key: value for key, value in back.config.items() if key != "go_backwards"}
        if (theirs, back.fields, back.layout) != (ahead.config, ahead.fields, ahead.layout):
            problem = "its two directions differ in their arguments; unilstm's are the same in both"
    mode = config.get("merge_mode", "concat")
    if mode is not None:
        ahead.config["merge_mode"] = mode
    said = {**ahead.said, "merge_mode": mode}
    return KerasLSTM(place, ahead.layout, ahead.config, ahead.fields, said, ahead.lost, problem)
