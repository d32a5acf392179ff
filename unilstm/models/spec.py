"""What a model computes, in no framework's terms: an LSTMSpec and what stands around it. Frozen, to and from JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..errors import SpecError
from ..spec import LSTMSpec


class ModelSpec:
    """What the specs of all models share: JSON, and checks that name the field."""

    kind: ClassVar[str]
    lstm: LSTMSpec

    def to_dict(self) -> dict[str, Any]:
        """Every field that differs from its default, as plain JSON values; the LSTM's as a dict of its own."""
        out: dict[str, Any] = {"lstm": self.lstm.to_dict()}
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.name != "lstm" and value != field.default:
                out[field.name] = list(value) if isinstance(value, tuple) else value
        return out

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Raises SpecError for what is missing, unknown or impossible, naming the field."""
        if not isinstance(fields, Mapping) or not isinstance(fields.get("lstm"), Mapping):
            raise SpecError(f"a {cls.kind} spec must be a JSON object with an object 'lstm' in it.")
        check_known(cls, fields)
        check_complete(cls, fields)
        return cls(**{**fields, "lstm": LSTMSpec.from_dict(fields["lstm"])})

    @classmethod
    def from_json(cls, text: str) -> Self:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise SpecError(f"the {cls.kind} spec is not JSON: {problem}.") from None
        return cls.from_dict(fields)

    def replace(self, **changes: Any) -> Self:
        """The same spec with some fields changed, validated again."""
        check_known(type(self), changes)
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]  # every subclass is a dataclass

    @property
    def mask_places(self) -> dict[int, float]:
        """Where the model itself drops, by the number of its mask `model_l{n}`: the probability of each."""
        return {}


@dataclass(frozen=True)
class LanguageModelSpec(ModelSpec):
    """A language model with tied embeddings, the architecture of the language-model-playground for any LSTM.

        E[token] → dropout(p_emb) → tanh(W_in · + b_in) → dropout(p_hid) → LSTM, dropout(p_hid) after each layer →
        tanh(W_out · + b_out) → dropout(p_hid) → logits = z·Eᵀ, without a bias

    lstm: runs forward, batch first. Its own dropout is p_hid: leave it out, or say the same.
    vocab_size: V. d_emb: features of an embedding.
    padding_idx: the token that the loss leaves out, and whose embedding gets no gradient where it is looked up; None is
        no such.
    p_emb, p_hid: dropout probabilities.
    label_smoothing: ε; the target has probability 1 - ε + ε/V and every other token ε/V (Szegedy et al. 2016).
    vocabulary: the tokens' texts, where they are known; V of them, all different.

    Raises SpecError for an impossible combination, naming the field, its value, the rule and the cure.
    """

    kind: ClassVar[str] = "language-model"

    lstm: LSTMSpec
    vocab_size: int
    d_emb: int
    padding_idx: int | None = None
    p_emb: float = 0.0
    p_hid: float = 0.0
    label_smoothing: float = 0.0
    vocabulary: tuple[str, ...] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_size("vocab_size", self.vocab_size)
        check_size("d_emb", self.d_emb)
        for name in ("p_emb", "p_hid", "label_smoothing"):
            check_probability(name, getattr(self, name))
        check_id("padding_idx", self.padding_idx, self.vocab_size)
        check_batch_first(self.lstm)
        if self.lstm.direction != "forward":
            raise SpecError(
                f"direction={self.lstm.direction!r}: a language model predicts the next token and must not see it. "
                "Use direction='forward'."
            )
        if self.vocabulary is not None:
            object.__setattr__(self, "vocabulary", check_vocabulary(self.vocabulary, self.vocab_size))
        object.__setattr__(self, "lstm", self._with_dropout())

    def _with_dropout(self) -> LSTMSpec:
        between = self.p_hid if self.lstm.num_layers > 1 else 0.0
        if self.lstm.dropout not in (0.0, between):
            raise SpecError(
                f"dropout={self.lstm.dropout} of the LSTM contradicts p_hid={self.p_hid}, which acts after each of its "
                "layers. Leave dropout out and set p_hid."
            )
        return self.lstm.replace(dropout=between)

    @property
    def mask_places(self) -> dict[int, float]:
        """0: the embedding. 1: what the LSTM reads. 2: what it gives. 3: what is compared with the embeddings."""
        return {0: self.p_emb, 1: self.p_hid, 2: self.p_hid, 3: self.p_hid}


@dataclass(frozen=True)
class SequenceClassifierSpec(ModelSpec):
    """One label for each sequence: embedding → LSTM → the last layer's final states → linear.

    lstm: any; batch first. A bidirectional one gives its last forward and its last backward state, side by side.
    num_classes: C.
    vocab_size: V > 0 for token ids, embedded in lstm.input_size features; 0 for sequences of features, as they are.
    padding_idx: the token whose embedding starts at zero and stays there; None is no such, and so without tokens.

    Raises SpecError for an impossible combination.
    """

    kind: ClassVar[str] = "sequence-classifier"

    lstm: LSTMSpec
    num_classes: int = 2
    vocab_size: int = 0
    padding_idx: int | None = 0

    def __post_init__(self) -> None:
        check_size("num_classes", self.num_classes)
        if self.vocab_size != 0:
            check_size("vocab_size", self.vocab_size)
            check_id("padding_idx", self.padding_idx, self.vocab_size)
        else:
            object.__setattr__(self, "padding_idx", None)
        check_batch_first(self.lstm)

    @property
    def features(self) -> int:
        """What the linear layer reads: the final states of the last layer's directions."""
        return self.lstm.state_size * self.lstm.num_directions


