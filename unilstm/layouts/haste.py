"""haste_pytorch: LSTM and LayerNormLSTM.

Gates i g f o. The scales of the two norms are the two rows of one array; they have no shifts, which are the bias.
"""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Tensor

GATES = "igfo"
_NAMES = Names("layer_{k}.")
_PLAIN = (
    Tensor("{layer}kernel", (Part("weight_ih", GATES, transposed=True),)),
    Tensor("{layer}recurrent_kernel", (Part("weight_hh", GATES, transposed=True),)),
    Tensor("{layer}bias", (Part("bias", GATES),)),
)
_NORM = (
    Tensor("{layer}gamma", (Part("gamma_ih", GATES), Part("gamma_hh", GATES)), stacked=True),
    Tensor("{layer}gamma_h", (Part("gamma_c"),)),
    Tensor("{layer}beta_h", (Part("beta_c"),)),
)

# The plain names are Keras's, too. In a file that joins them by dots, as a state_dict does, both are reported.
LSTM = Form("LSTM", _PLAIN, _NAMES, marker="[.]")
LAYER_NORM_LSTM = Form("LayerNormLSTM", _PLAIN + _NORM, _NAMES, says={"layer_norm": ("joint",)})

HASTE = Layout(
    name="haste",
    title="haste_pytorch.LSTM, haste_pytorch.LayerNormLSTM",
    forms=(LSTM, LAYER_NORM_LSTM),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("batch_first", "batch_first", default=False),
        Argument("forget_bias"),
        Argument("dropout", "weight_dropout", default=0.0),
        Argument("zoneout", "zoneout_hidden", default=0.0),
        Argument(
            "layer_norm",
            table=((False, {"layer_norm": "none"}), (True, {"layer_norm": "joint"})),
            default=False,
            rule="LayerNormLSTM normalises W x and R h over all four gates, and what tanh sees of c.",
        ),
    ),
    bias="single",
    bias_optional=False,
    notes="layer_norm=True is the class LayerNormLSTM, whose names tell it. dropout is DropConnect on "
    "recurrent_kernel, zoneout that of h. forget_bias is an initial value, which the stored bias has. One layer a "
    "module: several are written under layer_0., layer_1., … . haste_tf keeps its kernels as TensorFlow does.",
    source="haste ceba32e, frameworks/pytorch/lstm.py, layer_norm_lstm.py",
    tested="golden",
)
