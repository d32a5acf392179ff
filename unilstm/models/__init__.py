"""Models around an LSTM: a language model and a classifier of sequences, native to every backend."""

from __future__ import annotations

from .factory import LanguageModel, SequenceClassifier, model_of, weights_of_model
from .files import load, save
from .parameters import LmpInit
from .spec import LanguageModelSpec, SequenceClassifierSpec
from .training import Optimizer, Trainer, trainer
from .weights import ModelWeights

__all__ = [
    "LanguageModel",
    "LanguageModelSpec",
    "LmpInit",
    "ModelWeights",
    "Optimizer",
    "SequenceClassifier",
    "SequenceClassifierSpec",
    "Trainer",
    "load",
    "model_of",
    "save",
    "trainer",
    "weights_of_model",
]
