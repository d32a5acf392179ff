"""allennlp.modules: StackedAlternatingLstm, and AugmentedLstm, the single layer that it stacks.

Two linear maps a layer. That of the input has, below its gates i f g o r, the value which a highway carries past the
cell; it may lack a bias. That of the state always has one. Without a highway there are neither r nor the value, under
the same names: the shapes tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .layout import Layout
from .tables import Argument, Arguments, Claims, Form, Names, Part, Piece, Tensor

PLAIN = "ifgo"
HIGHWAY = "ifgor"

_CELL = r"(?:cell\.)?"  # before AllenNLP 1.0 there was no "cell."
# A stack that lacks a tensor is no lone layers: every second one would be read in the wrong direction.
_ALONE = r"(?<!\blayer_\d\.)(?<!\blayer_\d\d\.)(?<!\bcell\.)" + _CELL
_STACK, _LAYER = "StackedAlternatingLstm", "AugmentedLstm"
_NAMES = {
    _STACK: Names("layer_{k}.", always=True, one=Piece("cell.", _CELL)),
    _LAYER: Names("", one=Piece("cell.", _ALONE)),
}


def form(name: str, names: Names, highway: bool, place: str = "{layer}{direction}") -> Form:
    """The two maps of every layer, with or without a highway. place: where layer and direction stand in a name."""
    gates = HIGHWAY if highway else PLAIN
    values, bias_values = ((Part("weight_xh"),), (Part("bias_xh"),)) if highway else ((), ())
    return Form(
        name,
        (
            Tensor(f"{place}input_linearity.weight", (Part("weight_ih", gates), *values)),
            Tensor(f"{place}input_linearity.bias", (Part("bias_ih", gates), *bias_values)),
            Tensor(f"{place}state_linearity.weight", (Part("weight_hh", gates),)),
            Tensor(f"{place}state_linearity.bias", (Part("bias_hh", gates),)),
        ),
        names,
        single_bias="bias_hh",
        alternating=name == _STACK,
    )


def _read_layers(given: Mapping[str, Any]) -> Claims:
    return {"num_layers": (given["num_layers"],), "form": (_STACK,)} if given else {}


def _write_layers(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"num_layers": facts["num_layers"]} if facts["form"] == _STACK else {}


ALLENNLP = Layout(
    name="allennlp",
    title="allennlp StackedAlternatingLstm, AugmentedLstm",
    forms=tuple(form(name, _NAMES[name], highway) for name in (_STACK, _LAYER) for highway in (True, False)),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Arguments(("num_layers",), ("num_layers",), _read_layers, _write_layers),
        Argument(
            "go_forward",
            table=(
                (True, {"form": _LAYER, "direction": "forward"}),
                (False, {"form": _LAYER, "direction": "reverse"}),
            ),
            default=True,
            rule="StackedAlternatingLstm runs its even layers forward and its odd ones backward, AugmentedLstm is one "
            "layer, forward or backward.",
        ),
        Argument("recurrent_dropout_probability", "recurrent_dropout", default=0.0),
        Argument("use_highway", "highway", default=True),
        Argument(
            "use_input_projection_bias",
            table=((True, {"bias": "double"}), (False, {"bias": "single"})),
            default=True,
        ),
        Argument("batch_first", "batch_first", default=True),
    ),
    bias="double",
    bias_optional=False,
    notes="Written as StackedAlternatingLstm, but one layer that runs backward as AugmentedLstm; both are read, and so "
    "are the names before AllenNLP 1.0, without 'cell.'. Directions alternate from two layers on. Without the input's "
    "bias, the state's is bias='single'. The forget bias of 1 is stored. batch_first is no argument of AllenNLP, and "
    "only written where it is False.",
    source="allennlp 2.10.1, allennlp/modules/augmented_lstm.py, stacked_alternating_lstm.py",
)
