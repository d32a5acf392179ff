"""Looking at another framework's objects without importing it, and refusing what of them unilstm cannot say."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import PortError
from ..parameters import Array


def class_of(module: str, name: str) -> type | None:
    """A class of a module that has been imported; None where there is none."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def kind_of(layer: Any, module: str, names: Iterable[str], methods: tuple[str, ...]) -> str | None:
    """Which of a module's classes a layer is of; None for none, and for another layer of the framework below one.

    Raises PortError for a user's subclass with one of the methods that compute: what that computes cannot be known.
    """
    for name in names:
        known = class_of(module, name)
        if known is None or not isinstance(layer, known):
            continue
        for above in type(layer).__mro__[: type(layer).__mro__.index(known)]:
            own = [method for method in methods if method in vars(above)]
            if own and above.__module__.partition(".")[0] == module.partition(".")[0]:
                return None
            if own:
                raise PortError(
                    f"{type(layer).__qualname__} is a {module}.{name} with a {own[0]}() of its own, whose equations "
                    "cannot be read. Port one without, or say the equations as a cell of your own (unilstm.cells)."
                )
        return name
    return None


def refuse(layer: Any, argument: str, value: Any, rule: str) -> PortError:
    """The error for an argument of a layer that a spec has no place for. rule: why, and the next step."""
    return PortError(f"{type(layer).__name__}: {argument}={value!r} {rule}")


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Array]:
    """Nested dicts of arrays as one: the keys joined by "/"."""
    found: dict[str, Array] = {}
    for name, value in tree.items():
        found |= flat(value, f"{before}{name}/") if isinstance(value, Mapping) else {f"{before}{name}": np.array(value)}
    return found