SPECS: dict[str, type[LanguageModelSpec] | type[SequenceClassifierSpec]] = {
    LanguageModelSpec.kind: LanguageModelSpec,
    SequenceClassifierSpec.kind: SequenceClassifierSpec,
}


def split_fields(cls: type[ModelSpec], fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of a model's spec, and those that are its LSTM's."""
    own = {f.name for f in dataclasses.fields(cls)} - {"lstm"}  # type: ignore[arg-type]
    return {k: v for k, v in fields.items() if k in own}, {k: v for k, v in fields.items() if k not in own}


def check_known(cls: type[ModelSpec], fields: Mapping[str, Any]) -> None:
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in fields:
        if name not in names:
            raise SpecError(f"{name!r} is not a field of {cls.__name__}. The fields are: {', '.join(names)}.")


def check_complete(cls: type[ModelSpec], fields: Mapping[str, Any]) -> None:
    needed = [f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING]  # type: ignore[arg-type]
    missing = [name for name in needed if name not in fields]
    if missing:
        raise SpecError(f"the {cls.kind} lacks {' and '.join(missing)}. Give {missing[0]}=.")


def check_size(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{name}={value!r} must be a whole number of at least 1.")


def check_probability(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
        raise SpecError(f"{name}={value!r} must be a number from 0 to below 1. Use 0 for none.")


def check_id(name: str, value: Any, size: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < size:
        raise SpecError(f"{name}={value!r} must be a token from 0 to {size - 1} (vocab_size - 1), or None.")


def check_batch_first(lstm: Any) -> None:
    if not isinstance(lstm, LSTMSpec):
        raise SpecError(f"lstm must be an LSTMSpec, not {type(lstm).__name__}.")
    if not lstm.batch_first:
        raise SpecError("batch_first=False: models take [batch, time]. Leave batch_first out.")


def check_vocabulary(vocabulary: Any, size: int) -> tuple[str, ...]:
    """The vocabulary as a tuple; SpecError where it does not fit."""
    if isinstance(vocabulary, str) or not all(isinstance(token, str) for token in vocabulary):
        raise SpecError("vocabulary must be a list of texts, one a token.")
    tokens = tuple(vocabulary)
    if len(tokens) != size:
        raise SpecError(f"the vocabulary has {len(tokens)} tokens, but vocab_size={size}. Give the model's own.")
    if len(set(tokens)) != size:
        twice = next(token for at, token in enumerate(tokens) if token in tokens[:at])
        raise SpecError(f"the vocabulary has {twice!r} twice. Give each token once.")
    return tokens
