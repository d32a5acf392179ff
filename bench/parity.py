"""Training parity: one seed, the same batches, masks and optimiser on torch, Paddle and JAX, and how the losses part.

python bench/parity.py           the figures of docs/training.md, and its plot
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unilstm import plugins
from unilstm.masks import uniform
from unilstm.models import LanguageModel, Optimizer, SequenceClassifier, trainer
from unilstm.models.text import Vocabulary, pydoc_topics, streams

FRAMEWORKS = ("torch", "paddle", "jax")
PICTURE = Path(__file__).parent.parent / "docs" / "parity.png"
OPTIMIZERS = {"SGD": Optimizer("sgd", lr=2.0**-3), "Adam": Optimizer("adam", lr=2.0**-9)}


@dataclass(frozen=True)
class Study:
    """A model and what it is trained on. make: (backend, dtype) → model. batches: endless, NumPy arrays."""

    name: str
    make: Any
    loss: Any
    batches: Any


def digits(rows: int = 32) -> Study:
    """scikit-learn's digits, each image 8 steps of 8 features."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16.0
    order = np.argsort(uniform(1, 0, (len(images),)), kind="stable")

    def make(backend: str, dtype: str) -> Any:
        return SequenceClassifier(0, 8, 32, 10, backend=backend, seed=1, dtype=dtype)

    def batches(dtype: str) -> Iterator[tuple[Any, ...]]:
        for at in itertools.cycle(range(0, len(order) - rows + 1, rows)):
            chosen = order[at : at + rows]
            yield images[chosen].astype(dtype), labels[chosen]

    def loss(model: Any, key: Any, carried: Any, x: Any, y: Any) -> Any:
        return model.loss(x, y, key=key), carried

    return Study("digits", make, loss, batches)


def characters(rows: int = 16, steps: int = 32) -> Study:
    """The characters of Python's own documentation topics; the state is carried from batch to batch."""
    text = pydoc_topics()
    vocabulary = Vocabulary.of(text)
    x, y = streams(vocabulary.encode(text)[0], rows)

    def make(backend: str, dtype: str) -> Any:
        sizes = {"d_emb": 16, "hidden_size": 32, "num_layers": 2, "p_emb": 0.1, "p_hid": 0.1}
        return LanguageModel(vocab_size=len(vocabulary), **sizes, backend=backend, seed=1, dtype=dtype)

    def batches(dtype: str) -> Iterator[tuple[Any, ...]]:
        for at in itertools.cycle(range(0, x.shape[1] - steps + 1, steps)):
            yield x[:, at : at + steps], y[:, at : at + steps]

    def loss(model: Any, key: Any, carried: Any, tokens: Any, targets: Any) -> Any:
        return model.loss(tokens, targets, carried, key=key)

    return Study("characters", make, loss, batches)


def curve(study: Study, backend: str, dtype: str, optimizer: Optimizer, count: int) -> Any:
    """The losses of `count` steps, float64 numbers."""
    chosen = plugins.get(backend)
    with chosen.scope(dtype):
        made = trainer(study.make(backend, dtype), optimizer, study.loss)
        carried, losses = None, []
        for step, batch in enumerate(itertools.islice(study.batches(dtype), count)):
            key = np.array([step, 1], np.uint32)
            native = [chosen.tensor(a) if a.dtype.kind == "f" else a for a in batch]
            loss, carried = made.step(key, carried, *native)
            losses.append(float(chosen.array(loss)))
    return np.array(losses)


def apart(curves: dict[str, Any]) -> Any:
    """How far the losses are apart, step by step: the largest less the smallest, relative to their mean."""
    stacked = np.stack(list(curves.values()))
    return (stacked.max(axis=0) - stacked.min(axis=0)) / stacked.mean(axis=0)
