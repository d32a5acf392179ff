"""AWD-LSTM: torch.nn.LSTMs of one layer whose weight_hh is dropped afresh at each call, and fastai's version of it.

What is trained is weight_hh_l0_raw. A weight_hh_l0 beside it is what the last call made of it, some of it dropped: it
is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import LayoutError
from .layout import Layout
from .tables import Argument, Arguments, Claims, Form, Names, Part, Tensor
from .torch import GATES

_DROPOUTS = ("dropouti", "dropouth")


def _form(name: str, module: str, layer: str) -> Form:
    parts = {role: (Part(role, GATES),) for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    return Form(
        name,
        (
            Tensor(f"{{layer}}{module}weight_ih_l0", parts["weight_ih"]),
            Tensor(f"{{layer}}{module}bias_ih_l0", parts["bias_ih"]),
            Tensor(f"{{layer}}{module}bias_hh_l0", parts["bias_hh"]),
            Tensor("{layer}weight_hh_l0_raw", parts["weight_hh"]),
            Tensor(f"{{layer}}{module}weight_hh_l0", parts["weight_hh"], derived=True),
        ),
        Names(layer),
        marker="weight_hh_l0_raw$",
    )


def _read_dropouts(given: Mapping[str, Any]) -> Claims:
    values = {given[name] for name in _DROPOUTS if name in given}
    if len(values) > 1 or (values and values != {0.0} and len(given) < 2):
        raise LayoutError(
            f"dropouti={given.get('dropouti', 0.0)!r} and dropouth={given.get('dropouth', 0.0)!r} must be equal: "
            "unilstm's input_dropout is one for all layers. Leave both out: evaluation is the same without."
        )
    return {"input_dropout": (values.pop(),)} if values else {}


def _write_dropouts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(_DROPOUTS, facts["input_dropout"]) if facts["input_dropout"] else {}


AWD = Layout(
    name="awd",
    title="AWD-LSTM: WeightDrop(torch.nn.LSTM), fastai WeightDropout",
    forms=(_form("WeightDrop", "", "rnns.{k}.module."), _form("WeightDropout", "module.", "rnns.{k}.")),
    arguments=(
        Argument("cell", table=(("WeightDrop", {"form": "WeightDrop"}), ("WeightDropout", {"form": "WeightDropout"}))),
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("num_layers", "num_layers", default=1),
        Argument("wdrop", "weight_dropout", default=0.0),
        Arguments(_DROPOUTS, ("input_dropout",), _read_dropouts, _write_dropouts),
        Argument("batch_first", "batch_first", default=False),
    ),
    bias="double",
    bias_optional=False,
    notes="Layers of different sizes (the last has those of the embedding) are LSTMs of their own: read each with "
    "prefix='rnns.2.module.' (fastai: 'rnns.2.'). A weight_hh_l0 beside weight_hh_l0_raw is derived from it and passed "
    "over. dropouti and dropouth, if equal, are input_dropout.",
    source="awd-lstm-lm 15535c4, weight_drop.py, model.py; fastai 2, fastai/text/models/awdlstm.py",
    tested="equations",
)
