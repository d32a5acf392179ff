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
OPTIMIZERS = {"SGD": Optimizer("sgd", lr=0.5), "Adam": Optimizer("adam", lr=2e-3)}
STEPS = 200


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


def table(found: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """Markdown, one line a study, optimiser and dtype."""
    lines = ["| study | optimiser | dtype | first loss | last loss | largest relative distance | between which |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (study, optimizer, dtype), curves in found.items():
        at = int(apart(curves).argmax())
        low, high = (choose(curves, key=lambda name: curves[name][at]) for choose in (min, max))
        first, last = curves["torch"][[0, -1]]
        lines.append(
            f"| {study} | {optimizer} | {dtype} | {first:.4f} | {last:.4f} | {apart(curves)[at]:.1e}, step {at + 1} "
            f"| {low}, {high} |"
        )
    return "\n".join(lines)


def draw(found: dict[tuple[str, str, str], dict[str, Any]], path: Path) -> None:
    """Above the three losses in float32, below the largest distance up to each step, in both dtypes."""
    from matplotlib.figure import Figure

    columns = list(dict.fromkeys((study, optimizer) for study, optimizer, _ in found))
    figure = Figure(figsize=(3 * len(columns), 5), layout="constrained")
    axes = figure.subplots(2, len(columns), sharex=True, sharey="row", height_ratios=(3, 2))
    for (study, optimizer), (above, below) in zip(columns, axes.T, strict=True):
        above.set_title(f"{study}, {optimizer}", fontsize=10)
        for name, style, width in zip(FRAMEWORKS, ("-", "--", "-"), (3.5, 2.0, 0.7), strict=True):
            curve_ = found[study, optimizer, "float32"][name]
            above.plot(np.arange(1, len(curve_) + 1), curve_, style, linewidth=width, label=name)
        for dtype, colour, bound in (("float32", "C3", 1e-4), ("float64", "C4", 1e-9)):
            distance = np.maximum.accumulate(np.maximum(apart(found[study, optimizer, dtype]), 1e-17))
            below.semilogy(np.arange(1, len(distance) + 1), distance, color=colour, linewidth=0.8, label=dtype)
            below.axhline(bound, color=colour, linestyle="--", linewidth=0.8)
        below.set_xlabel("step")
        for axis in (above, below):
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("largest relative\ndistance so far")
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8, loc="center right")
    figure.savefig(path, dpi=110)


def main() -> None:
    found = {}
    for study in (digits(), characters()):
        for name, optimizer in OPTIMIZERS.items():
            for dtype in ("float32", "float64"):
                found[study.name, name, dtype] = {b: curve(study, b, dtype, optimizer, STEPS) for b in FRAMEWORKS}
                print(f"{study.name}, {name}, {dtype}: {apart(found[study.name, name, dtype]).max():.1e}", flush=True)
    print("\n" + table(found))
    draw(found, PICTURE)
    print(f"\n{PICTURE}")


if __name__ == "__main__":
    main()
