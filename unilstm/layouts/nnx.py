"""flax.nnx: LSTMCell and OptimizedLSTMCell, whose parameters are not the same, in nnx.RNN and nnx.Bidirectional."""

from __future__ import annotations

from .flax import CELL, CELL_ARGUMENTS, DIRECTIONS, GATES, RNN_ARGUMENTS, split
from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor

_NAMES = Names(one=Piece("", CELL.pattern), two=DIRECTIONS)

LSTM_CELL = Form("LSTMCell", split({"f": "f_"}), _NAMES)  # `if` is a word of Python
OPTIMIZED = Form(
    "OptimizedLSTMCell",
    (
        Tensor("{layer}{direction}dense_i/kernel", (Part("weight_ih", GATES, transposed=True),)),
        Tensor("{layer}{direction}dense_h/kernel", (Part("weight_hh", GATES, transposed=True),)),
        Tensor("{layer}{direction}dense_h/bias", (Part("bias", GATES),)),
    ),
    _NAMES,
)

NNX = Layout(
    name="nnx",
    title="flax.nnx.LSTMCell, OptimizedLSTMCell",
    forms=(LSTM_CELL, OPTIMIZED),
    arguments=(
        Argument("in_features", "input_size"),
        Argument("hidden_features", "hidden_size"),
        Argument("input_size", "input_size", written=False),
        Argument("hidden_size", "hidden_size", written=False),
        Argument("cell", table=tuple((form.name, {"form": form.name}) for form in (LSTM_CELL, OPTIMIZED))),
        *CELL_ARGUMENTS,
        *RNN_ARGUMENTS,
    ),
    bias="single",
    bias_optional=False,
    notes="The names tell which cell it is; written is LSTMCell. Else as flax.",
    source="flax 0.12, flax/nnx/nn/recurrent.py",
    tested="golden",
)
