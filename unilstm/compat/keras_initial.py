"""Initial values as Keras names them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import SpecError
from ..named import to_numpy
from ..stored import Draws, Shape
from .initial import orthogonal


def _fans(shape: Shape) -> tuple[int, int]:
    return (shape[0], shape[-1])


def _scaled(scale: float, mode: str) -> Callable[[Draws, Shape], Any]:
    """U(±√(3·scale/n)), where n is one of the fans or their mean."""

    def draw(draws: Draws, shape: Shape) -> Any:
        fan_in, fan_out = _fans(shape)
        bound = (3.0 * scale / {"in": fan_in, "mean": (fan_in + fan_out) / 2.0}[mode]) ** 0.5
        return draws.uniform(shape, -bound, bound)

    return draw


def _orthogonal(draws: Draws, shape: Shape) -> Any:
    return orthogonal(draws, shape[0], shape[1])


INITIALIZERS: dict[str, Callable[[Draws, Shape], Any]] = {
    "zeros": lambda draws, shape: np.zeros(shape),
    "ones": lambda draws, shape: np.ones(shape),
    "glorot_uniform": _scaled(1.0, "mean"),
    "he_uniform": _scaled(2.0, "in"),
    "lecun_uniform": _scaled(1.0, "in"),
    "random_uniform": lambda draws, shape: draws.uniform(shape, -0.05, 0.05),
    "random_normal": lambda draws, shape: 0.05 * draws.normal(shape),
    "orthogonal": _orthogonal,
    "identity": lambda draws, shape: np.eye(shape[0], shape[1]),
}
_ALIASES = {"uniform": "random_uniform", "normal": "random_normal", "zero": "zeros", "one": "ones"}


def check(name: str, given: Any) -> None:
    """SpecError for what is neither one of INITIALIZERS nor a function of the shape."""
    if not callable(given) and _word(given) not in INITIALIZERS:
        raise SpecError(
            f"{name}={given!r} is unknown. Give one of: {', '.join(INITIALIZERS)}; an initializer of Keras; or a "
            "function of the shape."
        )


def values(given: Any, draws: Draws, shape: Shape) -> Any:
    """What an initializer gives: by name, or a function of the shape, which initializers of Keras are."""
    if not callable(given):
        return INITIALIZERS[_word(given)](draws, shape)
    found = to_numpy(given(shape))
    if found.shape != shape:
        raise SpecError(f"the initializer {given!r} gave shape {list(found.shape)}, but must give {list(shape)}.")
    return found


def _word(given: Any) -> str:
    """GlorotUniform and glorot_uniform are the same to Keras."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", given).lower() if isinstance(given, str) else ""
    return _ALIASES.get(word, word)
