"""array-lstm: LSTM, ArrayLSTM, StochasticArrayLSTM and AttentionArrayLSTM.

Two linear maps, lane by lane, gates f i o g in each; a third for the attention. Names and shapes are the same for a sum
over the lanes and for the lane with the largest output gate: only the class tells.
"""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Tensor

GATES = "fiog"
_NAMES = Names("layer_{k}.")
_MAPS = (
    Tensor("{layer}i2h.weight", (Part("weight_ih", GATES),)),
    Tensor("{layer}i2h.bias", (Part("bias_ih", GATES),)),
    Tensor("{layer}h2h.weight", (Part("weight_hh", GATES),)),
    Tensor("{layer}h2h.bias", (Part("bias_hh", GATES),)),
)
_ATTENTION = (
    Tensor("{layer}i2a.weight", (Part("weight_xa"),)),
    Tensor("{layer}i2a.bias", (Part("bias_xa"),)),
)
POOLINGS = ("attention", "attention-max")

ARRAY = Form("array", _MAPS, _NAMES, lanes=True, says={"lane_pooling": ("sum", "argmax")})
ATTENTION = Form("attention", _MAPS + _ATTENTION, _NAMES, lanes=True, says={"lane_pooling": POOLINGS})

ARRAYLSTM = Layout(
    name="arraylstm",
    title="array-lstm LSTM, ArrayLSTM, StochasticArrayLSTM, AttentionArrayLSTM",
    forms=(ARRAY, ATTENTION),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("k", "lanes", default=1),
        Argument(
            "cell",
            table=(
                ("LSTM", {"lanes": 1, "lane_pooling": "sum"}),
                ("ArrayLSTM", {"lane_pooling": "sum"}),
                ("StochasticArrayLSTM", {"lane_pooling": "argmax"}),
                ("AttentionArrayLSTM", {"lane_pooling": POOLINGS}),
            ),
            needed=True,
            rule="It is which class of array-lstm: LSTM, ArrayLSTM (sum), StochasticArrayLSTM (argmax) or "
            "AttentionArrayLSTM.",
        ),
        Argument(
            "max_pooling",
            table=(
                (True, {"lane_pooling": "attention-max"}),
                (False, {"lane_pooling": ("sum", "argmax", "attention")}),
            ),
            default=False,
        ),
        Argument("batch_first", "batch_first", default=True),
    ),
    bias="double",
    bias_optional=False,
    notes="One layer and direction a module: several layers are written under layer_0., layer_1., … . `cell` is the "
    "class, which the arrays tell only where there is one lane or an attention. Its c is [k, B, H], unilstm's "
    "[B, k, H] a layer. batch_first is no argument of array-lstm, and only written where it is False.",
    source="array-lstm 0.0.1, arrayLSTM/lstm.py, arraylstm.py, extensions/stochastic.py, attention.py",
    tested="golden",
)
