"""A training run of a language model on one text: its steps, its checkpoints, and going on from one."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..errors import CheckpointError, InputError, SpecError
from ..masks import NUMPY_WORDS, split_key, threefry
from ..parameters import Array
from . import files, text
from .evaluation import bits_per_character
from .factory import LanguageModel
from .spec import LanguageModelSpec
from .training import Optimizer, Trainer, trainer
from .weights import ModelWeights

KEY = "unilstm-training"
PREFIX = "training."


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do, beside the model: enough to go on with it.

    batch_size: pieces of the text that are read side by side. ctx_win: characters a step, after which the gradient is
    cut; the state is carried on. n_epoch: passes over the text. seed: of initial weights and dropout.
    held_out: the part of the text, at its end, that is not learned from. text: its fingerprint.
    """

    optimizer: Optimizer
    batch_size: int
    ctx_win: int
    n_epoch: int
    seed: int
    held_out: float
    text: str

    def __post_init__(self) -> None:
        for name in ("batch_size", "ctx_win", "n_epoch"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name}={getattr(self, name)} must be at least 1.")
        if not 0.0 <= self.held_out < 1.0:
            raise SpecError(f"held_out={self.held_out} must be from 0 (nothing) to below 1.")
        split_key(self.seed, "seed")


@dataclass
class Progress:
    """How far a run is. losses: of every step, in nats. held_out: (step, bits per character) after each epoch."""

    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    state: Any = None  # (h, c), carried to the next step; native


class Corpus:
    """A text as a run reads it: the part to learn from in windows, and the end that is held out."""

    def __init__(self, content: str, vocabulary: text.Vocabulary, settings: Settings) -> None:
        if text.fingerprint(content) != settings.text:
            raise InputError("the text is not the one this run was started on. Give that text, or start a new run.")
        learned, held_out = text.split(content, settings.held_out)
        self.held_out = vocabulary.encode(held_out)[0]
        self.inputs, self.targets = text.streams(vocabulary.encode(learned)[0], settings.batch_size)
        self.ctx_win = settings.ctx_win
        self.windows: int = self.inputs.shape[1] // self.ctx_win
        if not self.windows:
            raise InputError(
                f"the text has {len(learned)} characters to learn from, {self.inputs.shape[1]} in each of batch_size="
                f"{settings.batch_size} pieces: too few for ctx_win={self.ctx_win}. Give a longer text, or smaller "
                "numbers."
            )

    def window(self, number: int) -> tuple[Array, Array]:
        """Inputs and targets [batch_size, ctx_win]."""
        columns = slice(number * self.ctx_win, (number + 1) * self.ctx_win)
        return self.inputs[:, columns], self.targets[:, columns]


