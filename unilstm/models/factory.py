"""LanguageModel and SequenceClassifier: from a spec, weights or fields to a model native to any backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import plugins
from ..errors import SpecError, UnsupportedByBackend
from ..presets import preset as preset_spec
from ..spec import LSTMSpec
from .parameters import LmpInit
from .spec import LanguageModelSpec, ModelSpec, SequenceClassifierSpec, check_complete, split_fields
from .weights import ModelWeights


class LanguageModel:
    """A language model native to a backend: torch.nn.Module, paddle.nn.Layer, JAX pytree, NumPy callable.

        model = LanguageModel(vocab_size=100, d_emb=64, hidden_size=256, num_layers=2, backend="torch", seed=0)
        logits, state = model(tokens)                    # [B, T] → [B, T, V]
        loss, state = model.loss(tokens, targets, state)
        probabilities, state = model.predict(tokens, state)
        more = model.generate(tokens, 100)

    what: a LanguageModelSpec; ModelWeights (another model's weights()); an LSTMSpec, with the other fields of
        LanguageModelSpec following; or nothing, and `preset` and the fields of the LSTM among the others (input_size
        is hidden_size unless given).
    backend: its name. seed: the same initial weights on every backend. init: "torch" (default), "keras", "orthogonal",
        "lmp" or an LmpInit; see models.parameters.initial_values. dtype, device, path: as in unilstm.LSTM.

    Calling this class gives an object of the backend's own class, not of this one. Raises SpecError, LayoutError,
    UnknownBackend, BackendUnavailable; UnsupportedByBackend for a backend that has no models.
    """

    def __new__(
        cls,
        what: LanguageModelSpec | ModelWeights | LSTMSpec | None = None,
        *,
        backend: str = "numpy",
        seed: int | None = None,
        dtype: str | None = None,
        device: Any = None,
        init: str | LmpInit | None = None,
        path: str = "auto",
        **fields: Any,
    ) -> Any:
        how = {"backend": backend, "seed": seed, "dtype": dtype, "device": device, "path": path}
        if isinstance(what, (ModelWeights, LanguageModelSpec)):
            _refuse_beside(what, fields)
            return build(what, LanguageModelSpec, init=init, **how)
        return build(language_model_spec(what, fields), LanguageModelSpec, init=init, **how)

    @staticmethod
    def from_layout(
        layout: str, mapping: Mapping[str, Any], /, *, backend: str = "numpy", device: Any = None, **config: Any
    ) -> Any:
        """A model from another system's arrays. layout: "lmp". config: that system's own constructor arguments.

        Raises LayoutError where the mapping does not fit, naming the tensor.
        """
        return LanguageModel(ModelWeights.from_layout(layout, mapping, **config), backend=backend, device=device)


def language_model_spec(what: LSTMSpec | None, fields: Mapping[str, Any]) -> LanguageModelSpec:
    """The spec of LanguageModel(what, **fields)."""
    own, of_lstm = split_fields(LanguageModelSpec, fields)
    if what is not None:
        if not isinstance(what, LSTMSpec):
            raise SpecError(f"what={what!r} must be a LanguageModelSpec, ModelWeights or an LSTMSpec, or left out.")
        _refuse_beside(what, of_lstm)
        check_complete(LanguageModelSpec, {"lstm": what, **own})
        return LanguageModelSpec(what, **own)
    check_complete(LanguageModelSpec, {"lstm": None, **own})
    if "hidden_size" not in of_lstm:
        raise SpecError("the language-model lacks hidden_size. Give hidden_size=, or an LSTMSpec.")
    name = of_lstm.pop("preset", "vanilla")
    return LanguageModelSpec(preset_spec(name, **{"input_size": of_lstm["hidden_size"], **of_lstm}), **own)


class SequenceClassifier:
    """A classifier of sequences native to a backend.

        model = SequenceClassifier(10_000, 128, 128, 2, backend="torch", seed=0)   # tokens
        model = SequenceClassifier(0, 8, 32, 10, backend="jax", seed=0)            # features, no embedding
        logits = model(x, lengths=lengths)                                          # [B, T] or [B, T, I] → [B, C]
        loss = model.loss(x, labels, lengths=lengths)
        probabilities = model.predict(x, lengths=lengths)

    what: vocab_size (0 for features), followed by embed_dim (the LSTM's input_size), hidden_dim and num_classes; or a
        SequenceClassifierSpec; or ModelWeights.
    Other fields are of SequenceClassifierSpec and of LSTMSpec; the LSTM is bidirectional, of 2 layers, with dropout 0.3
    between them, unless they say otherwise. The rest is as in LanguageModel.
    """

    def __new__(
        cls,
        what: SequenceClassifierSpec | ModelWeights | int,
        embed_dim: int | None = None,
        hidden_dim: int | None = None,
        num_classes: int | None = None,
        *,
        backend: str = "numpy",
        seed: int | None = None,
        dtype: str | None = None,
        device: Any = None,
        init: str | LmpInit | None = None,
        path: str = "auto",
        **fields: Any,
    ) -> Any:
        sizes = {"embed_dim": embed_dim, "hidden_dim": hidden_dim, "num_classes": num_classes}
        how = {"backend": backend, "seed": seed, "dtype": dtype, "device": device, "path": path}
        if isinstance(what, (ModelWeights, SequenceClassifierSpec)):
            _refuse_beside(what, {**{k: v for k, v in sizes.items() if v is not None}, **fields})
            return build(what, SequenceClassifierSpec, init=init, **how)
        own, of_lstm = split_fields(SequenceClassifierSpec, fields)
        for name in ("embed_dim", "hidden_dim"):
            if sizes[name] is None:
                raise SpecError(f"the sequence classifier lacks {name}. Give {name}=.")
        defaults = {"num_layers": 2, "direction": "bidirectional"}
        merged = {"input_size": embed_dim, "hidden_size": hidden_dim, **defaults, **of_lstm}
        if merged["num_layers"] != 1:
            merged.setdefault("dropout", 0.3)
        own |= {} if num_classes is None else {"num_classes": num_classes}
        spec = SequenceClassifierSpec(LSTMSpec.from_dict(merged), vocab_size=what, **own)
        return build(spec, SequenceClassifierSpec, init=init, **how)


def _refuse_beside(what: Any, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        raise SpecError(f"{name}={value!r} was given beside {type(what).__name__}, which settles it. Leave {name} out.")


def build(
    what: ModelSpec | ModelWeights,
    kind: type[ModelSpec],
    *,
    backend: str,
    seed: int | None,
    dtype: str | None,
    device: Any,
    init: str | LmpInit | None,
    path: str,
) -> Any:
    """A native model of `kind` from its spec, with initial weights, or from weights as they are."""
    chosen = plugins.get(backend)
    make = getattr(chosen, "model", None)
    if make is None:
        raise UnsupportedByBackend(
            f"backend={backend!r} runs LSTMs but offers no models. Use another backend, or add model() to its plugin "
            "(unilstm.hookspecs.Backend says what it must do)."
        )
    if isinstance(what, ModelWeights):
        if not isinstance(what.spec, kind):
            raise SpecError(f"these are the weights of a {what.spec.kind}, not of a {kind.kind}.")
        for name, value in (("seed", seed), ("init", init)):
            if value is not None:
                raise SpecError(f"{name}={value!r} was given beside weights, which settle it. Leave {name} out.")
        weights = what if dtype is None else what.astype(dtype)
    else:
        drawn = chosen.draw_seed() if seed is None else seed
        weights = ModelWeights.initial(what, drawn, init or "torch", dtype or "float32")
    return make(weights, device=device, path=path)


def model_of(weights: ModelWeights, **how: Any) -> Any:
    """The native model that weights are of; `how` as LanguageModel takes it."""
    make: Any = LanguageModel if isinstance(weights.spec, LanguageModelSpec) else SequenceClassifier
    return make(weights, **how)


def weights_of_model(what: Any) -> ModelWeights | None:
    """The weights of a model of any backend, or of ModelWeights; None for what is no model."""
    if isinstance(what, ModelWeights):
        return what
    return what.weights() if isinstance(getattr(what, "spec", None), ModelSpec) else None
