"""The trained network of the demo: the speaker encoder that the PyPI package Resemblyzer carries.

A 3-layer LSTM (40 → 256) over mel frames; the top layer's last h goes through a linear layer, a ReLU and a division by
its length (Wan et al. 2018, Generalized End-to-End Loss for Speaker Verification): the embedding of a voice.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints import FoundLSTM, inspect, load
from ..checkpoints.contents import Arrays, Contents
from ..checkpoints.formats import open_checkpoint
from ..errors import CheckpointError
from ..parameters import Array
from ..weights import Weights

_PACKAGE, _VERSION, _FILE = "Resemblyzer", "0.1.4", "resemblyzer/pretrained.pt"


@dataclass(frozen=True)
class Encoder:
    """The LSTM found in a checkpoint, and the linear layer beside it where there is one (weight [E, H], bias [E])."""

    found: FoundLSTM
    weights: Weights
    head: tuple[Array, Array] | None

    def embed(self, h_n: Any) -> Array:
        """The embedding of a final state h [L·D, B, H]: float64 [E], of length 1; computed in float64 for everyone, so
        that what differs comes from the LSTM alone. Without a linear layer it is the last h itself, scaled to length 1.
        """
        last = np.asarray(h_n, np.float64)[-1, 0]
        if self.head is not None:
            weight, bias = (part.astype(np.float64) for part in self.head)
            last = np.maximum(weight @ last + bias, 0.0)
        return np.asarray(last / np.linalg.norm(last))


def find_checkpoint() -> Path:
    """Resemblyzer's checkpoint among the files of its installation; the package itself is not imported."""
    install = f"Run: pip install --no-deps {_PACKAGE}=={_VERSION}; or give another checkpoint with --checkpoint."
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise CheckpointError(f"the demo's trained speaker encoder is not here ({_PACKAGE}). {install}") from None
    path = Path(str(distribution.locate_file(_FILE)))
    if not path.is_file():
        raise CheckpointError(f"{path}: is missing from {_PACKAGE} {distribution.version}. {install}")
    return path


def read_encoder(path: Path) -> Encoder:
    """Find the LSTM in a checkpoint, and the linear layer beside it. Raises CheckpointError."""
    weights = load(path, dtype="float32")
    found = next(f for f in inspect(path) if f.spec == weights.spec)
    batch_first = Weights(weights.spec.replace(batch_first=True), weights)  # a state_dict does not say; the demo does
    return Encoder(found, batch_first, _head(open_checkpoint(path), found, weights))


def _head(contents: Contents, found: FoundLSTM, weights: Weights) -> tuple[Array, Array] | None:
    parent = ".".join(found.prefix.rstrip(".").split(".")[:-1])
    names = [f"{parent}.linear.{part}".lstrip(".") for part in ("weight", "bias")]
    if not all(name in contents.entries for name in names):
        return None
    arrays = Arrays(contents, names, "float32")
    weight, bias = (arrays[name] for name in names)
    state = weights.spec.state_size
    if weight.ndim != 2 or weight.shape[1] != state or bias.shape != weight.shape[:1]:
        raise CheckpointError(
            f"{contents.path}: {names[0]!r} is {list(weight.shape)} and {names[1]!r} {list(bias.shape)}, but must be "
            f"[E, {state}] and [E] to follow the LSTM. Rename them, or use another checkpoint."
        )
    return weight, bias
