"""A layer of each framework as two runs, forward and training, for unilstm and for the peer beside it.

A *model* is what `ours`, `own` and `loop` make: a function of x and lengths that runs it forward, and one that trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import unilstm
from unilstm import LSTMSpec

from .measuring import Run

Shape = tuple[int, int, int, int]  # B, T, I, H


@dataclass(frozen=True)
class Model:
    """forward, training: from an input of `Framework.x` and lengths (or None) to what is timed."""

    forward: Callable[[Any, Any], Run]
    training: Callable[[Any, Any], Run] | None
    path: str = ""


class Framework:
    """One process's subject. peer: what `own` is called in the tables. backend: unilstm's, for the layers beside it."""

    peer: str
    backend: str

    def x(self, shape: Shape) -> Any:
        return numbers(shape)

    def ours(self, spec: LSTMSpec, path: str = "auto") -> Model:
        return self.of_layer(unilstm.LSTM(spec, backend=self.backend, path=path, seed=0))

    def of_layer(self, layer: Any) -> Model:
        raise NotImplementedError

    def own(self, shape: Shape, layers: int = 1, both: bool = False) -> Model | None:
        """The peer. both: directions."""
        return None

    def loop(self, spec: LSTMSpec) -> Model | None:
        """The same variant as a loop of the framework's own operations, the products with x made before it."""
        return None

    def cell(self, spec: LSTMSpec) -> Model | None:
        """The same variant as a cell that is called step after step in Python."""
        return None

    def variant(self, spec: LSTMSpec) -> Model | None:
        """The same variant as another library's layer on this framework."""
        return None

    def packed(self, shape: Shape) -> Model | None:
        """The peer's own way to ragged rows, where it has one."""
        return None

    def product(self, n: int) -> Run | None:
        """A product of two n × n matrices of float32: the machine's measured peak."""
        return None

    def stream(self, shape: Shape) -> dict[str, Run]:
        """`carried` steps: "own", the peer's layer, "cell", its cell, "ours", by step(), and "stream", by stream()."""
        return {}


STEPS = 100


def carried(step: Callable[[Any], Any], state: Any) -> Run:
    """So many steps of a stream: step(state) returns the next one's state."""

    def run() -> Any:
        now = state
        for _ in range(STEPS):
            now = step(now)
        return now

    return run


def streamed(layer: Any, x: Any, state: Any) -> Run:
    """As many steps of layer.stream()."""
    stream = layer.stream(state)

    def run() -> Any:
        for _ in range(STEPS):
            y = stream(x)
        return y

    return run


def numbers(shape: Shape) -> Any:
    return np.random.default_rng(0).standard_normal(shape[:3]).astype("float32")


def standard(shape: Shape, layers: int = 1, both: bool = False) -> LSTMSpec:
    return LSTMSpec(shape[2], shape[3], num_layers=layers, direction="bidirectional" if both else "forward")


def ragged(shape: Shape) -> Any:
    """Lengths uniform in 1..T."""
    return np.random.default_rng(1).integers(1, shape[1] + 1, shape[0])