class LanguageModelRun:
    """A run, new or resumed. Nothing is trained before `run`."""

    def __init__(
        self, settings: Settings, content: str, weights: ModelWeights, backend: str, device: Any = None
    ) -> None:
        spec = weights.spec
        if not isinstance(spec, LanguageModelSpec) or spec.vocabulary is None:
            raise SpecError("a run needs a language model with a vocabulary. Give vocabulary=.")
        self.settings, self.progress = settings, Progress()
        self.corpus = Corpus(content, text.Vocabulary(spec.vocabulary), settings)
        model = LanguageModel(weights, backend=backend, device=device)
        self.trainer: Trainer = trainer(model, settings.optimizer, _loss)

    @property
    def model(self) -> Any:
        return self.trainer.model

    @property
    def steps(self) -> int:
        """Made so far."""
        return self.trainer.steps

    @property
    def total(self) -> int:
        """The steps of the whole run."""
        return self.settings.n_epoch * self.corpus.windows

    def recent_bits(self) -> float:
        """Bits a character in training, the mean of the last steps: an epoch's, but at most 100."""
        recent = self.progress.losses[-min(100, self.corpus.windows) :]
        return sum(recent) / max(1, len(recent)) / math.log(2)

    def held_out_bits(self) -> float | None:
        """Bits a character on the held-out text, read as one piece; None where nothing is held out."""
        return bits_per_character(self.model, self.corpus.held_out) if len(self.corpus.held_out) > 1 else None

    def run(self, path: Path, every: int, stop: Callable[[], bool], report: Callable[[], None]) -> bool:
        """Train to the end, or until stop() after a step; then, and every so many steps, write a checkpoint.

        Returns whether the end was reached. report is called after every step.
        """
        while self.steps < self.total and not stop():
            begun = time.monotonic()
            self._step()
            if self.steps % self.corpus.windows == 0 and len(self.corpus.held_out) > 1:
                found = bits_per_character(self.model, self.corpus.held_out, self.settings.batch_size)
                self.progress.held_out.append((self.steps, found))
            self.progress.seconds += time.monotonic() - begun
            report()
            if every and self.steps % every == 0:
                self.save(path)
        self.save(path)
        return self.steps >= self.total

    def _step(self) -> None:
        window = self.steps % self.corpus.windows
        state = self.progress.state if window else None  # an epoch starts where the text does
        key = step_key(self.settings.seed, self.steps)
        loss, self.progress.state = self.trainer.step(*self.corpus.window(window), state, key)
        self.progress.losses.append(float(self.model.to_numpy(loss)))

    def save(self, path: Path) -> None:
        """The model and everything needed to go on, in one file."""
        weights, progress = self.model.weights(), self.progress
        extra = {PREFIX + name: value for name, value in self.trainer.moments().items()}
        extra[PREFIX + "losses"] = np.array(progress.losses, weights.dtype)
        if progress.state is not None:
            extra |= {PREFIX + n: self.model.to_numpy(s) for n, s in zip(("h", "c"), progress.state, strict=True)}
        about = {"settings": asdict(self.settings), "steps": self.steps}
        about |= {"held_out": progress.held_out, "seconds": progress.seconds}
        files.write(path, weights, extra, {KEY: json.dumps(about, sort_keys=True)})

    @classmethod
    def resume(cls, path: Path, content: str, backend: str, device: Any = None) -> LanguageModelRun:
        """Go on from a checkpoint, of this backend or another. Raises CheckpointError where it is none."""
        file = files.read(path)
        about = about_training(path, file)
        arrays = {name.removeprefix(PREFIX): value for name, value in file.extra.items()}
        try:
            run = cls(settings_of(about), content, file.weights, backend, device)
            steps = int(about["steps"])
            remembers = steps > 0 and run.settings.optimizer.name != "sgd"
            run.trainer.restore(steps, _moments(file.weights, arrays) if remembers else {})
            tensor = plugins.get(backend).tensor
            run.progress = Progress(
                [float(loss) for loss in arrays["losses"]],
                [(int(step), float(bits)) for step, bits in about["held_out"]],
                float(about["seconds"]),
                tuple(tensor(arrays[n], device) for n in ("h", "c")) if "h" in arrays else None,
            )
        except (KeyError, TypeError, ValueError) as problem:
            if isinstance(problem, InputError):
                raise
            raise CheckpointError(
                f"{path}: what it says of its training does not fit together: {problem}."
            ) from problem
        return run


def _moments(weights: ModelWeights, arrays: dict[str, Array]) -> dict[str, Array]:
    """What Adam remembers of every parameter. KeyError or ValueError where something is missing or misshapen."""
    found = {f"{kind}.{name}": arrays[f"{kind}.{name}"] for kind in ("first", "second") for name in weights}
    for name, array in found.items():
        own = weights[name.partition(".")[2]]
        if (array.shape, array.dtype) != (own.shape, own.dtype):
            raise ValueError(
                f"{name!r} is {array.dtype} {list(array.shape)}, its parameter {own.dtype} {list(own.shape)}"
            )
    return found


def about_training(path: Path, file: files.ModelFile) -> dict[str, Any]:
    """What a checkpoint says of its run. Raises CheckpointError for a model without one."""
    if KEY not in file.metadata:
        raise CheckpointError(f"{path}: holds a model, but no training to go on with. Start a new run.")
    return files.json_object(path, KEY, file.metadata[KEY])


def settings_of(about: dict[str, Any]) -> Settings:
    values = about["settings"]
    return Settings(**{**values, "optimizer": Optimizer(**values["optimizer"])})


def step_key(seed: int, step: int) -> Array:
    """The key of a step's dropout masks, two words: of seed and step alone, so that a resumed run has the same."""
    low, high = (np.uint64(word) for word in split_key(seed))
    words = threefry(NUMPY_WORDS, (low, high), np.uint64(step), np.uint64(_DROPOUT))
    return np.array(words, np.uint32)


_DROPOUT = 0x64726F70  # "drop": not the stream of any initial value


def _loss(model: Any, tokens: Any, targets: Any, state: Any, key: Any) -> Any:
    return model.loss(tokens, targets, state, key=key)
