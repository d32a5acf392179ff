"""Reverse-mode differentiation of float64 NumPy arrays, for the oracle: its leaves, and nonlinearities with slopes.

The method is that of Griewank & Walther 2008, ch. 3: a Var remembers which Vars it was computed from and, for each, how
a cotangent (the gradient of the final sum with respect to a value) passes back to it. There is no broadcasting between
Vars: an oracle must not guess what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
PullBack = Callable[[Array], Array]


class Var:
    """A float64 array and where it came from.

    inputs: (Var, pull-back) pairs; the pull-back maps the cotangent of this value to what it adds to that Var's.
    Vars are compared and hashed by identity. Their values are never changed in place.
    """

    __array_ufunc__ = None  # makes `ndarray * Var` an error; NumPy would go through it element by element
    __slots__ = ("depth", "inputs", "value")

    def __init__(self, value: ArrayLike, inputs: Sequence[tuple[Var, PullBack]] = ()) -> None:
        self.value: Array = np.array(value, dtype=np.float64) if not inputs else np.asarray(value, dtype=np.float64)
        self.inputs = inputs
        self.depth: int = 1 + max((v.depth for v, _ in inputs), default=0)

    def __repr__(self) -> str:
        return f"Var({self.value!r})"

    def __add__(self, other: Var) -> Var:
        """a + b."""
        _same_shape(self, other, "+")
        return Var(self.value + other.value, [(self, lambda ȳ: ȳ), (other, lambda ȳ: ȳ)])

    def __mul__(self, other: Var) -> Var:
        """a ⊙ b, element by element."""
        _same_shape(self, other, "⊙")
        a, b = self.value, other.value
        return Var(a * b, [(self, lambda ȳ: ȳ * b), (other, lambda ȳ: ȳ * a)])

    def __rsub__(self, number: float) -> Var:
        """1 - a."""
        return Var(number - self.value, [(self, lambda ȳ: -ȳ)])

    def __matmul__(self, other: Var) -> Var:
        """W v, a matrix times a vector."""
        w, v = self.value, other.value
        if w.ndim != 2 or v.ndim != 1 or w.shape[1] != v.shape[0]:
            raise ValueError(f"shapes {w.shape} @ {v.shape} are not a matrix and a vector that fit.")
        return Var(w @ v, [(self, lambda ȳ: np.outer(ȳ, v)), (other, lambda ȳ: w.T @ ȳ)])

    def __getitem__(self, index: Any) -> Var:
        """A part of an array, by integers and slices."""
        shape = self.value.shape

        def scatter(ȳ: Array) -> Array:
            whole = np.zeros(shape)
            whole[index] = ȳ
            return whole

        return Var(self.value[index], [(self, scatter)])

    def scaled(self, factor: float | Array) -> Var:
        """a times constants: one number, or one for each element."""
        if np.shape(factor) not in ((), self.value.shape):
            raise ValueError(f"a factor of shape {np.shape(factor)} does not fit a value of shape {self.value.shape}.")
        return Var(self.value * factor, [(self, lambda ȳ: ȳ * factor)])

    def apply(self, function: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Var:
        """φ(a), element by element; slope is φ'."""
        a = self.value
        return Var(function(a), [(self, lambda ȳ: ȳ * slope(a))])


def joined(first: Var, second: Var) -> Var:
    """Two vectors, one after the other."""
    n = first.value.shape[0]
    value = np.concatenate([first.value, second.value])
    return Var(value, [(first, lambda ȳ: ȳ[:n]), (second, lambda ȳ: ȳ[n:])])


def gradients(terms: Iterable[tuple[Var, Array]], leaves: Iterable[Var]) -> list[Array]:
    """The gradient of Σ sum(value · weight) over the terms (Var, weight), with respect to each leaf.

    A leaf that no term depends on has gradient 0.
    """
    cotangents: dict[Var, Array] = {}

    def add(v: Var, ȳ: Array) -> None:
        if v in cotangents:
            cotangents[v] += ȳ
        else:
            cotangents[v] = np.array(ȳ, dtype=np.float64)  # a copy: += above must not reach another Var's cotangent

    for v, weight in terms:
        add(v, weight)
    for v in _deepest_first(cotangents):
        for source, pull_back in v.inputs:
            add(source, pull_back(cotangents[v]))
    return [cotangents.get(leaf, np.zeros(leaf.value.shape)) for leaf in leaves]


def _deepest_first(ends: Iterable[Var]) -> list[Var]:
    """Every Var that the ends were computed from, each before all of its inputs.

    A loop, not recursion: a long sequence is deeper than Python's stack.
    """
    found: set[Var] = set(ends)
    waiting = list(found)
    while waiting:
        for source, _ in waiting.pop().inputs:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return sorted(found, key=lambda v: -v.depth)


def _same_shape(a: Var, b: Var, sign: str) -> None:
    if a.value.shape != b.value.shape:
        raise ValueError(f"shapes {a.value.shape} {sign} {b.value.shape} differ, and nothing is broadcast here.")


# What is differentiated by, with every shape checked: a wrong layout must not pass as some other LSTM.


class Leaves:
    """What can be differentiated by: x, the initial states and the parameters, by name."""

    def __init__(self, arrays: Mapping[str, ArrayLike]) -> None:
        self.arrays = arrays
        self.vars: dict[str, Var] = {}

    def add(self, name: str, array: ArrayLike, shape: tuple[int, ...]) -> Var:
        self.vars[name] = Var(as_float64(name, array, shape))
        return self.vars[name]

    def parameter(self, name: str, shape: tuple[int, ...]) -> Var:
        if name not in self.arrays:
            raise ValueError(f"{name} is not among the arrays. Give every parameter of the spec.")
        return self.add(name, self.arrays[name], shape)

    def check_all_read(self) -> None:
        unread = sorted(set(self.arrays) - set(self.vars))
        if unread:
            raise ValueError(f"the spec has no parameters {', '.join(unread)}. Leave them out.")


def as_float64(name: str, array: ArrayLike, shape: tuple[int, ...]) -> Array:
    values = np.asarray(array, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, but the spec and the batch need {shape}.")
    return values


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
