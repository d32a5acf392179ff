"""paddle.nn.LSTM.

Its state_dict names every tensor twice: `0.cell.weight_ih` for the cell's own, and an alias as in torch. RNNBase makes
the aliases by running through the four names of each direction and all parameters side by side, which goes wrong where
a direction has five parameters, or one bias is off and has no name but zeros for values: with a projection,
`weight_ih_l1` is layer 0's weight_ho. `Form.aliases` means just that, so that what is written has the names, the order
and the shapes of Paddle's own state_dict, set_state_dict finds every key, and a state_dict that Paddle saved is read by
the names that are right.
"""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor
from .torch import DIRECTIONS, fused

_ALIASES = fused("{role}{layer}{direction}")

CELLS = Form(
    "cells",
    (
        *fused("{layer}.cell{direction}.{role}"),
        Tensor("{layer}.cell{direction}.weight_ho", (Part("weight_hr", transposed=True),)),
    ),
    Names("{k}", always=True, two=(Piece("_fw"), Piece("_bw"))),
    aliases=tuple(tensor.name for tensor in _ALIASES),
)
# These are torch's names, so find() leaves them to torch: the arrays are the same.
ALIASES = Form("aliases", _ALIASES, Names("_l{k}", always=True, two=DIRECTIONS), detect=False)

_OFF = ((False, {"bias": "none"}), (None, {"bias": "double"}))
_OFF_RULE = "Paddle's LSTM needs both biases, or (one layer) neither: other combinations fail when it is called."

PADDLE = Layout(
    name="paddle",
    title="paddle.nn.LSTM",
    forms=(CELLS, ALIASES),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("num_layers", "num_layers", default=1),
        Argument(
            "direction",
            table=(
                ("forward", {"direction": "forward"}),
                ("bidirect", {"direction": "bidirectional"}),
                ("bidirectional", {"direction": "bidirectional"}),
            ),
            default="forward",
            rule="paddle.nn.LSTM runs forward or in both directions.",
        ),
        Argument("time_major", table=((False, {"batch_first": True}), (True, {"batch_first": False})), default=False),
        Argument("dropout", "dropout", default=0.0),
        Argument("bias_ih_attr", table=_OFF, default=None, rule=_OFF_RULE),
        Argument("bias_hh_attr", table=_OFF, default=None, rule=_OFF_RULE),
        Argument("proj_size", "proj_size", default=0),
    ),
    bias="double",
    bias_optional=True,
    notes="Both sets of names are written; either is read, and both if they agree. weight_ho is torch's weight_hr, "
    "transposed. With one bias off, Paddle keeps zeros under its name: leave the argument out to read them.",
    source="paddle 3.3.1, python/paddle/nn/layer/rnn.py: LSTMCell, RNNBase",
    tested="golden",
)
