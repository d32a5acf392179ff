"""The eleven activations of ONNX, by name, with alpha and beta where they have them.

``hard_sigmoid`` exists twice in the world: slope 1/6 (torch, Keras 3) and slope 0.2 (ONNX, Keras 2). The bare name is
therefore refused; so is anything else whose parameters have no agreed default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import SpecError

Function = Callable[..., Any]


@dataclass(frozen=True)
class _Kind:
    function: Function
    alpha: float | None = None  # the default, where the field agrees on one
    beta: float | None = None
    takes: tuple[str, ...] = ()


# Each takes (ops, x, alpha, beta) and is branch-free in the values of x.
_KINDS: dict[str, _Kind] = {
    "sigmoid": _Kind(lambda ops, x, a, b: ops.sigmoid(x)),
    "tanh": _Kind(lambda ops, x, a, b: ops.tanh(x)),
    "relu": _Kind(lambda ops, x, a, b: ops.maximum(x, 0.0)),
    "affine": _Kind(lambda ops, x, a, b: a * x + b, 1.0, 0.0, ("alpha", "beta")),
    "leaky_relu": _Kind(lambda ops, x, a, b: ops.where(x >= 0, x, a * x), 0.01, None, ("alpha",)),
    "thresholded_relu": _Kind(lambda ops, x, a, b: ops.where(x > a, x, 0.0 * x), 1.0, None, ("alpha",)),
    "scaled_tanh": _Kind(lambda ops, x, a, b: a * ops.tanh(b * x), None, None, ("alpha", "beta")),
    "hard_sigmoid": _Kind(lambda ops, x, a, b: ops.clip(a * x + b, 0.0, 1.0), None, None, ("alpha", "beta")),
    # The argument of exp is capped at 0 so that the branch `where` drops cannot overflow and poison the gradient.
    "elu": _Kind(lambda ops, x, a, b: ops.where(x >= 0, x, a * ops.expm1(ops.minimum(x, 0.0))), 1.0, None, ("alpha",)),
    "softsign": _Kind(lambda ops, x, a, b: x / (1.0 + ops.abs(x))),
    "softplus": _Kind(lambda ops, x, a, b: ops.maximum(x, 0.0) + ops.log1p(ops.exp(-ops.abs(x)))),
}
NAMES = tuple(_KINDS)
_ALIASES = {"linear": "affine", "identity": "affine"}
_AMBIGUOUS = {
    "hard_sigmoid": "Say which one: ('hard_sigmoid', 1/6, 0.5) is torch's and Keras 3's, "
    "('hard_sigmoid', 0.2, 0.5) is ONNX's and Keras 2's.",
    "scaled_tanh": "Say alpha and beta of alpha*tanh(beta*x), for example ('scaled_tanh', 1.7159, 2/3).",
}


@dataclass(frozen=True)
class Activation:
    """An activation function: a name, and alpha and beta for those that have them."""

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __call__(self, ops: Any, x: Any) -> Any:
        return _KINDS[self.name].function(ops, x, self.alpha, self.beta)

    def to_json(self) -> str | dict[str, Any]:
        kind = _KINDS[self.name]
        if (self.alpha, self.beta) == (kind.alpha, kind.beta):
            return self.name
        return {"name": self.name} | {k: getattr(self, k) for k in kind.takes}


def parse_activation(value: Any, field: str) -> Activation:
    """Read an activation from a name, ``(name, alpha[, beta])``, a mapping, or an Activation."""
    name, parameters = _parts(value, field)
    name = _ALIASES.get(name, name)
    kind = _KINDS.get(name)
    if kind is None:
        raise SpecError(f"{field}={value!r} is not a known activation. Choose one of: {', '.join(NAMES)}.")
    chosen: dict[str, float | None] = {"alpha": kind.alpha, "beta": kind.beta}
    for key, number in parameters.items():
        if number is None:
            continue
        if key not in kind.takes:
            raise SpecError(f"{field}={value!r}: {name} has no {key}. Leave {key} out.")
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise SpecError(f"{field}={value!r}: {key} must be a finite number. Give a float.")
        chosen[key] = float(number)
    missing = [k for k in kind.takes if chosen[k] is None]
    if missing:
        raise SpecError(f"{field}={value!r} leaves {' and '.join(missing)} open. {_AMBIGUOUS[name]}")
    return Activation(name, **chosen)


def _parts(value: Any, field: str) -> tuple[str, dict[str, Any]]:
    if isinstance(value, Activation):
        return value.name, {"alpha": value.alpha, "beta": value.beta}
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and isinstance(value.get("name"), str) and set(value) <= {"name", "alpha", "beta"}:
        return value["name"], {k: value.get(k) for k in ("alpha", "beta")}
    if isinstance(value, (tuple, list)) and 1 <= len(value) <= 3 and isinstance(value[0], str):
        return value[0], dict(zip(("alpha", "beta"), value[1:], strict=False))
    raise SpecError(
        f"{field}={value!r} is not an activation. "
        f"Give a name such as 'tanh', or (name, alpha, beta) such as ('hard_sigmoid', 0.2, 0.5)."
    )
