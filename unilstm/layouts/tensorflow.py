"""TensorFlow 1: LSTMCell, BasicLSTMCell, LSTMBlockCell, whose variables are the same, and LayerNormBasicLSTMCell.

One matrix for [x; h], gates i g f o (TensorFlow calls g j, or ci), and forget_bias added to the forget gate at every
step: the stored bias is the true one minus it, as in haiku.py. The peepholes are an array a gate, the projection is
transposed. LayerNormBasicLSTMCell has a norm for each gate's sum of x and h, whose shift is its bias, and stores c
normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .keras import ACTIVATIONS
from .layout import Layout
from .tables import Argument, Arguments, Claims, Form, Names, Part, Piece, Tensor

GATES = "igfo"
_PLACE = "{layer}{direction}"
_WORDS = {"i": "input", "g": "transform", "f": "forget", "o": "output"}


def _names(own: str) -> Names:
    cell = r"(?:[^/.]*lstm[^/.]*[/.])?"
    two = (Piece(f"fw/{own}/", f"(?:bidirectional_rnn[/.])?{way}[/.]{cell}") for way in ("fw", "bw"))
    fore, back = two
    return Names("cell_{k}/", one=Piece(f"{own}/", cell), two=(fore, Piece(f"bw/{own}/", back.pattern)))


_KERNEL = Tensor(
    _PLACE + "kernel",
    (Part("weight_ih", GATES, transposed=True), Part("weight_hh", GATES, transposed=True)),
    axis=0,
)
CELL = Form(
    "LSTMCell",
    (
        _KERNEL,
        Tensor(_PLACE + "bias", (Part("bias", GATES, forget_offset=1.0),)),
        *(Tensor(f"{_PLACE}w_{gate}_diag", (Part("weight_ch", gate),)) for gate in "fio"),
        Tensor(_PLACE + "projection/kernel", (Part("weight_hr", transposed=True),)),
    ),
    _names("lstm_cell"),
    marker=r"lstm[^/.]*[/.]kernel$",  # any dense layer has a kernel and a bias
)
LAYER_NORM = Form(
    "LayerNormBasicLSTMCell",
    (
        _KERNEL,
        *(Tensor(f"{_PLACE}{word}/gamma", (Part("gamma", gate),)) for gate, word in _WORDS.items()),
        *(
            Tensor(f"{_PLACE}{word}/beta", (Part("bias", gate, forget_offset=float(gate == "f")),))
            for gate, word in _WORDS.items()
        ),
        Tensor(_PLACE + "state/gamma", (Part("gamma_c"),)),
        Tensor(_PLACE + "state/beta", (Part("beta_c"),)),
    ),
    _names("layer_norm_basic_lstm_cell"),
    marker="state[/.]gamma$",
    says={"layer_norm": ("per-gate",), "layer_norm_eps": (1e-12,)},
)


def _read_keep(given: Mapping[str, Any]) -> Claims:
    if not given:
        return {}
    rate = float(f"{1.0 - given['dropout_keep_prob']:.12g}")  # 1 - 0.9 is 0.1
    kind: Claims = {"recurrent_dropout_kind": ("candidate",)} if rate else {}
    return {"form": (LAYER_NORM.name,), "recurrent_dropout": (rate,), **kind}


def _write_keep(facts: Mapping[str, Any]) -> dict[str, Any]:
    held = facts["recurrent_dropout_kind"] == "candidate" and facts["form"] == LAYER_NORM.name
    return {"dropout_keep_prob": 1.0 - facts["recurrent_dropout"]} if held else {}


_ONE_KIND = (CELL.name,)
TENSORFLOW = Layout(
    name="tensorflow",
    title="TensorFlow 1 LSTMCell, BasicLSTMCell, LSTMBlockCell, LayerNormBasicLSTMCell",
    forms=(CELL, LAYER_NORM),
    arguments=(
        Argument(
            "cell",
            table=(
                ("LSTMCell", {"form": CELL.name}),
                ("BasicLSTMCell", {"form": CELL.name, "peephole": False, "proj_size": 0}),
                ("LSTMBlockCell", {"form": CELL.name, "proj_size": 0}),
                ("LayerNormBasicLSTMCell", {"form": LAYER_NORM.name}),
            ),
        ),
        Argument("num_units", "hidden_size"),
        Argument("input_size", "input_size", written=False),
        Argument("use_peepholes", "peephole", default=False, forms=_ONE_KIND),
        Argument("use_peephole", "peephole", written=False, forms=_ONE_KIND),  # LSTMBlockCell's
        Argument("cell_clip", "cell_clip", default=0.0, none=0.0, forms=_ONE_KIND),
        Argument("num_proj", "proj_size", default=0, none=0, forms=_ONE_KIND),
        Argument("proj_clip", "proj_clip", default=0.0, none=0.0, forms=_ONE_KIND),
        Argument("forget_bias", "forget_offset", default=1.0),
        Argument(
            "activation",
            table=tuple(
                (name, {"cell_activation": a, "output_activation": a})
                for name, a in ACTIVATIONS
                if name in ("tanh", "sigmoid", "relu", "elu", "softplus", "softsign")
            ),
            default="tanh",
            rule="TensorFlow has one `activation` for the candidate and the output.",
        ),
        Arguments(
            ("dropout_keep_prob",),
            ("recurrent_dropout", "recurrent_dropout_kind"),
            _read_keep,
            _write_keep,
            rule="LayerNormBasicLSTMCell drops units of the candidate, the other cells nothing.",
        ),
        Argument("time_major", table=((False, {"batch_first": True}), (True, {"batch_first": False})), default=False),
    ),
    bias="single",
    bias_optional=False,
    notes="The stored forget bias is the true one minus forget_bias, 1 unless said otherwise, which is added at run "
    "time. Several layers are cell_0/, cell_1/, … under multi_rnn_cell/; two directions fw/ and bw/ in each. "
    "bidirectional_dynamic_rnn over two stacks is two LSTMs, each of which sees its own outputs only: read them one by "
    "one. LayerNormBasicLSTMCell is layer_norm='per-gate' with eps 1e-12. haste_tf's plain LSTM is read with "
    "forget_bias=0. The state is (c, h).",
    source="tensorflow 1.15, python/ops/rnn_cell_impl.py, contrib/rnn/python/ops/lstm_ops.py, rnn_cell.py",
    tested="equations",
)
