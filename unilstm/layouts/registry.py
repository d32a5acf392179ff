"""Which layouts there are: those of unilstm, those that code registers, and those of entry points.

A package offers a layout by an entry point of the group ``unilstm.layouts``; the entry point's name is the layout's,
what it points at is the `Layout`. It is loaded when it is asked for by name, or when all are searched.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from functools import cache

from ..errors import LayoutError
from .addons import ADDONS_LAYER_NORM, ADDONS_PEEPHOLE
from .allennlp import ALLENNLP
from .arraylstm import ARRAYLSTM
from .awd import AWD
from .checking import check_table
from .custom_lstms import CUSTOM_LSTMS
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
from .mlx import MLX
from .mxnet import MXNET
from .nnx import NNX
from .onnx import ONNX
from .paddle import PADDLE
from .tensorflow import TENSORFLOW
from .torch import TORCH

GROUP = "unilstm.layouts"

_FIRST = (TORCH, PADDLE, KERAS, FLAX, NNX, EQUINOX, HAIKU, ONNX, JAX_CUDNN, ALLENNLP, LMP, ARRAYLSTM, HASTE)
_THEN = (CUSTOM_LSTMS, MXNET, TENSORFLOW, ADDONS_PEEPHOLE, ADDONS_LAYER_NORM, AWD, MLX, KERAS_CUDNN)
_LAST = (ALLENNLP_PROJECTION, ELMO)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _FIRST + _THEN + _LAST}
_registered: dict[str, Layout] = {}


def register(layout: Layout) -> None:
    """Add a layout from code, without an entry point. Raises LayoutError for a table that is wrong, or a taken name."""
    check_table(layout)
    if layout.name in names():
        raise LayoutError(f"there is a layout {layout.name!r} already. Give yours another name.")
    _registered[layout.name] = layout


def unregister(name: str) -> None:
    """Take away a layout that was registered. Raises LayoutError for any other."""
    if name not in _registered:
        raise LayoutError(f"layout {name!r} was not registered here. These were: {', '.join(_registered) or 'none'}.")
    del _registered[name]


def names() -> list[str]:
    """The layouts there are, without loading any."""
    return list(dict.fromkeys([*LAYOUTS, *_registered, *_entry_points()]))


def get(name: str) -> Layout:
    """A layout by name. Raises LayoutError for an unknown one, listing those there are."""
    if isinstance(name, str):
        found = LAYOUTS.get(name) or _registered.get(name)
        if found is not None:
            return found
        if name in _entry_points():
            return _loaded(name)
    raise LayoutError(f"layout {name!r} is unknown. Choose one of: {', '.join(names())}.")


def every() -> dict[str, Layout]:
    """All layouts. One of an entry point that cannot be loaded is left out, with a warning."""
    found = LAYOUTS | _registered
    for name in _entry_points():
        if name not in found:
            try:
                found[name] = _loaded(name)
            except LayoutError as problem:
                warnings.warn(str(problem), stacklevel=2)
    return found


@cache
def _entry_points() -> list[str]:
    """Their names. Asking takes milliseconds, and what is installed does not change while a program runs."""
    return [e.name for e in importlib.metadata.entry_points(group=GROUP)]


@cache
def _loaded(name: str) -> Layout:
    """The layout of an entry point. Raises LayoutError where there is none or it is wrong."""
    (entry, *_) = importlib.metadata.entry_points(group=GROUP, name=name)
    try:
        layout = entry.load()
    except Exception as problem:  # whatever the module raises
        raise LayoutError(
            f"the layout {name!r}, which {entry.value} should be, cannot be loaded: {problem}. "
            "Repair or uninstall that package."
        ) from problem
    if not isinstance(layout, Layout) or layout.name != name:
        raise LayoutError(f"{entry.value} is no unilstm.layouts.Layout of the name {name!r}, as its entry point says.")
    check_table(layout)
    return layout
