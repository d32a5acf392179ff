"""A plain call outside of jit, compiled as a whole: op by op, what surrounds the kernel takes longer than a step of it.

Only where the kernel serves every layer, whose bits do not depend on what XLA makes of the rest.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from . import kernel


def serves(layer: Any, x: Any, state: Any) -> bool:
    """Are these arrays with values, and is the kernel to run them? What is not is left to the call that serves
    everything, which also says what is wrong with it."""
    if layer.path not in ("auto", "kernel") or not isinstance(state, (tuple, list, type(None))):
        return False
    for array in (x, *(state or ()), *layer.params.values()):
        if not isinstance(array, jax.Array) or isinstance(array, jax.core.Tracer):
            return False
    return kernel.refusal(layer.spec, str(x.dtype), None) is None


@functools.partial(jax.jit, static_argnums=0)
def call(cells: bool, layer: Any, x: Any, state: Any) -> Any:
    return layer._run(x, state, None, None, cells)


@jax.jit
def step(layer: Any, x: Any, state: Any) -> Any:
    return layer._run_step(x, state, None)


class Steps:
    """See unilstm.stream: whether the kernel serves is asked once. The state is kept as step() takes it."""

    def __init__(self, layer: Any, h: Any, c: Any, rows: int | None) -> None:
        spec = layer.spec
        lead = (spec.num_layers,) if rows is None else (spec.num_layers, rows)
        self._layer, self._dtype, self._within = layer, h.dtype, (h.shape, c.shape)
        self._shapes = (*lead, spec.state_size), (*lead, *spec.cell_shape)
        self._x = (spec.input_size,) if rows is None else (rows, spec.input_size)
        self.set_state(h, c)

    def plain(self, x: Any) -> bool:
        fits = isinstance(x, jax.Array) and x.shape == self._x and x.dtype == self._dtype
        return fits and not isinstance(x, jax.core.Tracer)

    def tidy(self, x: Any) -> Any:
        return jnp.asarray(x)

    def run(self, x: Any) -> Any:
        y, self._state = step(self._layer, x, self._state)
        return y

    def state(self) -> tuple[Any, Any]:
        h, c = (part.reshape(shape) for part, shape in zip(self._state, self._within, strict=True))
        return h, c

    def set_state(self, h: Any, c: Any) -> None:
        self._state = h.reshape(self._shapes[0]), c.reshape(self._shapes[1])


def steps(layer: Any, h: Any, c: Any, rows: int | None) -> Steps | None:
    return Steps(layer, h, c, rows) if serves(layer, h, (h, c)) else None
