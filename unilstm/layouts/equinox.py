"""equinox.nn.LSTMCell."""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor
from .torch import GATES

CELL = Form(
    "LSTMCell",
    (
        Tensor("{layer}{direction}weight_ih", (Part("weight_ih", GATES),)),
        Tensor("{layer}{direction}weight_hh", (Part("weight_hh", GATES),)),
        Tensor("{layer}{direction}bias", (Part("bias", GATES),)),
    ),
    Names(two=(Piece("forward/"), Piece("backward/"))),
)

EQUINOX = Layout(
    name="equinox",
    title="equinox.nn.LSTMCell",
    forms=(CELL,),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("use_bias", table=((True, {"bias": "single"}), (False, {"bias": "none"})), default=True),
        Argument("batch_first", "batch_first", default=True),
    ),
    bias="single",
    bias_optional=True,
    notes="A cell: its users write layers and directions themselves. Here they are layer_0/, layer_1/, … and forward/, "
    "backward/. batch_first is no argument of equinox, and only written where it is False.",
    source="equinox 0.13, equinox/nn/_rnn.py",
    tested="golden",
)
