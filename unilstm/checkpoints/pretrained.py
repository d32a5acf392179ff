"""A model folder in the manner of Hugging Face: config.json, model.safetensors and a README card."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import CheckpointError, SpecError
from ..factory import LSTM, weights_of
from ..parameters import parameter_count
from ..spec import LSTMSpec
from ..weights import Weights
from .json_text import parse_file
from .loading import load
from .saving import replacing, save

CONFIG, MODEL, CARD = "config.json", "model.safetensors", "README.md"
MODEL_TYPE = "unilstm"


def save_pretrained(what: Any, folder: str | os.PathLike[str]) -> None:
    """Write an LSTM to a folder: its spec, its weights, and a README card to fill in.

    what: Weights, a unilstm layer of any backend, or anything else that unilstm.port takes.
    folder: is made if it is not there. A README.md that is there is kept; each other file is written whole or not at
        all, the weights first, so that no config.json is there without them.

    Raises CheckpointError for a folder that cannot be written; PortError for an object that is no LSTM.
    """
    place, weights = Path(folder), weights_of(what)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CheckpointError(f"{place}: cannot be made ({problem.strerror}). Give the path of a folder.") from None
    save(weights, place / MODEL)
    config = {"model_type": MODEL_TYPE, "unilstm_version": __version__, "dtype": weights.dtype}
    _write(place / CONFIG, json.dumps({**config, "spec": weights.spec.to_dict()}, indent=2, sort_keys=True) + "\n")
    if not (place / CARD).exists():
        _write(place / CARD, _card(weights))


def from_pretrained(
    folder: str | os.PathLike[str], *, backend: str = "numpy", dtype: str | None = None, device: Any = None
) -> Any:
    """The LSTM of a folder that save_pretrained() wrote, as a layer of any backend.

    Raises CheckpointError for a folder without a config.json or model.safetensors, and for two that disagree.
    """
    place = Path(folder)
    spec, weights = _spec(place / CONFIG), load(place / MODEL)
    if weights.spec != spec:
        raise CheckpointError(
            f"{place}: {CONFIG} says {spec!r}, but {MODEL} holds {weights.spec!r}. Write the folder again."
        )
    return LSTM(weights, backend=backend, dtype=dtype, device=device)


def _spec(path: Path) -> LSTMSpec:
    try:
        config = parse_file(path)
    except OSError as problem:
        raise CheckpointError(
            f"{path}: cannot be opened ({problem.strerror}). Give a folder that save_pretrained() wrote."
        ) from None
    if not isinstance(config, dict) or config.get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"{path}: is not of an LSTM of unilstm's (model_type is not {MODEL_TYPE!r}). Give unilstm.load() the file "
            "with the weights."
        )
    try:
        return LSTMSpec.from_dict(config.get("spec"))  # type: ignore[arg-type]
    except SpecError as problem:
        raise CheckpointError(f"{path}: has an impossible spec: {problem}") from problem


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _card(weights: Weights) -> str:
    spec = weights.spec
    return f"""---
library_name: unilstm
tags:
- lstm
---

# An LSTM, {spec.input_size} → {spec.output_size}

`{spec!r}`, {parameter_count(spec):,} parameters in {weights.dtype}.

What it was trained for, on what data, and how well it does: to be said by who publishes it.

```python
import unilstm

lstm = unilstm.from_pretrained("path/to/this/folder", backend="torch")  # or paddle, jax, numpy
y, (h_n, c_n) = lstm(x)
```
"""
