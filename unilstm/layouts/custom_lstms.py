"""PyTorch's fastrnns benchmark, custom_lstms.py: script_lstm and script_lnlstm, from which many take their own LSTMs.

torch's arrays, a module a layer and direction. With layer norm the shifts of the two norms are its biases, and c is
stored normalised.
"""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor
from .torch import GATES, fused

_PLACE = "{layer}{direction}"
_WAYS = (Piece("cell."), (Piece("directions.0.cell."), Piece("directions.1.cell.")))
_STACK = Names("layers.{k}.", True, *_WAYS)
_LAYER = Names("", False, *_WAYS)  # LSTMLayer, BidirLSTMLayer

_PLAIN = fused(_PLACE + "{role}")
_NORM = (
    *_PLAIN[:2],
    Tensor(_PLACE + "layernorm_i.weight", (Part("gamma_ih", GATES),)),
    Tensor(_PLACE + "layernorm_i.bias", (Part("bias_ih", GATES),)),
    Tensor(_PLACE + "layernorm_h.weight", (Part("gamma_hh", GATES),)),
    Tensor(_PLACE + "layernorm_h.bias", (Part("bias_hh", GATES),)),
    Tensor(_PLACE + "layernorm_c.weight", (Part("gamma_c"),)),
    Tensor(_PLACE + "layernorm_c.bias", (Part("beta_c"),)),
)
_SAYS = {"layer_norm": ("normalized-state",)}

CUSTOM_LSTMS = Layout(
    name="custom-lstms",
    title="PyTorch's fastrnns custom_lstms.py: script_lstm, script_lnlstm",
    forms=(
        Form("script_lstm", _PLAIN, _STACK),
        Form("script_lnlstm", _NORM, _STACK, says=_SAYS),
        Form("LSTMLayer", _PLAIN, _LAYER, detect=False),  # torch's LSTMCell under any name "cell"
        Form("LSTMLayer(LayerNormLSTMCell)", _NORM, _LAYER, says=_SAYS),
    ),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("num_layers", "num_layers"),
        Argument("bias", table=((True, {"bias": "double"}),), default=True),
        Argument("batch_first", "batch_first", default=False),
        Argument(
            "dropout",
            table=(
                (False, {"dropout": 0.0}),
                (True, {"dropout": 0.4, "direction": "forward", "layer_norm": "none"}),
            ),
            default=False,
            rule="script_lstm has dropout 0.4 or none, and only without norm and in one direction.",
        ),
        Argument(
            "bidirectional",
            table=((False, {"direction": "forward"}), (True, {"direction": "bidirectional"})),
            default=False,
            rule="script_lstm runs forward or in both directions.",
        ),
        Argument("decompose_layernorm", table=((False, {}),), default=False, rule="Its own norm divides without eps."),
    ),
    bias="double",
    bias_optional=False,
    notes="script_lnlstm's layernorm_i, layernorm_h and layernorm_c are layer_norm='normalized-state'; their biases "
    "are bias_ih, bias_hh and beta_c. A lone LSTMLayer or BidirLSTMLayer, without layers.{k}., is read, too.",
    source="pytorch 02ed725, benchmarks/fastrnns/custom_lstms.py",
    tested="equations",
)
