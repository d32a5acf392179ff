"""TensorFlow Addons: PeepholeLSTMCell and LayerNormLSTMCell, both with the arrays of keras.layers.LSTMCell.

LayerNormLSTMCell has norms of W x and of R h with a shift each, and a bias beside them: three that are added up, where
unilstm has two. Reading one that is not zero takes add_bias=True; written are zeros.
"""

from __future__ import annotations

from .keras import ARGUMENTS, DROPOUTS, GATES, LSTM, WRAPPER_ARGUMENTS
from .layout import Layout
from .tables import Argument, Form, Part, Tensor

_PLACE = "{layer}{direction}"
_WORDS = {"i": "input", "f": "forget", "o": "output"}

PEEPHOLE = Form(
    "PeepholeLSTMCell",
    (
        *LSTM.tensors,
        *(Tensor(f"{_PLACE}{word}_gate_peephole_weights", (Part("weight_ch", g),)) for g, word in _WORDS.items()),
    ),
    LSTM.names,
    needs=("weight_ch",),
)
LAYER_NORM = Form(
    "LayerNormLSTMCell",
    (
        *LSTM.tensors[:2],
        Tensor(_PLACE + "bias", (Part("bias", GATES),), fixed=True, added="bias_hh"),
        Tensor(_PLACE + "kernel_norm/gamma", (Part("gamma_ih", GATES),)),
        Tensor(_PLACE + "kernel_norm/beta", (Part("bias_ih", GATES),)),
        Tensor(_PLACE + "recurrent_norm/gamma", (Part("gamma_hh", GATES),)),
        Tensor(_PLACE + "recurrent_norm/beta", (Part("bias_hh", GATES),)),
        Tensor(_PLACE + "state_norm/gamma", (Part("gamma_c"),)),
        Tensor(_PLACE + "state_norm/beta", (Part("beta_c"),)),
    ),
    LSTM.names,
    says={"layer_norm": ("normalized-state",)},
)

ADDONS_PEEPHOLE = Layout(
    name="addons-peephole",
    title="tfa.rnn.PeepholeLSTMCell",
    forms=(PEEPHOLE,),
    arguments=(
        *ARGUMENTS,
        Argument("use_bias", table=((True, {"bias": "single"}), (False, {"bias": "none"})), default=True),
        DROPOUTS,
        *WRAPPER_ARGUMENTS,
    ),
    bias="single",
    bias_optional=True,
    notes="A cell for keras.layers.RNN. Arguments, names and stacks as keras.",
    source="tensorflow-addons 386d685, tensorflow_addons/rnn/peephole_lstm_cell.py",
    tested="equations",
)
ADDONS_LAYER_NORM = Layout(
    name="addons-layer-norm",
    title="tfa.rnn.LayerNormLSTMCell",
    forms=(LAYER_NORM,),
    arguments=(
        *ARGUMENTS,
        Argument("use_bias"),
        Argument("norm_epsilon", "layer_norm_eps", default=1e-3),
        Argument("dropout", "input_dropout", default=0.0),
        Argument("recurrent_dropout", "recurrent_dropout", default=0.0, also=(("recurrent_dropout_kind", "state"),)),
        Argument("add_bias", table=((False, {"added": False}), (True, {"added": True})), default=False, written=False),
        *WRAPPER_ARGUMENTS,
    ),
    bias="double",
    bias_optional=False,
    notes="A cell for keras.layers.RNN: layer_norm='normalized-state' with eps 1e-3. The biases are the shifts of "
    "kernel_norm and recurrent_norm; `bias` is a third, which add_bias=True adds to the second when read, and which is "
    "written as zeros. Its dropouts have one mask for all gates. Names and stacks as keras.",
    source="tensorflow-addons 386d685, tensorflow_addons/rnn/layer_norm_lstm_cell.py",
    tested="equations",
)
