"""Layers of other systems, and what each computes in its own framework, for the tests of unilstm.port."""

from __future__ import annotations

import os
from typing import Any

# Keras runs on one framework in a process.
os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np

import unilstm
from compat_cases import original
from conftest import numbers, require

require("torch")
require("jax")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import torch  # noqa: E402

keras, eqx, hk = original("keras"), original("equinox"), original("haiku")
nn, nnx = original("flax.linen"), original("flax.nnx")

B, T, F, H = 2, 5, 4, 3
X = numbers(B, T, F, dtype="float32")
RNGS = nnx.Rngs(0)
Layer = Any
Pair = tuple[Layer, Any]  # what is ported, and the outputs [B, T, …] that its own framework computes of X


def of_keras(layer: Layer) -> Pair:
    y = layer(torch.tensor(X)).detach().numpy()
    return layer, y[:, ::-1] if getattr(layer, "go_backwards", False) else y


def keras_lstm(**config: Any) -> Layer:
    return keras.layers.LSTM(H, return_sequences=True, bias_initializer="normal", **config)


def built(layer: Layer, features: int = F) -> Layer:
    layer.build((None, None, features))
    return layer


def sequential() -> Layer:
    both = keras.layers.Bidirectional(keras_lstm())
    return keras.Sequential([keras.Input((None, F)), both, keras.layers.Bidirectional(keras_lstm())])


def of_linen(module: Layer) -> Pair:
    variables = module.init(jax.random.key(0), X)
    return module.bind(variables), np.asarray(module.apply(variables, X))


def linen_cell() -> Pair:
    cell = nn.LSTMCell(H)
    variables = cell.init(jax.random.key(0), cell.initialize_carry(jax.random.key(1), (B, F)), X[:, 0])
    carry, outputs = (jnp.zeros((B, H)),) * 2, []
    for t in range(T):
        carry, y = cell.apply(variables, carry, X[:, t])
        outputs.append(y)
    return cell.bind(variables), np.stack(outputs, axis=1)


def of_nnx(module: Layer) -> Pair:
    return module, np.asarray(module(X))


def nnx_cell(kind: str = "LSTMCell", **config: Any) -> Layer:
    return getattr(nnx, kind)(F, H, rngs=RNGS, **config)


def of_equinox(**config: Any) -> Pair:
    cell, outputs = eqx.nn.LSTMCell(F, H, key=jax.random.key(0), **config), []
    state = (jnp.zeros((B, H)),) * 2
    for t in range(T):
        state = jax.vmap(cell)(X[:, t], state)
        outputs.append(state[0])
    return cell, np.stack(outputs, axis=1)


def of_haiku() -> Pair:
    def run(x: Any) -> Any:
        lstm = hk.LSTM(H)
        y, _ = hk.dynamic_unroll(lstm, x, lstm.initial_state(B), time_major=False)
        return hk.Linear(2)(y), y

    run = hk.without_apply_rng(hk.transform(run))
    params = run.init(jax.random.key(0), X)
    params["lstm/linear"]["b"] = numbers(4 * H, dtype="float32")
    return params, np.asarray(run.apply(params, X)[1])


def stack() -> Pair:
    """Layers of three systems."""
    lowest, middle = torch.nn.LSTM(F, H, bias=False, batch_first=True), built(keras_lstm(use_bias=False), H)
    highest = eqx.nn.LSTMCell(H, H, use_bias=False, key=jax.random.key(0))
    y = middle(lowest(torch.tensor(X))[0]).detach().numpy()
    return [lowest, middle, highest], np.asarray(unilstm.port(highest, to="numpy")(y)[0])
