"""Keras 3's files of an LSTM: a model of LSTM layers, one a layer, and where Keras looks for its weights.

The layers are called "lstm", or "layer_0", "layer_1", … where there are several; two directions are a Bidirectional. A
layer that runs backwards gives its outputs in the order it computes them, so a flip in time stands behind it: the model
computes what unilstm does, y [B, T, O] of x [B, T, I]; a mask acts as lengths do, but in a stack of several layers that
run backwards, where Keras's flip hands no mask on. Files are the same for the same weights.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..layouts.keras import LSTM
from ..parameters import Array
from .contents import Entry, values
from .formats import library
from .metadata import KEY

VERSION = "3.0.0"  # of Keras, since when files are like this
_NAME = re.compile(r"(?:layer_(\d+)/)?((?:forward|backward)_lstm/lstm_cell/)?(\w+)")
_VARIABLES = tuple(tensor.name.rpartition("}")[2] for tensor in LSTM.tensors)  # stored as 0, 1 and 2
_SIDES = ("forward", "backward")
_FLIP = {"module": "keras.src.ops.numpy", "class_name": "Flip", "registered_name": "Flip"}


@dataclass(frozen=True)
class Layer:
    """One layer of a model. name: Keras's. sides: the arrays by variable, of one direction or two."""

    name: str
    sides: tuple[dict[str, Array], ...]

    @property
    def kind(self) -> str:
        return "LSTM" if len(self.sides) == 1 else "Bidirectional"

    @property
    def features(self) -> int:
        """Of its inputs."""
        return int(self.sides[0][_VARIABLES[0]].shape[0])


def layers(arrays: Mapping[str, Array | Entry]) -> list[Layer]:
    """The layers of arrays under the names of the layout "keras"."""
    found: dict[str, dict[str, dict[str, Array]]] = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        assert match is not None, name
        layer = "lstm" if match[1] is None else f"layer_{match[1]}"
        found.setdefault(layer, {}).setdefault(match[2] or "", {})[match[3]] = values(array)
    # "forward" comes after "backward" in the alphabet, and first in Keras
    return [Layer(name, tuple(side for _, side in sorted(own.items(), reverse=True))) for name, own in found.items()]


def about(metadata: Mapping[str, str], made: list[Layer]) -> dict[str, Any]:
    """What the file says of itself: as elsewhere, with the prefix that its names have when they are read."""
    return {**json.loads(metadata[KEY]), "prefix": "lstm/" if len(made) == 1 else ""}


def weights(made: list[Layer], attributes: Mapping[str, str]) -> bytes:
    """An HDF5 file as model.save_weights writes it, with attributes of its own. In memory: a disk that fills up is
    then no affair of a library that would leave its file half open."""
    h5py, data = library("h5py", "keras", "Keras's"), io.BytesIO()
    with h5py.File(data, "w") as file:
        _fill(file, made)
        file.attrs.update(attributes)
    return data.getvalue()


def _fill(file: Any, made: list[Layer]) -> None:
    """Places are by class and number, as Keras looks for them; names are attributes."""
    file.create_group("vars").attrs["name"] = "unilstm"
    numbers: dict[str, int] = {}
    for layer in made:
        number = numbers[layer.kind] = numbers.get(layer.kind, -1) + 1
        place = f"layers/{layer.kind.lower()}{f'_{number}' if number else ''}"
        file.create_group(f"{place}/vars").attrs["name"] = layer.name
        for where, side in zip(_SIDES, layer.sides, strict=False):
            inner = place if layer.kind == "LSTM" else f"{place}/{where}_layer"
            if inner != place:
                file.create_group(f"{inner}/vars").attrs["name"] = f"{where}_lstm"
            group = file.create_group(f"{inner}/cell/vars")
            group.attrs["name"] = "lstm_cell"
            for n, variable in enumerate(_VARIABLES):
                if variable in side:
                    group[str(n)] = side[variable]


def model(made: list[Layer], config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a functional model. config: the arguments of the layout "keras"."""
    dtype = str(made[0].sides[0][_VARIABLES[0]].dtype)
    nodes = list(_nodes(made, config, dtype))
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "unilstm",
            "trainable": True,
            "layers": nodes,
            "input_layers": [nodes[0]["name"], 0, 0],
            "output_layers": [nodes[-1]["name"], 0, 0],
        },
        "build_config": {"input_shape": None},
    }


def _nodes(made: list[Layer], config: Mapping[str, Any], dtype: str) -> Iterator[dict[str, Any]]:
    """The input and the layers, each fed by the one before."""
    shape = [None, None, made[0].features]
    own = {"batch_shape": shape, "dtype": dtype, "name": "x"}
    yield {**_named("InputLayer", own), "name": "x", "inbound_nodes": []}
    source = "x"
    for layer in made:
        node = _layer(layer, config, dtype)
        yield {**node, "name": layer.name, "inbound_nodes": _fed(source, shape, dtype)}
        source, shape = layer.name, [None, None, _outputs(layer, config)]
        if config.get("go_backwards"):
            flip = {**_FLIP, "config": {"name": f"{source}_in_time", "axis": 1}, "name": f"{source}_in_time"}
            yield {**flip, "inbound_nodes": _fed(source, shape, dtype)}
            source = f"{source}_in_time"


def _outputs(layer: Layer, config: Mapping[str, Any]) -> int:
    units = int(layer.sides[0][_VARIABLES[1]].shape[0])
    return units * (len(layer.sides) if config.get("merge_mode", "concat") == "concat" else 1)


def _fed(source: str, shape: list[int | None], dtype: str) -> list[dict[str, Any]]:
    tensor = {"shape": shape, "dtype": dtype, "keras_history": [source, 0, 0]}
    return [{"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}]


def _layer(layer: Layer, config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    built = {"build_config": {"input_shape": [None, None, layer.features]}}
    if layer.kind == "LSTM":
        backwards = bool(config.get("go_backwards"))
        return {**_named("LSTM", _lstm(layer.name, layer.sides[0], config, dtype, backwards)), **built}
    parts = (
        _named("LSTM", _lstm(f"{where}_lstm", side, config, dtype, where == "backward"))
        for where, side in zip(_SIDES, layer.sides, strict=True)
    )
    ahead, back = ({**part, **built} for part in parts)
    mode = config.get("merge_mode", "concat")
    own = {"name": layer.name, "trainable": True, "dtype": _policy(dtype), "merge_mode": mode}
    return {**_named("Bidirectional", {**own, "layer": ahead, "backward_layer": back}), **built}


def _lstm(
    name: str, side: Mapping[str, Array], config: Mapping[str, Any], dtype: str, backwards: bool
) -> dict[str, Any]:
    usual = {"activation": "tanh", "recurrent_activation": "sigmoid", "dropout": 0.0, "recurrent_dropout": 0.0}
    return {
        "name": name,
        "trainable": True,
        "dtype": _policy(dtype),
        "units": int(side[_VARIABLES[1]].shape[0]),
        **{key: config.get(key, value) for key, value in usual.items()},
        "use_bias": _VARIABLES[2] in side,
        "return_sequences": True,
        "return_state": False,
        "go_backwards": backwards,
        "stateful": False,
        "unroll": False,
        "zero_output_for_mask": True,
    }


def _policy(dtype: str) -> dict[str, Any]:
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": dtype}, "registered_name": None}


def _named(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None}
