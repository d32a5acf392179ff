"""The functions that the oracle's equations use, on the tape: each with how a cotangent passes back through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tape import Array, PullBack, Var

# Parts of vectors.


def joined(*parts: Var) -> Var:
    """Vectors, one after the other."""
    inputs, end = [], 0
    for v in parts:
        start, end = end, end + v.value.shape[0]
        inputs.append((v, _part(slice(start, end))))
    return Var(np.concatenate([v.value for v in parts]), inputs)


def _part(span: slice) -> PullBack:
    return lambda ȳ: ȳ[span]


def repeated(v: Var, times: int) -> Var:
    """Each number of a vector that often, one after the other: [K] → [K·times]."""
    return Var(np.repeat(v.value, times), [(v, lambda ȳ: ȳ.reshape(-1, times).sum(1))])


def block_sums(v: Var, blocks: int) -> Var:
    """The sum over each of the equal blocks of a vector: [H] → [blocks]."""
    size = v.value.shape[0] // blocks
    return Var(v.value.reshape(blocks, size).sum(1), [(v, lambda ȳ: np.repeat(ȳ, size))])


# Of several vectors, element by element.


def chosen(condition: np.ndarray[Any, Any], a: Var, b: Var) -> Var:
    """a where the condition holds, else b. Each gets the gradient where it is taken; the choice itself has none."""
    value = np.where(condition, a.value, b.value)
    return Var(value, [(a, lambda ȳ: np.where(condition, ȳ, 0.0)), (b, lambda ȳ: np.where(condition, 0.0, ȳ))])


def larger(a: Var, b: Var) -> Var:
    """max(a, b); of equals, a."""
    return chosen(a.value >= b.value, a, b)


def summed(parts: Sequence[Var]) -> Var:
    """The sum of vectors."""
    total = parts[0]
    for v in parts[1:]:
        total = total + v
    return total


def softmax(parts: Sequence[Var]) -> list[Var]:
    """exp(a_k) / Σ exp(a_l), over the vectors, element by element. For small arguments: exp may not overflow."""
    exps = [exp(a) for a in parts]
    return [e / summed(exps) for e in exps]


# Of one vector.


def exp(a: Var) -> Var:
    return a.apply(np.exp, np.exp)


def log_sigmoid(a: Var) -> Var:
    """log(1 / (1 + exp(-a)))."""
    return a.apply(lambda v: -_softplus(-v), lambda v: _sigmoid(-v))


def mean(v: Var) -> Var:
    """The mean of a vector, in the place of each of its numbers."""
    return Var(np.full(v.value.shape, v.value.mean()), [(v, lambda ȳ: np.full(ȳ.shape, ȳ.mean()))])


def normalised(v: Var, eps: float) -> Var:
    """(v - mean v) / sqrt(var v + eps), var the mean of the squared deviations (Ba, Kiros & Hinton 2016, eq. 3)."""
    deviation = v - mean(v)
    variance = mean(deviation * deviation)
    return deviation / variance.apply(lambda a: np.sqrt(a + eps), lambda a: 0.5 / np.sqrt(a + eps))


# Nonlinearities: each a function and its slope, φ and φ'. They are written so that no exponential overflows and no
# digits cancel, however far from 0 the argument is. Where there is a kink, the slope is one of the subgradients.


def _sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a))."""
    e = np.exp(-np.abs(a))
    return np.where(a >= 0, 1.0, e) / (1.0 + e)


def _sech2(a: Array) -> Array:
    """tanh'(a) = 1 / cosh²(a) = 4 σ(2a) σ(-2a)."""
    return 4.0 * _sigmoid(2.0 * a) * _sigmoid(-2.0 * a)


def _softplus(a: Array) -> Array:
    """log(1 + exp(a))."""
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))


# name: (φ(a, α, β), φ'(a, α, β)), as in the ONNX specification of LSTM.
_NONLINEARITIES: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "sigmoid": (lambda a, α, β: _sigmoid(a), lambda a, α, β: _sigmoid(a) * _sigmoid(-a)),
    "tanh": (lambda a, α, β: np.tanh(a), lambda a, α, β: _sech2(a)),
    "relu": (lambda a, α, β: np.maximum(a, 0.0), lambda a, α, β: np.where(a > 0, 1.0, 0.0)),
    "affine": (lambda a, α, β: α * a + β, lambda a, α, β: np.full(a.shape, α)),
    "leaky_relu": (lambda a, α, β: np.where(a >= 0, a, α * a), lambda a, α, β: np.where(a >= 0, 1.0, α)),
    # At a = α: 0, as in onnxruntime and ONNX's operator ThresholdedRelu; the text of ONNX's LSTM says a ≥ α.
    "thresholded_relu": (lambda a, α, β: np.where(a > α, a, 0.0), lambda a, α, β: np.where(a > α, 1.0, 0.0)),
    "scaled_tanh": (lambda a, α, β: α * np.tanh(β * a), lambda a, α, β: α * β * _sech2(β * a)),
    "hard_sigmoid": (
        lambda a, α, β: np.clip(α * a + β, 0.0, 1.0),
        lambda a, α, β: np.where((α * a + β > 0) & (α * a + β < 1), α, 0.0),
    ),
    "elu": (
        lambda a, α, β: np.where(a >= 0, a, α * np.expm1(np.minimum(a, 0.0))),
        lambda a, α, β: np.where(a >= 0, 1.0, α * np.exp(np.minimum(a, 0.0))),
    ),
    "softsign": (lambda a, α, β: a / (1.0 + np.abs(a)), lambda a, α, β: 1.0 / (1.0 + np.abs(a)) ** 2),
    "softplus": (lambda a, α, β: _softplus(a), lambda a, α, β: _sigmoid(a)),
}


def activated(a: Var, name: str, alpha: float | None, beta: float | None) -> Var:
    """φ(a), φ one of the eleven activations of ONNX, with its alpha and beta if it has them."""
    φ, slope = _NONLINEARITIES[name]
    return a.apply(lambda v: φ(v, alpha, beta), lambda v: slope(v, alpha, beta))


def clipped(a: Var, bound: float) -> Var:
    """a limited to [-bound, bound]; a bound of 0 means none."""
    if not bound:
        return a
    return a.apply(lambda v: np.clip(v, -bound, bound), lambda v: np.where(np.abs(v) <= bound, 1.0, 0.0))
