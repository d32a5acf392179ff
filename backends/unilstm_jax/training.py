"""unilstm.models.Trainer with optax, each step compiled."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unilstm.errors import BackendUnavailable
from unilstm.models.parameters import is_decayed
from unilstm.models.training import Loss, Optimizer

try:
    import optax
except ImportError as problem:
    raise BackendUnavailable(
        'Training on JAX needs optax, which is not installed. Run: pip install "unilstm[jax]".'
    ) from problem


class Trainer:
    """The model is replaced by a new one each step; read it from `model`."""

    def __init__(self, model: Any, optimizer: Optimizer, loss: Loss) -> None:
        self.model, self.optimizer, self.steps = model, optimizer, 0
        self._adam = None
        if optimizer.name != "sgd":
            self._adam = optax.scale_by_adam(optimizer.beta1, optimizer.beta2, optimizer.eps)
        self._state = self._adam.init(model) if self._adam else None
        self._step = jax.jit(partial(_step, self._adam, optimizer, loss))

    def step(self, *arguments: Any) -> tuple[Any, Any]:
        rate = self.optimizer.rate(self.steps)
        loss, rest, self.model, self._state = self._step(self.model, self._state, rate, arguments)
        self.steps += 1
        return loss, rest

    def moments(self) -> dict[str, Any]:
        if self._state is None:
            return {}
        kinds = {"first": self._state.mu, "second": self._state.nu}
        return {f"{kind}.{name}": np.array(a) for kind, model in kinds.items() for name, a in _leaves(model).items()}

    def restore(self, steps: int, moments: Mapping[str, Any]) -> None:
        self.steps = steps
        if self._state is not None and moments:
            mu, nu = (_with_leaves(self.model, moments, kind) for kind in ("first", "second"))
            self._state = self._state._replace(count=jnp.asarray(steps, self._state.count.dtype), mu=mu, nu=nu)


def _step(adam: Any, optimizer: Optimizer, loss: Loss, model: Any, state: Any, rate: Any, arguments: Any) -> Any:
    (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(model, *arguments)
    if optimizer.max_norm:
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
        scale = optimizer.max_norm / jnp.maximum(norm, optimizer.max_norm)
        grads = jax.tree.map(lambda g: g * scale, grads)
    if adam is not None:
        grads, state = adam.update(grads, state)
    if optimizer.wd:
        decay = {name: optimizer.wd if is_decayed(name) else 0.0 for name in _leaves(model)}
        grads = _map(model, lambda name, g, p: g + decay[name] * p, grads, model)
    updates = jax.tree.map(lambda g: (-rate * g).astype(g.dtype), grads)
    return value, rest, optax.apply_updates(model, updates), state


def _leaves(model: Any) -> dict[str, Any]:
    """The parameters by name."""
    return {**model.params, **{f"lstm.{name}": value for name, value in model.lstm.params.items()}}


def _map(model: Any, function: Any, *trees: Any) -> Any:
    """jax.tree.map over the parameters, with the name of each."""
    names = list(_leaves(model))
    leaves = [jax.tree.leaves(tree) for tree in trees]
    return jax.tree.unflatten(
        jax.tree.structure(model), [function(n, *x) for n, *x in zip(names, *leaves, strict=True)]
    )


def _with_leaves(model: Any, moments: Mapping[str, Any], kind: str) -> Any:
    return _map(model, lambda name, leaf: jnp.asarray(moments[f"{kind}.{name}"], leaf.dtype), model)
