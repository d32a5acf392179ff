"""language-model-playground: LSTM1997Layer, LSTM2000Layer and LSTM2002Layer, alone or stacked in its language models.

A linear map for each gate and each of x and h, with a row for each block; the biases are those of x. The peepholes are
one array a gate, block by block. The initial states are buffers, zeros that no training changes. They are read as what
they are, no parameters, unless learned_state=True says that somebody put other values there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import LayoutError
from .layout import Layout
from .tables import Argument, Arguments, Claims, Form, Names, Part, Tensor

WORDS = {"i": "ig", "o": "og", "g": "mc_in", "f": "fg"}


def _tensors(gates: str, peepholes: str) -> Iterator[Tensor]:
    """In the order of a state_dict. gates: groups of gates, one after the other."""
    place = "{layer}"
    for gate in peepholes:
        yield Tensor(f"{place}pc_c2{WORDS[gate]}", (Part("weight_ch", gate),), shape=("1", "K", "U"))
    yield Tensor(f"{place}h_0", (Part("h_0"),), shape=("1", "S"), fixed=True)
    yield Tensor(f"{place}c_0", (Part("c_0"),), shape=("1", "K", "U"), fixed=True)
    for group in gates.split():
        for gate in group:
            yield Tensor(f"{place}fc_x2{WORDS[gate]}.weight", (Part("weight_ih", gate),))
            yield Tensor(f"{place}fc_x2{WORDS[gate]}.bias", (Part("bias", gate),))
        for gate in group:
            yield Tensor(f"{place}fc_h2{WORDS[gate]}.weight", (Part("weight_hh", gate),))


_NAMES = Names("{2k}.")  # a stack is an nn.Sequential in which a dropout follows every layer
LSTM1997 = Form("LSTM1997", tuple(_tensors("io g", "")), _NAMES, blocks=True, says={"gates": (("input", "output"),)})
LSTM2000 = Form("LSTM2000", tuple(_tensors("io g f", "")), _NAMES, blocks=True)
LSTM2002 = Form("LSTM2002", tuple(_tensors("io g f", "fio")), _NAMES, blocks=True)


def _read_units(given: Mapping[str, Any]) -> Claims:
    if len(given) == 1:
        (name,) = given
        raise LayoutError(f"{name}={given[name]!r} says too little by itself. Give n_blk= and d_blk=, or neither.")
    return {"num_blocks": (given["n_blk"],), "hidden_size": (given["n_blk"] * given["d_blk"],)} if given else {}


def _write_units(facts: Mapping[str, Any]) -> dict[str, Any]:
    blocks = facts["num_blocks"]
    return {"n_blk": blocks, "d_blk": facts["hidden_size"] // blocks} if blocks else {}


LMP = Layout(
    name="lmp",
    title="language-model-playground LSTM1997Layer, LSTM2000Layer, LSTM2002Layer",
    forms=(LSTM1997, LSTM2000, LSTM2002),
    arguments=(
        Argument("cell", table=tuple((form.name, {"form": form.name}) for form in (LSTM1997, LSTM2000, LSTM2002))),
        Argument("in_feat", "input_size"),
        Arguments(
            ("n_blk", "d_blk"),
            ("num_blocks", "hidden_size"),
            _read_units,
            _write_units,
            rule="It has blocks of units that share their gates: num_blocks=hidden_size is a gate a unit.",
        ),
        Argument("n_lyr", "num_layers", default=1),
        Argument("p_hid", "dropout", default=0.0),
        *(Argument(name) for name in ("init_lower", "init_upper", "init_ib", "init_ob", "init_fb")),
        Argument("learned_state", "learned_state", default=False),
        Argument("batch_first", "batch_first", default=True),
    ),
    bias="single",
    bias_optional=False,
    notes="The names tell which of the three it is. A stack is 0., 2., 4., …, for a dropout follows each layer: read "
    "it with prefix='stack_rnn.'. p_hid is the dropout between its layers; that after the last is the language "
    "model's. h_0 and c_0 are buffers, not parameters: zeros, which may be left out, or with learned_state=True "
    "whatever they are. The layers return (c, h), every step of both. learned_state and batch_first are no arguments "
    "of lmp.",
    source="language-model-playground ec4442a, lmp/model/_lstm_1997.py, _lstm_2000.py, _lstm_2002.py",
    tested="golden",
)
