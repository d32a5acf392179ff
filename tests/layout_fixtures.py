"""What a system computes, by its documented equations: a step in NumPy over arrays under the system's own names.

Nothing here comes from unilstm's tables or equations. The steps are in layout_equations.py and allennlp_equations.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Step = Callable[..., tuple[Array, Array]]
T, B, IN, H = 5, 3, 4, 6


@dataclass
class Fixture:
    """x, y: [T, B, features]; h_n, c_n: as unilstm's. masks: of a call in training."""

    layout: str
    config: dict[str, Any]
    weights: dict[str, Array]
    x: Array
    outputs: tuple[Array, Array, Array]
    masks: dict[str, Array] | None = None


class Arrays(dict[str, Array]):
    """A mapping that draws what it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.random = np.random.default_rng(zlib.crc32(name.encode()))

    def new(self, name: str, *shape: int) -> Array:
        self[name] = self.random.uniform(-1, 1, shape)
        return self[name]


FIXTURES: dict[str, Callable[[], Fixture]] = {}
Cell = Callable[[Arrays, int, int, int], Step]


@dataclass(frozen=True)
class Stack:
    """Layers of cells. ways: for each direction, whether it runs right to left."""

    layout: str
    config: dict[str, Any] = field(default_factory=dict)
    layers: int = 1
    ways: tuple[bool, ...] = (False,)
    output: int = H
    residual: bool = False
    mask: tuple[int, ...] = ()


def fixture(name: str, stack: Stack) -> Callable[[Cell], Cell]:
    """Register a cell: it draws its arrays (for a layer, a direction, an input size) and gives its step."""

    def register(cell: Cell) -> Cell:
        FIXTURES[f"{stack.layout}/{name}"] = lambda: run(name, stack, cell)
        return cell

    return register


def run(name: str, stack: Stack, cell: Cell) -> Fixture:
    arrays = Arrays(f"{stack.layout}/{name}")
    x = arrays.random.uniform(-1, 1, (T, B, IN))
    keep = arrays.random.integers(0, 2, stack.mask) / 0.5 if stack.mask else None
    y, finals = x, []
    for k in range(stack.layers):
        outputs = []
        for d, backward in enumerate(stack.ways):
            step = cell(arrays, k, d, y.shape[-1])
            h, c, shown = np.zeros((B, stack.output)), np.zeros((B, H)), {}
            for t in reversed(range(T)) if backward else range(T):
                h, c = step(y[t], h, c) if keep is None else step(y[t], h, c, keep[t])
                shown[t] = h
            outputs.append(np.stack([shown[t] for t in range(T)]))
            finals.append((h, c))
        below = y
        y = np.concatenate(outputs, -1)
        y = y + below if stack.residual and k else y
    h_n, c_n = (np.stack(states) for states in zip(*finals, strict=True))
    masks = None if keep is None else {"recurrent_l0": keep}
    return Fixture(stack.layout, stack.config, dict(arrays), x, (y, h_n, c_n), masks)


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def gated(i: Array, f: Array, g: Array, o: Array, c: Array) -> tuple[Array, Array]:
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def normed(z: Array, gamma: Array, beta: Array, eps: float) -> Array:
    return (z - z.mean(-1, keepdims=True)) / np.sqrt(z.var(-1, keepdims=True) + eps) * gamma + beta


def four(z: Array) -> list[Array]:
    return np.split(z, 4, axis=-1)
