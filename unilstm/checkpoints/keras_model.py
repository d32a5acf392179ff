""".keras: a zip of config.json, metadata.json and model.weights.h5. Read as any Keras file, and written."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ..parameters import Array
from . import keras_writing
from .contents import Entry
from .keras_file import CONFIG, METADATA, WEIGHTS, read
from .metadata import KEY

DEFAULT_LAYOUT = "keras"


def write(path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None:
    """A model that keras.saving.load_model reads; see keras_writing. What the file is of stands in metadata.json."""
    made = keras_writing.layers(arrays)
    about = keras_writing.about(metadata, made)
    told = {"keras_version": keras_writing.VERSION, KEY: json.dumps(about, sort_keys=True)}
    config = json.dumps(keras_writing.model(made, about["config"]))
    parts = {METADATA: json.dumps(told).encode(), CONFIG: config.encode(), WEIGHTS: keras_writing.weights(made, {})}
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # not compressed, and dated as all such


__all__ = ["DEFAULT_LAYOUT", "read", "write"]
