"""What the models of all backends share. A native model mixes this in and adds only what its framework is about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..errors import InputError
from ..ops import Tensor
from . import calls, equations
from .ops import ModelOps
from .parameters import LSTM
from .sampling import generate
from .spec import LanguageModelSpec, ModelSpec, SequenceClassifierSpec
from .weights import ModelWeights


class ModelMethods:
    """Mixed into every backend's models. `spec` and `lstm` (a layer of the backend) are set by the model."""

    backend: str
    spec: ModelSpec
    lstm: Any

    def ops(self) -> ModelOps:
        raise NotImplementedError

    def own_tensors(self) -> dict[str, Tensor]:
        """The parameters by name, without the LSTM's."""
        raise NotImplementedError

    def to_numpy(self, tensor: Tensor) -> Any:
        """A NumPy copy of a tensor."""
        raise NotImplementedError

    def draw_key(self) -> Any:
        """Two words from the framework's own generator, in models that have a training mode."""
        raise NotImplementedError

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode, without gradients, while the context lasts."""
        yield

    def weights(self) -> ModelWeights:
        """The spec and a copy of the arrays: what another backend builds the same model from."""
        own = {name: self.to_numpy(value) for name, value in self.own_tensors().items()}
        return ModelWeights(self.spec, own | {LSTM + name: value for name, value in self.lstm.weights().items()})

    def explain(self) -> Any:
        """Which path runs each layer of the LSTM, and why no faster one does."""
        return self.lstm.explain()

    def _like(self) -> Tensor:
        """A tensor of the model's dtype and device."""
        return next(iter(self.own_tensors().values()))


class LanguageModelMethods(ModelMethods):
    """A language model: tokens [B, T] → logits [B, T, V], and the state to carry to the next call."""

    spec: LanguageModelSpec

    def _logits(
        self, tokens: Any, state: Any, key: Any, masks: Any, training: bool | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        ops, like = self.ops(), self._like()
        tokens = calls.whole_numbers(ops, "tokens", tokens, like, self.spec.vocab_size)
        calls.check_shape("tokens", tokens, ("batch", "time"))
        own, passed = calls.resolve_masks(ops, self, key, masks, training, like)
        return equations.language_model(
            ops, self.spec, self.own_tensors(), tokens, lambda x: self.lstm(x, state, **passed), own
        )

    def loss(
        self, tokens: Any, targets: Any, state: Any = None, *, key: Any = None, masks: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The cross entropy of the next tokens, in nats, a scalar; and the state to carry on with.

        tokens, targets: [B, T]. The mean is over the targets that are not padding_idx (0 where all of them are), with
        the spec's label smoothing. state, key, masks: as in a call of the model.
        """
        logits, carried = self(tokens, state, key=key, masks=masks)  # type: ignore[operator]  # the native call
        ops, spec = self.ops(), self.spec
        targets = calls.whole_numbers(ops, "targets", targets, logits, spec.vocab_size)
        calls.check_shape("targets", targets, ("batch", "time"), tuple(logits.shape[:2]))
        return equations.cross_entropy(ops, logits, targets, spec.label_smoothing, spec.padding_idx), carried

    def predict(self, tokens: Any, state: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The probabilities of the next tokens [B, T, V], in evaluation and without gradients; and the state."""
        with self.evaluating():
            logits, carried = self(tokens, state)  # type: ignore[operator]
            ops = self.ops()
            return ops.exp(ops.log_softmax(logits)), carried

    def generate(
        self,
        tokens: Any,
        steps: int,
        *,
        temperature: float = 1.0,
        k: int = 0,
        p: float = 1.0,
        seed: int = 0,
        state: Any = None,
    ) -> Any:
        """Continue each row: [B, T] → the `steps` tokens that follow, a NumPy array [B, steps].

        temperature: below 1 sharpens the distribution, above 1 flattens it. k > 0: only the k most probable tokens
        (k=1 always takes the first). p < 1: only the most probable tokens that together have probability p.
        seed: the same on every backend gives the same text, up to rounding. state: to start from.
        """
        return generate(self, tokens, steps, temperature=temperature, k=k, p=p, seed=seed, state=state)


class SequenceClassifierMethods(ModelMethods):
    """A classifier of sequences: tokens [B, T] or features [B, T, I] → logits [B, C]."""

    spec: SequenceClassifierSpec

    def _logits(self, x: Any, lengths: Any, key: Any, masks: Any, training: bool | None) -> Tensor:
        ops, like, spec = self.ops(), self._like(), self.spec
        if spec.vocab_size:
            x = calls.whole_numbers(ops, "x", x, like, spec.vocab_size)
            calls.check_shape("x", x, ("batch", "time"))
        elif not ops.is_tensor(x):
            raise InputError(f"x must be a {ops.tensor_kind()}, not {type(x).__name__}. Convert it first.")
        else:
            calls.check_shape("x", x, ("batch", "time", "features"))
        _, passed = calls.resolve_masks(ops, self, key, masks, training, like)
        return equations.sequence_classifier(
            ops, spec, self.own_tensors(), x, lambda read: self.lstm(read, lengths=lengths, **passed)
        )

    def loss(self, x: Any, labels: Any, *, lengths: Any = None, key: Any = None, masks: Any = None) -> Tensor:
        """The mean cross entropy of the labels [B], in nats, a scalar."""
        logits = self(x, lengths=lengths, key=key, masks=masks)  # type: ignore[operator]
        ops = self.ops()
        labels = calls.whole_numbers(ops, "labels", labels, logits, self.spec.num_classes)
        calls.check_shape("labels", labels, ("batch",), tuple(logits.shape[:1]))
        return equations.cross_entropy(ops, logits, labels)

    def predict(self, x: Any, *, lengths: Any = None) -> Tensor:
        """The probability of each class [B, C], in evaluation and without gradients."""
        with self.evaluating():
            ops = self.ops()
            return ops.exp(ops.log_softmax(self(x, lengths=lengths)))  # type: ignore[operator]
