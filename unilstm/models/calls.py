"""What one call of a model was given: checked once for all backends; and the masks of that call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..layer_masks import names as lstm_mask_names
from ..masks import Drawn, Given, Masks
from ..ops import Tensor
from .ops import ModelOps
from .spec import ModelSpec


def whole_numbers(ops: ModelOps, name: str, x: Any, like: Tensor, size: int) -> Tensor:
    """Token ids or class numbers as an integer tensor; InputError where one is not below `size`.

    Where values are not known (under tracing, on an accelerator) only their type is checked.
    """
    ids, known = ops.ids(x, like)
    if known is None or known.size == 0:
        return ids
    for wrong in (known < 0, known >= size):
        if np.any(wrong):
            at = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), known.shape))
            raise InputError(
                f"{name}[{', '.join(map(str, at))}]={int(known[at])} is not in the vocabulary. Give numbers from 0 to "
                f"{size - 1}."
            )
    return ids


def check_shape(name: str, x: Tensor, axes: tuple[str, ...], want: tuple[int, ...] | None = None) -> None:
    """InputError unless x has so many axes, none of them empty, and where `want` says so these sizes."""
    shape = tuple(x.shape)
    form = f"[{', '.join(axes)}]"
    if len(shape) != len(axes):
        raise InputError(f"{name} has shape {list(shape)}, but must be {form}. Add or remove an axis.")
    if 0 in shape:
        raise InputError(f"{name} has shape {list(shape)}, {form}: it is empty. Give at least one row and one step.")
    if want is not None and shape != want:
        raise InputError(
            f"{name} has shape {list(shape)}, but must have {list(want)}, one for each place of the input."
        )


def mask_names(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """The masks that a training call of a model needs: its own, and its LSTM's."""
    own = [f"model_l{place}" for place, dropped in spec.mask_places.items() if dropped]
    return own, lstm_mask_names(spec.lstm)


def resolve_masks(
    ops: ModelOps, model: Any, key: Any, given: Any, training: bool | None, like: Tensor
) -> tuple[Masks | None, dict[str, Any]]:
    """The model's own masks, and what to pass to its LSTM (`key` or `masks`, or nothing).

    training: of a model that has such a mode; None for one that drops where a call gives key or masks.
    """
    own, of_lstm = mask_names(model.spec)
    if key is not None and given is not None:
        raise InputError("key= and masks= were both given, but masks= settles what key= would draw. Give one.")
    if training is False and (key is not None or given is not None):
        name = "masks" if key is None else "key"
        raise InputError(f"{name}= was given in evaluation mode, where nothing is dropped. Call .train(), or omit it.")
    if given is not None:
        unknown = [n for n in given if n not in own and n not in of_lstm]
        if unknown:
            takes = ", ".join([*own, *of_lstm]) or "none"
            raise InputError(f"masks has {unknown[0]!r}, but this model takes: {takes}.")
        passed = {"masks": {n: given[n] for n in given if n in of_lstm}} if of_lstm else {}
        return Given({n: given[n] for n in given if n in own}), passed
    if key is None and training and (own or of_lstm):
        key = model.draw_key()
    if key is None or not (own or of_lstm):
        return None, {}
    return Drawn(ops, ops.key(key, like)), {"key": key} if of_lstm else {}
