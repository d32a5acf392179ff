"""ELMo's LSTM with projection: as AllenNLP's LstmCellWithProjection and ElmoLstm, and as the HDF5 file of its weights.

A stack in one direction, each layer but the first adding its input; ELMo is two such stacks, which do not see each
other. The HDF5 file is TensorFlow's: one matrix for [x; h], transposed, gates i g f o, and 1 added to the forget gate
at run time.
"""

from __future__ import annotations

from .layout import Layout
from .tables import Argument, Form, Names, Part, Tensor
from .torch import GATES

_TF_GATES = "igfo"
_NEEDS = ("weight_hr",)
_FORWARD, _BACKWARD = {"direction": ("forward",)}, {"direction": ("reverse",)}

_LINEAR = (
    Tensor("{layer}input_linearity.weight", (Part("weight_ih", GATES),)),
    Tensor("{layer}state_linearity.weight", (Part("weight_hh", GATES),)),
    Tensor("{layer}state_linearity.bias", (Part("bias", GATES),)),
    Tensor("{layer}state_projection.weight", (Part("weight_hr"),)),
)
_HDF5 = (
    Tensor(
        "{layer}W_0",
        (Part("weight_ih", _TF_GATES, transposed=True), Part("weight_hh", _TF_GATES, transposed=True)),
        axis=0,
    ),
    Tensor("{layer}B", (Part("bias", _TF_GATES, forget_offset=1.0),)),
    Tensor("{layer}W_P_0", (Part("weight_hr", transposed=True),)),
)


def _forms(tensors: tuple[Tensor, ...], ways: tuple[str, str], layer: str) -> tuple[Form, ...]:
    """The stacks of the two directions; one by its number only; a lone layer."""
    return (
        Form("forward", tensors, Names(ways[0] + layer, always=True), residual=True, needs=_NEEDS, says=_FORWARD),
        Form("backward", tensors, Names(ways[1] + layer, always=True), residual=True, needs=_NEEDS, says=_BACKWARD),
        Form("stack", tensors, Names(layer, always=True), residual=True, needs=_NEEDS, detect=False),
        Form("cell", tensors, Names(""), needs=_NEEDS),
    )


_ARGUMENTS = (
    Argument("input_size", "input_size"),
    Argument("hidden_size", "proj_size"),
    Argument("cell_size", "hidden_size"),
    Argument("num_layers", "num_layers", default=1),
    Argument(
        "go_forward",
        table=((True, {"direction": "forward"}), (False, {"direction": "reverse"})),
        default=True,
        rule="ELMo has one stack a direction: each is an LSTM of its own.",
    ),
    Argument("memory_cell_clip_value", "cell_clip", default=0.0, none=0.0),
    Argument("state_projection_clip_value", "proj_clip", default=0.0, none=0.0),
    Argument("batch_first", "batch_first", default=True),
)
_NOTES = (
    "hidden_size is the projection's (unilstm's proj_size), cell_size the cell's (unilstm's hidden_size). The names "
    "say whether a stack runs forward or backward; {rest} ELMo clips both at 3, which the arrays do not tell. "
    "AllenNLP's recurrent dropout masks the outputs, too, and is not translated. batch_first is no argument of "
    "AllenNLP, and only written where it is False."
)

ALLENNLP_PROJECTION = Layout(
    name="allennlp-projection",
    title="allennlp LstmCellWithProjection, ElmoLstm",
    forms=_forms(_LINEAR, ("forward_layer_", "backward_layer_"), "{k}."),
    arguments=_ARGUMENTS,
    bias="single",
    bias_optional=False,
    notes=_NOTES.format(
        rest="with prefix='forward_layer_' or 'backward_layer_', or of a lone LstmCellWithProjection, go_forward does."
    ),
    source="allennlp 2.10.1, allennlp/modules/lstm_cell_with_projection.py, elmo_lstm.py",
    tested="equations",
)
ELMO = Layout(
    name="elmo",
    title="ELMo's HDF5 weights",
    forms=_forms(_HDF5, ("RNN_0/RNN/MultiRNNCell/", "RNN_1/RNN/MultiRNNCell/"), "Cell{k}/LSTMCell/"),
    arguments=_ARGUMENTS,
    bias="single",
    bias_optional=False,
    notes=_NOTES.format(
        rest="with a prefix of theirs go_forward does. The stored forget bias is the true one minus 1."
    ),
    source="allennlp 2.10.1, allennlp/modules/elmo_lstm.py, load_weights",
    tested="equations",
)
