"""torch.nn.LSTM and torch.nn.LSTMCell."""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor

GATES = "ifgo"
DIRECTIONS = (Piece(""), Piece("_reverse"))


def fused(name: str) -> tuple[Tensor, ...]:
    """In the order of the state_dict, which is torch's all_weights."""
    roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(Tensor(name.replace("{role}", role), (Part(role, GATES),)) for role in roles)


LSTM = Form(
    "LSTM",
    (*fused("{role}{layer}{direction}"), Tensor("weight_hr{layer}{direction}", (Part("weight_hr"),))),
    Names("_l{k}", always=True, two=DIRECTIONS),
)
CELL = Form("LSTMCell", fused("{role}"), Names(""))

TORCH = Layout(
    name="torch",
    title="torch.nn.LSTM, torch.nn.LSTMCell",
    forms=(LSTM, CELL),
    arguments=(
        Argument("input_size", "input_size"),
        Argument("hidden_size", "hidden_size"),
        Argument("num_layers", "num_layers", default=1),
        Argument("bias", table=((True, {"bias": "double"}), (False, {"bias": "none"})), default=True),
        Argument("batch_first", "batch_first", default=False),
        Argument("dropout", "dropout", default=0.0),
        Argument(
            "bidirectional",
            table=((False, {"direction": "forward"}), (True, {"direction": "bidirectional"})),
            default=False,
            rule="torch.nn.LSTM runs forward or in both directions.",
        ),
        Argument("proj_size", "proj_size", default=0),
    ),
    bias="double",
    bias_optional=True,
    notes="Written as torch.nn.LSTM; the names of torch.nn.LSTMCell, without layers, are read too.",
    source="torch 2.13, torch/nn/modules/rnn.py",
    tested="golden",
)
