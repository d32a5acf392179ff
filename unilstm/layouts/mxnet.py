"""mxnet.gluon.rnn.LSTM."""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor
from .torch import GATES

_PLACE = "{direction}{layer}"

LSTM = Form(
    "LSTM",
    (
        Tensor(_PLACE + "i2h_weight", (Part("weight_ih", GATES),)),
        Tensor(_PLACE + "h2h_weight", (Part("weight_hh", GATES),)),
        Tensor(_PLACE + "i2h_bias", (Part("bias_ih", GATES),)),
        Tensor(_PLACE + "h2h_bias", (Part("bias_hh", GATES),)),
        Tensor(_PLACE + "h2r_weight", (Part("weight_hr"),)),
    ),
    Names("{k}_", always=True, one=Piece("l"), two=(Piece("l"), Piece("r"))),
    joints="/.:_",  # lstm0_l0_i2h_weight
)

MXNET = Layout(
    name="mxnet",
    title="mxnet.gluon.rnn.LSTM",
    forms=(LSTM,),
    arguments=(
        Argument("hidden_size", "hidden_size"),
        Argument("num_layers", "num_layers", default=1),
        Argument("layout", table=(("TNC", {"batch_first": False}), ("NTC", {"batch_first": True})), default="TNC"),
        Argument("dropout", "dropout", default=0.0),
        Argument(
            "bidirectional",
            table=((False, {"direction": "forward"}), (True, {"direction": "bidirectional"})),
            default=False,
            rule="mxnet.gluon.rnn.LSTM runs forward or in both directions.",
        ),
        Argument("input_size", "input_size"),
        Argument("projection_size", "proj_size", default=0, none=0),
    ),
    bias="double",
    bias_optional=False,
    notes="lstm0_l0_i2h_weight is read with prefix='lstm0_'. The packed vector of mx.rnn.FusedRNNCell has no names and "
    "is not read. Clipping of its states (lstm_state_clip_min, max) is cuDNN's, and not translated.",
    source="mxnet 1.9, python/mxnet/gluon/rnn/rnn_layer.py",
    tested="equations",
)
