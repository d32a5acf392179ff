""".weights.h5: the weights of a Keras model without the model. Read as any Keras file, and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..parameters import Array
from . import keras_writing
from .contents import Entry
from .keras_file import read
from .metadata import KEY

DEFAULT_LAYOUT = "keras"


def write(path: Path, arrays: Mapping[str, Array | Entry], metadata: Mapping[str, str]) -> None:
    """Weights for model.load_weights of a model with the same LSTM and Bidirectional layers in the same order."""
    made = keras_writing.layers(arrays)
    about = json.dumps(keras_writing.about(metadata, made), sort_keys=True)
    path.write_bytes(keras_writing.weights(made, {KEY: about}))


__all__ = ["DEFAULT_LAYOUT", "read", "write"]
