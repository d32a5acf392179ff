"""What unilstm writes into the metadata of a safetensors file, so that load() gives back exactly what was saved.

The key "unilstm" holds JSON:
    {"format": 1, "layout": null, "prefix": "", "spec": {…}}        the canonical arrays; spec is LSTMSpec.to_dict()
    {"format": 1, "layout": "keras", "prefix": "", "config": {…}}   another layout's; config is from_layout's
Beside the layout "onnx", "spec" says what an exported model is of: the layout alone would say less.
"names" lists the LSTM's arrays, prefix included, where a file holds others, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError, SpecError
from ..spec import LSTMSpec
from ..weights import Weights
from .contents import Contents
from .json_text import parse

KEY = "unilstm"
FORMAT = 1


@dataclass(frozen=True)
class About:
    """What a file says of itself: the canonical arrays of `spec`, or those of `layout` with `config`."""

    layout: str | None
    prefix: str
    spec: LSTMSpec | None
    config: dict[str, Any]
    names: tuple[str, ...] | None = None


def describe_as(layout: str, config: dict[str, Any], spec: LSTMSpec, names: list[str]) -> dict[str, str]:
    """The metadata of a layout's arrays that are of a spec which the layout alone does not tell."""
    about = {"format": FORMAT, "layout": layout, "prefix": "", "config": config, "spec": spec.to_dict(), "names": names}
    return {KEY: json.dumps(about, sort_keys=True)}


def describe(weights: Weights, layout: str | None, prefix: str, names: Iterable[str] | None = None) -> dict[str, str]:
    """The metadata to write beside the arrays. names: the LSTM's, where the file has others."""
    about: dict[str, Any] = {"format": FORMAT, "layout": layout, "prefix": prefix}
    if layout is None:
        about["spec"] = weights.spec.to_dict()
    else:
        about["config"] = weights.layout_config(layout)
    if names is not None:
        about["names"] = list(names)
    return {KEY: json.dumps(about, sort_keys=True)}


def read_about(contents: Contents) -> About | None:
    """What the file says of itself, or None if unilstm did not write it. Raises CheckpointError."""
    text = contents.metadata.get(KEY)
    if text is None:
        return None
    try:
        fields = parse(contents.path, text.encode("utf-8", "replace"), "its text")
    except CheckpointError as problem:
        raise _bad(contents, f"cannot be read: {problem}") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("format"), int):
        raise _bad(contents, "has no format number")
    if fields["format"] > FORMAT:
        raise CheckpointError(
            f"{contents.path}: has format {fields['format']}, but this unilstm reads up to {FORMAT}. "
            "Run: pip install --upgrade unilstm."
        )
    layout, prefix, config = fields.get("layout"), fields.get("prefix", ""), fields.get("config", {})
    if not (layout is None or isinstance(layout, str)) or not isinstance(prefix, str) or not isinstance(config, dict):
        raise _bad(contents, "has a layout, prefix or config of the wrong kind")
    spec = _spec(contents, fields.get("spec")) if layout is None or (layout == "onnx" and "spec" in fields) else None
    about = About(layout, prefix, spec, config, _names(contents, fields.get("names")))
    _check_layers(contents, about)
    return about


def _spec(contents: Contents, fields: Any) -> LSTMSpec:
    try:
        return LSTMSpec.from_dict(fields)
    except SpecError as problem:
        raise _bad(contents, f"has an impossible spec: {problem}") from problem


def _names(contents: Contents, names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n in contents.entries for n in names):
        raise _bad(contents, "has names that are not those of its arrays")
    return tuple(names)


def _check_layers(contents: Contents, about: About) -> None:
    """A claim of 2**31 layers is refused before anything is counted out layer by layer."""
    elements = sum(_size(entry.shape) for entry in contents.entries.values())
    # A layout may put many layers in one array, but not into fewer elements than it has layers.
    claims = [(about.config.get("num_layers", 1), elements)] if about.layout else []
    if about.spec:
        claims.append((about.spec.num_layers, elements if about.layout else len(contents.entries)))
    for layers, most in claims:
        if not isinstance(layers, int) or layers > most:
            raise _bad(contents, f"says num_layers={layers!r}, for which the file holds too little")


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _bad(contents: Contents, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{contents.path}: its metadata {KEY!r} {problem}. Pass layout= (--from) and prefix= (--lstm) to read the "
        "arrays without it."
    )
