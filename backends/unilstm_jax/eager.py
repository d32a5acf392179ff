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
    return x.dtype in (jnp.float32, jnp.float64) and kernel.refusal(layer.spec, None) is None


@functools.partial(jax.jit, static_argnums=0)
def call(cells: bool, layer: Any, x: Any, state: Any) -> Any:
    return layer._run(x, state, None, None, cells)


@jax.jit
def step(layer: Any, x: Any, state: Any) -> Any:
    return layer._run_step(x, state, None)
