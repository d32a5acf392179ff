"""A model in one .safetensors file: its arrays by name, and in the metadata what they are.

The key "unilstm-model" holds JSON: {"format": 1, "model": "language-model", "spec": {…}}. The key "unilstm" describes
the LSTM under "lstm.", so that unilstm.load, inspect and convert find it. A training run adds arrays under "training."
and the key "unilstm-training"; see models/run.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoints import safetensors_file
from ..checkpoints.contents import Arrays, Contents
from ..checkpoints.formats import open_checkpoint
from ..checkpoints.metadata import describe
from ..checkpoints.saving import replacing
from ..errors import CheckpointError, LayoutError, PortError, SpecError
from ..parameters import Array
from .factory import model_of, weights_of_model
from .parameters import LSTM, shapes
from .spec import SPECS, ModelSpec
from .weights import ModelWeights

KEY = "unilstm-model"
FORMAT = 1
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ModelFile:
    """What a file holds: the model, and what a training run put beside it (nothing in a file that save() wrote)."""

    weights: ModelWeights
    extra: Mapping[str, Array] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def save(what: Any, path: str | os.PathLike[str]) -> None:
    """Write a model to a .safetensors file. what: a model of any backend, or ModelWeights.

    The file is written under another name beside it, then renamed: an error or a signal leaves the old file or the new
    one, never half of one. Raises CheckpointError for a file that cannot be written.
    """
    weights = weights_of_model(what)
    if weights is None:
        raise PortError(f"cannot save a {type(what).__qualname__} as a model. Give a model of unilstm.models.")
    write(path, weights)


def load(path: str | os.PathLike[str], *, backend: str = "numpy", dtype: str | None = None, device: Any = None) -> Any:
    """The model in a file, native to a backend.

    Raises CheckpointError for a file that is missing, cut off or damaged, for one without a model in it, and for a
    vocabulary that does not fit the model.
    """
    return model_of(read(path).weights, backend=backend, dtype=dtype, device=device)


def write(
    path: str | os.PathLike[str],
    weights: ModelWeights,
    extra: Mapping[str, Array] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """save(), with more arrays and metadata beside the model."""
    target = check_path(path)
    about = {"format": FORMAT, "model": weights.spec.kind, "spec": weights.spec.to_dict()}
    text = {KEY: json.dumps(about, sort_keys=True), **describe(weights.lstm, None, LSTM), **(metadata or {})}
    with replacing(target) as temporary:
        safetensors_file.write(temporary, {**weights, **(extra or {})}, text)


def check_path(path: str | os.PathLike[str]) -> Path:
    target = Path(path)
    if target.suffix.lower() != SUFFIX:
        raise CheckpointError(f"{target}: a model is written to a {SUFFIX} file. Give a name that ends so.")
    return target


def read(path: str | os.PathLike[str]) -> ModelFile:
    """Everything in a file. Raises CheckpointError as load() does."""
    contents = open_checkpoint(Path(path))
    spec = _spec(contents)
    if spec.lstm.num_layers > len(contents.entries):  # before a claim of 2**31 layers is counted out
        raise CheckpointError(f"{contents.path}: says num_layers={spec.lstm.num_layers}, but holds too little for it.")
    arrays = Arrays(contents, tuple(contents.entries), None)
    own = shapes(spec)
    try:
        weights = ModelWeights(spec, {name: arrays[name] for name in arrays if name in own})
    except LayoutError as problem:
        raise CheckpointError(f"{contents.path}: {problem}") from problem
    return ModelFile(weights, {name: arrays[name] for name in arrays if name not in own}, contents.metadata)


def _spec(contents: Contents) -> ModelSpec:
    text = contents.metadata.get(KEY)
    if text is None:
        raise CheckpointError(
            f"{contents.path}: holds no model of unilstm's (its metadata has no {KEY!r}). For an LSTM alone use "
            "unilstm.load."
        )
    about = json_object(contents.path, KEY, text)
    if not isinstance(about.get("format"), int) or about["format"] > FORMAT:
        raise CheckpointError(
            f"{contents.path}: has model format {about.get('format')!r}, but this unilstm reads up to {FORMAT}. "
            "Run: pip install --upgrade unilstm."
        )
    cls = SPECS.get(str(about.get("model")))
    if cls is None:
        raise CheckpointError(
            f"{contents.path}: holds a {about.get('model')!r}, which is no model of this unilstm: {', '.join(SPECS)}."
        )
    try:
        return cls.from_dict(about.get("spec", {}))
    except (SpecError, TypeError) as problem:
        raise CheckpointError(f"{contents.path}: its spec does not fit together: {problem}") from problem


def json_object(path: Path, key: str, text: str) -> dict[str, Any]:
    """The JSON object in a file's metadata."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path}: its metadata {key!r} is not JSON ({problem}). Copy or save it again.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: its metadata {key!r} is not a JSON object. Copy or save it again.")
    return value
