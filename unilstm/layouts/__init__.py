"""Foreign weight layouts as data: one small file a system, and one engine that reads and writes them all.

A new system is a new file with a `Layout` (see tables.py for its pieces) and a line in LAYOUTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import LayoutError
from ..parameters import Array
from ..weights import Weights
from . import engine
from .addons import ADDONS_LAYER_NORM, ADDONS_PEEPHOLE
from .allennlp import ALLENNLP
from .arraylstm import ARRAYLSTM
from .awd import AWD
from .custom_lstms import CUSTOM_LSTMS
from .detect import Found, find
from .elmo import ALLENNLP_PROJECTION, ELMO
from .equinox import EQUINOX
from .flax import FLAX
from .haiku import HAIKU
from .haste import HASTE
from .jax_cudnn import JAX_CUDNN
from .keras import KERAS
from .keras_cudnn import KERAS_CUDNN
from .layout import Layout
from .lmp import LMP
from .losses import LOSSES
from .mlx import MLX
from .mxnet import MXNET
from .nnx import NNX
from .onnx import ONNX
from .paddle import PADDLE
from .tensorflow import TENSORFLOW
from .torch import TORCH

_FIRST = (TORCH, PADDLE, KERAS, FLAX, NNX, EQUINOX, HAIKU, ONNX, JAX_CUDNN, ALLENNLP, LMP, ARRAYLSTM, HASTE)
_THEN = (CUSTOM_LSTMS, MXNET, TENSORFLOW, ADDONS_PEEPHOLE, ADDONS_LAYER_NORM, AWD, MLX, KERAS_CUDNN)
_LAST = (ALLENNLP_PROJECTION, ELMO)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _FIRST + _THEN + _LAST}


def names() -> list[str]:
    """The layouts there are."""
    return list(LAYOUTS)


def get(name: str) -> Layout:
    """A layout by name. Raises LayoutError for an unknown one, listing those there are."""
    layout = LAYOUTS.get(name) if isinstance(name, str) else None
    if layout is None:
        raise LayoutError(f"layout {name!r} is unknown. Choose one of: {', '.join(LAYOUTS)}.")
    return layout


def read(name: str, mapping: Mapping[str, Any], prefix: str, config: Mapping[str, Any]) -> Weights:
    """The weights in a mapping of a layout. See Weights.from_layout."""
    try:
        return engine.read(get(name), mapping, prefix, config)
    except LayoutError as problem:
        raise LayoutError(f"{problem}{_elsewhere(mapping, prefix)}") from None


def _elsewhere(mapping: Mapping[str, Any], prefix: str) -> str:
    """Where in the mapping there are LSTMs, for an error under a prefix where there is none."""
    shapes = {n: tuple(getattr(value, "shape", ())) for n, value in mapping.items() if isinstance(n, str)}
    found = find(shapes)
    if not found or any(f.prefix == prefix for f in found):
        return ""
    return " LSTMs found there: " + ", ".join(f"layout={f.layout!r} at prefix={f.prefix!r}" for f in found[:5]) + "."


def write(name: str, weights: Weights, prefix: str, allow: tuple[str, ...]) -> dict[str, Array]:
    """Weights as a layout stores them. See Weights.to_layout."""
    return engine.write(get(name), weights, prefix, allow)


__all__ = ["LAYOUTS", "LOSSES", "Found", "Layout", "find", "get", "names", "read", "write"]
