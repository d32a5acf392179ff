"""What the mutants are made of: a layer around a sound layer, a backend around a sound backend, and their table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from unilstm import cells, plugins
from unilstm.hookspecs import hookimpl
from unilstm.weights import Weights

CELL = "mutant-"  # what the names of cells that mutants register begin with


class FaultyLayer:
    """A sound layer, to be spoiled by overriding one of the methods. The call and the step are those of any layer."""

    def __init__(self, backend: Any, weights: Weights, device: Any, path: str) -> None:
        self.backend, self.device, self.given = backend, device, weights
        self.spec, self.path = weights.spec, path
        self.inner = self.build(self.corrupt(weights))

    def build(self, weights: Weights) -> Any:
        """A sound layer."""
        return self.backend.layer(weights, device=self.device, path=self.path)

    def corrupt(self, weights: Weights) -> Weights:
        """The weights that are really computed with."""
        return weights

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner(x, state, **named)

    def step(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner.step(x, state, **named)

    def weights(self) -> Weights:
        return self.given

    @classmethod
    def spoil_gradients(cls, grads: dict[str, Any]) -> dict[str, Any]:
        return grads

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)


@dataclass(frozen=True)
class Mutant:
    """layer: the fault. caught_by: the check that must catch it. select: the cells, of that check, where it shows."""

    name: str
    layer: type[FaultyLayer]
    caught_by: str
    select: str
    base: str

    @property
    def fault(self) -> str:
        return (self.layer.__doc__ or "").strip()

    @property
    def sound(self) -> type[FaultyLayer]:
        """What the fault is built upon, which has none: a base class that is no mutant, nor a private part of one."""
        faulty = {mutant.layer for mutant in MUTANTS.values()}
        return next(base for base in self.layer.__mro__ if base not in faulty and not base.__name__.startswith("_"))


MUTANTS: dict[str, Mutant] = {}


def mutant(caught_by: str, select: str, base: str = "numpy") -> Callable[[type[FaultyLayer]], type[FaultyLayer]]:
    """Register a faulty layer as a mutant, named as its class. select: of the cells of the check that must catch it."""

    def register(layer: type[FaultyLayer]) -> type[FaultyLayer]:
        name = layer.__name__
        MUTANTS[name] = Mutant(name, layer, caught_by, f"{caught_by} and ({select})", base)
        return layer

    return register


class FaultyBackend:
    """A sound backend whose layers are faulty. It is the plugin, too."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.base = mutant, plugins.get(mutant.base)
        self.name = mutant.name

    def layer(self, weights: Weights, *, device: Any, path: str) -> Any:
        return self.mutant.layer(self.base, weights, device, path)

    def vjp(self) -> Any:
        sound, spoil = self.base.vjp(), self.mutant.layer.spoil_gradients
        if sound is None:
            return None

        def vjp(layer: Any, call: Any, inputs: Any, cotangents: Any) -> Any:
            outputs, grads = sound(layer, call, inputs, cotangents)
            return outputs, spoil(dict(grads))

        return vjp

    @hookimpl
    def unilstm_backend(self, spec_version: int) -> FaultyBackend:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["base"], name)


@contextlib.contextmanager
def registered(mutant: Mutant) -> Iterator[None]:
    """The mutant as a backend of its name, as a plugin would be."""
    plugins.register(FaultyBackend(mutant), mutant.name)
    try:
        yield
    finally:
        plugins.unregister(mutant.name)
        for name in cells.names():
            if name.startswith(CELL):
                cells.unregister(name)


# NumPy helpers for the faults.


def valid_steps(layer: FaultyLayer, x: np.ndarray, lengths: Any) -> np.ndarray:
    """[B, T, 1], or [T, B, 1]: is this step before its row's length?"""
    steps = x.shape[1] if layer.spec.batch_first else x.shape[0]
    inside = np.arange(steps)[None, :] < np.asarray(lengths)[:, None]
    return (inside if layer.spec.batch_first else inside.T)[..., None]


def changed(weights: Weights, change: Callable[[str, np.ndarray], np.ndarray]) -> Weights:
    """The weights with each array replaced by change(role, array)."""
    return Weights(weights.spec, {n: change(n.partition("_l")[0], a) for n, a in weights.items()})
