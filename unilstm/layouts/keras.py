"""keras.layers.LSTM and keras.layers.Bidirectional(keras.layers.LSTM), Keras 3.

Keras returns the outputs of go_backwards in processing order, unilstm's direction="reverse" in time order: the same
numbers, flipped in time. Where a mask ends a row, Keras repeats the last output; unilstm gives 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..activations import Activation
from ..errors import LayoutError
from .layout import Layout
from .tables import Argument, Arguments, Claims, Form, Names, Part, Piece, Tensor

GATES = "ifgo"  # Keras calls g c

# Auto-generated names are anything: forward_lstm_5/lstm_cell/kernel.
_CELL = "(?:[^/.]*cell[^/.]*[/.])?"

LSTM = Form(
    "LSTM",
    (
        Tensor("{layer}{direction}kernel", (Part("weight_ih", GATES, transposed=True),)),
        Tensor("{layer}{direction}recurrent_kernel", (Part("weight_hh", GATES, transposed=True),)),
        Tensor("{layer}{direction}bias", (Part("bias", GATES),)),
    ),
    Names(
        one=Piece("", _CELL),
        two=(
            Piece("forward_lstm/lstm_cell/", f"forward_[^/.]*[/.]{_CELL}"),
            Piece("backward_lstm/lstm_cell/", f"backward_[^/.]*[/.]{_CELL}"),
        ),
    ),
)

ACTIVATIONS = (
    ("tanh", Activation("tanh")),
    ("sigmoid", Activation("sigmoid")),
    ("relu", Activation("relu")),
    ("hard_sigmoid", Activation("hard_sigmoid", 1 / 6, 0.5)),  # Keras 3's; Keras 2's has slope 0.2
    ("linear", Activation("affine", 1.0, 0.0)),
    (None, Activation("affine", 1.0, 0.0)),
    ("elu", Activation("elu", 1.0)),
    ("leaky_relu", Activation("leaky_relu", 0.2)),
    ("softplus", Activation("softplus")),
    ("softsign", Activation("softsign")),
)

_DROPOUTS = ("dropout", "recurrent_dropout")


def _read_dropouts(given: Mapping[str, Any]) -> Claims:
    if all(given.get(name) for name in _DROPOUTS):
        raise LayoutError(
            f"dropout={given['dropout']!r} beside recurrent_dropout={given['recurrent_dropout']!r} has a mask a gate "
            "in Keras, unilstm's input_dropout one for all. Leave dropout out: evaluation is the same without."
        )
    kind: Claims = {"recurrent_dropout_kind": ("per-gate",)} if given.get("recurrent_dropout") else {}
    fields = zip(_DROPOUTS, ("input_dropout", "recurrent_dropout"), strict=True)
    return {field: (given[name],) for name, field in fields if name in given} | kind


def _write_dropouts(facts: Mapping[str, Any]) -> dict[str, Any]:
    if facts["recurrent_dropout"] and facts["recurrent_dropout_kind"] == "per-gate":
        return {"recurrent_dropout": facts["recurrent_dropout"]}
    return {"dropout": facts["input_dropout"]} if facts["input_dropout"] else {}


DROPOUTS = Arguments(
    _DROPOUTS,
    ("input_dropout", "recurrent_dropout", "recurrent_dropout_kind"),
    _read_dropouts,
    _write_dropouts,
    rule="Keras has a mask a gate for h (recurrent_dropout), or one mask for x (dropout); not both.",
)

ARGUMENTS = (
    Argument("units", "hidden_size"),
    Argument("input_size", "input_size", written=False),
    Argument(
        "activation",
        table=tuple((name, {"cell_activation": a, "output_activation": a}) for name, a in ACTIVATIONS),
        default="tanh",
        rule="Keras has one `activation` for the candidate and the output, by name and without parameters.",
    ),
    Argument(
        "recurrent_activation",
        table=tuple((name, {"gate_activation": a}) for name, a in ACTIVATIONS),
        default="sigmoid",
        rule="Keras knows `recurrent_activation` by name and without parameters.",
    ),
)

# Those of any recurrent layer of Keras, and of Bidirectional around it.
WRAPPER_ARGUMENTS = (
    Argument(
        "go_backwards",
        table=((True, {"direction": "reverse"}), (False, {"direction": ("forward", "bidirectional")})),
        default=False,
    ),
    Argument(
        "merge_mode",
        table=(
            ("concat", {"direction": "bidirectional", "merge": "concat"}),
            ("sum", {"direction": "bidirectional", "merge": "sum"}),
            ("mul", {"direction": "bidirectional", "merge": "mul"}),
            ("ave", {"direction": "bidirectional", "merge": "average"}),
            (None, {"direction": ("forward", "reverse"), "merge": "concat"}),  # here: no Bidirectional
        ),
        default=None,
    ),
    Argument("batch_first", "batch_first", default=True),
)

KERAS = Layout(
    name="keras",
    title="keras.layers.LSTM, alone or in keras.layers.Bidirectional",
    forms=(LSTM,),
    arguments=(
        *ARGUMENTS,
        Argument("use_bias", table=((True, {"bias": "single"}), (False, {"bias": "none"})), default=True),
        *WRAPPER_ARGUMENTS,
        DROPOUTS,
    ),
    bias="single",
    bias_optional=True,
    notes="One layer a Keras layer: several are written under layer_0/, layer_1/, … . The forget bias of 1 is stored. "
    "go_backwards gives the outputs in processing order, direction='reverse' in time order. merge_mode=None means "
    "that there is no Bidirectional. recurrent_dropout is of kind per-gate; beside it, dropout has a mask a gate, too, "
    "which unilstm's input_dropout has not. batch_first is no argument of Keras 3, and only written where it is False.",
    source="keras 3.15, keras/src/layers/rnn/{lstm,dropout_rnn_cell,bidirectional}.py, activations/activations.py",
    tested="golden",
)
