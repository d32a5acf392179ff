"""flax.linen: LSTMCell and OptimizedLSTMCell, whose parameters are the same, in nn.RNN and nn.Bidirectional."""

from __future__ import annotations

from ..activations import Activation
from .layout import Layout
from .tables import Argument, Form, Names, Part, Piece, Tensor

GATES = "ifgo"

# nn.RNN keeps its cell's parameters under "cell"; a bare cell has none. nn.Bidirectional names its two RNNs.
_CELL = "(?:cell[/.])?"
CELL = Piece("cell/", _CELL)
DIRECTIONS = (
    Piece("forward_rnn/cell/", f"forward_rnn[/.]{_CELL}"),
    Piece("backward_rnn/cell/", f"backward_rnn[/.]{_CELL}"),
)


def split(words: dict[str, str]) -> tuple[Tensor, ...]:
    """A kernel a gate and source, the bias with h. words: gate → its word after "i", where that is not the letter."""
    place = "{layer}{direction}"
    return (
        *(Tensor(f"{place}i{words.get(g, g)}/kernel", (Part("weight_ih", g, transposed=True),)) for g in GATES),
        *(Tensor(f"{place}h{g}/kernel", (Part("weight_hh", g, transposed=True),)) for g in GATES),
        *(Tensor(f"{place}h{g}/bias", (Part("bias", g),)) for g in GATES),
    )


# jax.nn's functions, which flax.linen and flax.nnx hand on, by name and with the parameters they have unless told.
ACTIVATIONS = (
    ("tanh", Activation("tanh")),
    ("sigmoid", Activation("sigmoid")),
    ("relu", Activation("relu")),
    ("hard_sigmoid", Activation("hard_sigmoid", 1 / 6, 0.5)),
    ("identity", Activation("affine", 1.0, 0.0)),
    ("elu", Activation("elu", 1.0)),
    ("leaky_relu", Activation("leaky_relu", 0.01)),
    ("softplus", Activation("softplus")),
    ("soft_sign", Activation("softsign")),
)
# The arguments of a cell, and of the nn.RNN around it, in linen and in nnx.
CELL_ARGUMENTS = (
    Argument(
        "gate_fn",
        table=tuple((name, {"gate_activation": a}) for name, a in ACTIVATIONS),
        default="sigmoid",
        rule="A cell of flax has one `gate_fn` for i, f and o, a function of jax.nn by its name.",
    ),
    Argument(
        "activation_fn",
        table=tuple((name, {"cell_activation": a, "output_activation": a}) for name, a in ACTIVATIONS),
        default="tanh",
        rule="A cell of flax has one `activation_fn` for candidate and output, a function of jax.nn by its name.",
    ),
)
RNN_ARGUMENTS = (
    Argument("time_major", table=((False, {"batch_first": True}), (True, {"batch_first": False})), default=False),
    Argument(
        "reverse",
        table=((False, {"direction": ("forward", "bidirectional")}), (True, {"direction": "reverse"})),
        default=False,
    ),
)

FLAX = Layout(
    name="flax",
    title="flax.linen.LSTMCell, OptimizedLSTMCell",
    forms=(Form("LSTMCell", split({}), Names(one=CELL, two=DIRECTIONS)),),
    arguments=(
        Argument("features", "hidden_size"),
        Argument("hidden_size", "hidden_size", written=False),
        Argument("input_size", "input_size", written=False),
        Argument("cell", table=(("LSTMCell", {}), ("OptimizedLSTMCell", {})), default="LSTMCell"),
        *CELL_ARGUMENTS,
        *RNN_ARGUMENTS,
    ),
    bias="single",
    bias_optional=False,
    notes="Paths are joined by '/' or '.', with or without nn.RNN's 'cell'. Two directions are nn.Bidirectional's "
    "forward_rnn and backward_rnn; several layers are written under layer_0/, layer_1/, … . reverse=True is time order "
    "with nn.RNN's keep_order=True. The state is (c, h).",
    source="flax 0.12, flax/linen/recurrent.py",
    tested="golden",
)
