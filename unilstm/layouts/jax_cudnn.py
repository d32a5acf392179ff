"""jax.experimental.rnn.lstm: cuDNN's own flat vector."""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Tensor
from .torch import GATES

FLAT = Form(
    "flat",
    (
        Tensor(
            "weights",
            (
                Part("weight_ih", GATES),
                Part("weight_hh", GATES),
                Part("bias_ih", GATES, run=1),
                Part("bias_hh", GATES, run=1),
            ),
            span="stack",
        ),
    ),
    Names(""),
    detect=False,  # a vector: any length of one could be an LSTM
)

JAX_CUDNN = Layout(
    name="jax-cudnn",
    title="jax.experimental.rnn.lstm",
    forms=(FLAT,),
    arguments=(
        Argument("input_size", "input_size", needed=True),
        Argument("hidden_size", "hidden_size", needed=True),
        Argument("num_layers", "num_layers", needed=True),
        Argument(
            "bidirectional",
            table=((False, {"direction": "forward"}), (True, {"direction": "bidirectional"})),
            needed=True,
            rule="It runs forward or in both directions.",
        ),
        Argument("dropout", "dropout", default=0.0),
        Argument("batch_first", "batch_first", default=True),
    ),
    bias="double",
    bias_optional=False,
    notes="One vector: weight_ih and weight_hh of every layer and direction (forward 0, reverse 0, forward 1, …), then "
    "bias_ih and bias_hh of every one. Its x is [B, T, I]; batch_first is no argument, and only written where it is "
    "False. ROCm orders the gates otherwise: see swap_lstm_gates there.",
    source="jax 0.10, jax/experimental/rnn.py, _get_params_shapes_in_lstm",
    tested="golden",
)
