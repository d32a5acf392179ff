"""haiku's parameters: a dict of dicts of arrays. Its modules only live inside hk.transform, and hold none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from ..errors import PortError
from ..weights import Weights
from .objects import flat


def is_mapping(layer: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(layer, Mapping)


def recognise(params: Mapping[str, Any]) -> Weights:
    """The weights of the one LSTM among haiku's parameters, such as {"lstm/linear": {"w": w, "b": b}}.

    Raises PortError for a mapping with none of haiku's, or several: another mapping does not say what it is.
    """
    from .. import layouts

    arrays = flat(params)
    found = [f for f in layouts.find({n: a.shape for n, a in arrays.items()}) if f.layout == "haiku"]
    if len(found) == 1:
        return Weights.from_layout("haiku", {name: arrays[name] for name in found[0].names}, prefix=found[0].prefix)
    if found:
        places = ", ".join(repr(f.prefix) for f in found)
        raise PortError(
            f"these parameters of haiku hold {len(found)} LSTMs, at {places}. Port one: {{name: value for name, value "
            "in params.items() if name.startswith(…)}; or a list of such dicts, as a stack."
        )
    raise PortError(
        f"cannot port a {type(params).__module__}.{type(params).__qualname__}: a mapping of arrays says nothing of the "
        "layer they are of, and haiku's LSTM is not among these. Read them with "
        "unilstm.Weights.from_layout(layout, mapping); of flax.linen, port module.bind(variables)."
    )
