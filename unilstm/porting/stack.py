"""A list of one-layer LSTMs, of any systems, as one LSTM of several layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..errors import PortError
from ..parameters import Array
from ..weights import Weights

_OF_LAYER = re.compile(r"_l0(?=$|_reverse$)")
_WAYS = ("forward", "bidirectional")


def recognise(layers: Any) -> Weights | None:
    """The weights of a list or tuple of layers, each of which can be ported; None for anything else."""
    if not isinstance(layers, (list, tuple)) or not layers:
        return None
    from ..factory import weights_of

    return stacked([weights_of(layer) for layer in layers])


def stacked(layers: Sequence[Weights]) -> Weights:
    """One LSTM of them, the first one lowest. Raises PortError where a stack of unilstm's cannot be this."""
    if not layers:
        raise PortError("there is no layer in it. Give a list of LSTMs, the first one lowest.")
    if len(layers) == 1:
        return layers[0]
    spec = layers[0].spec.replace(num_layers=len(layers))
    for k, weights in enumerate(layers):
        _check(k, weights, layers[0])
        if weights.spec.input_size != spec.layer_input_size(k):
            raise PortError(
                f"layer {k} takes {weights.spec.input_size} features, but what is below it gives "
                f"{spec.layer_input_size(k)}. Give the layers from the lowest up."
            )
    arrays: dict[str, Array] = {}
    for k, weights in enumerate(layers):
        arrays |= {_OF_LAYER.sub(f"_l{k}", name): array for name, array in weights.items()}
    return Weights(spec, arrays)


def _check(k: int, weights: Weights, first: Weights) -> None:
    spec = weights.spec
    if spec.num_layers != 1:
        raise PortError(f"layer {k} is itself a stack of {spec.num_layers}. Port it by itself, or give its layers.")
    if spec.direction not in _WAYS:
        raise PortError(
            f"layer {k} has direction={spec.direction!r}: whether the layer above it sees its outputs in the order of "
            "time, a list does not say. Port it by itself."
        )
    mine, theirs = spec.replace(input_size=1).to_dict(), first.spec.replace(input_size=1).to_dict()
    for field in sorted(mine.keys() | theirs.keys()):
        if mine.get(field) != theirs.get(field):
            raise PortError(
                f"layer {k} has {field}={getattr(spec, field)!r}, layer 0 {getattr(first.spec, field)!r}; the layers "
                "of one LSTM are alike. Port them one by one."
            )
