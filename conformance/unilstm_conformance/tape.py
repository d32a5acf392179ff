"""Reverse-mode differentiation of float64 NumPy arrays, for the oracle. Its functions are in tape_functions.py.

The method is that of Griewank & Walther 2008, ch. 3: a Var remembers which Vars it was computed from and, for each, how
a cotangent (the gradient of the final sum with respect to a value) passes back to it. There is no broadcasting between
Vars: an oracle must not guess what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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
        # Leaves are copied: their arrays are somebody's. What is computed may be perturbed.
        self.value: Array = np.array(value, dtype=np.float64) if not inputs else _perturbed(np.asarray(value))
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

    def __sub__(self, other: Var) -> Var:
        """a - b."""
        _same_shape(self, other, "-")
        return Var(self.value - other.value, [(self, lambda ȳ: ȳ), (other, lambda ȳ: -ȳ)])

    def __truediv__(self, other: Var) -> Var:
        """a / b, element by element."""
        _same_shape(self, other, "/")
        b, q = other.value, self.value / other.value
        return Var(q, [(self, lambda ȳ: ȳ / b), (other, lambda ȳ: -ȳ * q / b)])

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
            add(source, _perturbed(pull_back(cotangents[v])))
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


_NOISE: ContextVar[tuple[np.random.Generator, float] | None] = ContextVar("noise", default=None)


@contextmanager
def noise(size: float, seed: int) -> Iterator[None]:
    """Within it every result of an operation, forward and back, is multiplied by 1 ± up to size, at random.

    How far the end results move tells how rounding errors grow on their way (Parker 1997, Monte Carlo Arithmetic).
    """
    token = _NOISE.set((np.random.default_rng(seed), size))
    try:
        yield
    finally:
        _NOISE.reset(token)


def _perturbed(values: Array) -> Array:
    now = _NOISE.get()
    if now is None:
        return values
    generator, size = now
    return values * (1.0 + size * generator.uniform(-1.0, 1.0, np.shape(values)))


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
