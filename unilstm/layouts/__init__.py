"""Foreign weight layouts as data: one small file a system, and one engine that reads and writes them all.

A new system is a new file with a `Layout` (see tables.py for its pieces) and a line in registry.py; or, in a package of
one's own, a `Layout` that is registered or that an entry point names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import LayoutError
from ..parameters import Array
from ..weights import Weights
from . import engine
from .detect import Found, find
from .layout import Layout
from .losses import LOSSES
from .registry import LAYOUTS, get, names, register, unregister
from .tables import Argument, Arguments, Form, Names, Part, Piece, Tensor


def read(name: str, mapping: Mapping[str, Any], prefix: str, config: Mapping[str, Any]) -> Weights:
    """The weights in a mapping of a layout. See Weights.from_layout."""
    if not isinstance(mapping, Mapping):
        raise LayoutError(f"mapping is a {type(mapping).__name__}. Give a mapping of names to arrays.")
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


__all__ = [
    "LAYOUTS",
    "LOSSES",
    "Argument",
    "Arguments",
    "Form",
    "Found",
    "Layout",
    "Names",
    "Part",
    "Piece",
    "Tensor",
    "find",
    "get",
    "names",
    "read",
    "register",
    "unregister",
    "write",
]
