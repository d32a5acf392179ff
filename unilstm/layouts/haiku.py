"""haiku.LSTM.

One matrix for [x; h], gates i g f o, and 1 added to the forget gate's pre-activation at every step. unilstm keeps the
true bias, so the stored one is the true one minus 1. Reading adds the 1, and rounds where haiku rounds at every step;
writing takes it off, which cannot always be undone to the last bit: then it is the loss "forget-offset".
"""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor

GATES = "igfo"

LSTM = Form(
    "LSTM",
    (
        Tensor(
            "{layer}{direction}linear/w",
            (Part("weight_ih", GATES, transposed=True), Part("weight_hh", GATES, transposed=True)),
            axis=0,
        ),
        Tensor("{layer}{direction}linear/b", (Part("bias", GATES, forget_offset=1.0),)),
    ),
    Names(
        one=Piece("lstm/", "(?:[^/.]*lstm[^/.]*[/.])?"),
        two=(Piece("forward_lstm/", "forward[^/.]*[/.]"), Piece("backward_lstm/", "backward[^/.]*[/.]")),
    ),
    marker="lstm",  # any haiku.Linear is called linear, with w and b
)

HAIKU = Layout(
    name="haiku",
    title="haiku.LSTM",
    forms=(LSTM,),
    arguments=(
        Argument("hidden_size", "hidden_size"),
        Argument("input_size", "input_size", written=False),
        Argument("batch_first", "batch_first", default=True),
    ),
    bias="single",
    bias_optional=False,
    notes="One layer and direction a module: further ones are layer_0/lstm/, layer_1/lstm/, … and forward_lstm/, "
    "backward_lstm/. The stored forget bias is the true one minus 1, which haiku adds at run time. batch_first is no "
    "argument of haiku, and only written where it is False.",
    source="haiku 0.0.17, haiku/_src/recurrent.py",
    tested="golden",
)
