"""Drawing text from a language model, one token at a time, by random numbers that are the same on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..masks import uniform
from ..parameters import Array


def generate(
    model: Any, tokens: Any, steps: int, *, temperature: float, k: int, p: float, seed: int, state: Any
) -> Array:
    """See LanguageModelMethods.generate."""
    check_sampling(steps, temperature, k, p, model.spec.vocab_size)
    drawn = []
    probabilities, state = model.predict(tokens, state)
    for step in range(steps):
        last = model.to_numpy(probabilities[:, -1])
        chosen = choose(last, uniform(seed, step, (last.shape[0],)), temperature, k, p)
        drawn.append(chosen)
        if step + 1 < steps:
            probabilities, state = model.predict(chosen[:, None], state)
    return np.stack(drawn, axis=1)


def choose(probabilities: Array, u: Array, temperature: float, k: int, p: float) -> Array:
    """One token a row. probabilities: [B, V]. u: [B], in [0, 1): where in the distribution to draw."""
    q = np.power(probabilities.astype(np.float64), 1.0 / temperature)
    order = np.argsort(-q, axis=1, kind="stable")
    q = np.take_along_axis(q, order, axis=1)
    q = q / q.sum(axis=1, keepdims=True)
    if k:
        q[:, k:] = 0.0
    before = np.cumsum(q, axis=1) - q
    q[before >= p] = 0.0  # the first token that reaches p is still in
    edges = np.cumsum(q, axis=1)
    at = (edges <= u[:, None] * edges[:, -1:]).sum(axis=1)
    at = np.minimum(at, (q > 0).sum(axis=1) - 1)  # rounding must not step past the last one
    return np.take_along_axis(order, at[:, None], axis=1)[:, 0]


def check_sampling(steps: int, temperature: float, k: int, p: float, vocab_size: int) -> None:
    for name, value, fine, rule in (
        ("steps", steps, steps >= 1, "at least 1"),
        ("temperature", temperature, temperature > 0, "above 0; k=1 always takes the most probable token"),
        ("k", k, 0 <= k <= vocab_size, f"from 0 (all tokens) to {vocab_size}"),
        ("p", p, 0 < p <= 1, "above 0 and at most 1"),
    ):
        if not fine:
            raise InputError(f"{name}={value} must be {rule}.")
