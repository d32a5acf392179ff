"""Language models of the language-model-playground (LSTM-1997, LSTM-2000, LSTM-2002): its names, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import LayoutError
from ..parameters import Array
from ..weights import Weights
from .parameters import LSTM
from .spec import LanguageModelSpec
from .weights import ModelWeights

# ours: theirs. The numbers are places in torch.nn.Sequential, in which dropout layers stand, too.
NAMES = {
    "embedding.weight": "emb.weight",
    "input.weight": "fc_e2h.1.weight",
    "input.bias": "fc_e2h.1.bias",
    "output.weight": "fc_h2e.0.weight",
    "output.bias": "fc_h2e.0.bias",
}
STACK = "stack_rnn."  # the layers: the layout "lmp" of LSTMs
PADDING = 2  # the number of the padding token of its tokenizers

# Its constructor arguments: those that are the LSTM's, those that are ours by another name, and ours.
_OF_LSTM = ("d_blk", "n_blk", "n_lyr")
_OURS = {"vocab_size": "vocab_size", "d_emb": "d_emb", "pad_id": "padding_idx"}
_OURS |= {name: name for name in ("p_emb", "p_hid", "label_smoothing")}


def read(mapping: Mapping[str, Any], config: Mapping[str, Any]) -> ModelWeights:
    """A model's weights from lmp's state_dict.

    config: lmp's constructor arguments. Shapes tell the sizes, which are checked where given; dropout, label smoothing
    and the padding token (2 unless given) they do not tell.
    """
    takes = (*_OF_LSTM, *_OURS)
    for name in config:
        if name not in takes:
            raise LayoutError(f"{name}={config[name]!r} is no argument of lmp's models: {', '.join(takes)}.")
    for name in NAMES.values():
        if name not in mapping:
            raise LayoutError(f"{name!r} is missing. A language model of lmp has {', '.join(NAMES.values())}.")
    for name in mapping:
        if name not in NAMES.values() and not name.startswith(STACK):
            raise LayoutError(f"{name!r} is no array of a language model of lmp. Leave it out.")
    lstm = Weights.from_layout("lmp", mapping, prefix=STACK, **{k: config[k] for k in _OF_LSTM if k in config})
    shape = tuple(mapping[NAMES["embedding.weight"]].shape)
    if len(shape) != 2:
        raise LayoutError(f"'emb.weight' has shape {list(shape)}, but must be [vocab_size, d_emb].")
    fields = {"vocab_size": shape[0], "d_emb": shape[1], "padding_idx": PADDING}
    fields |= {ours: config[theirs] for theirs, ours in _OURS.items() if theirs in config}
    arrays = {ours: mapping[theirs] for ours, theirs in NAMES.items()}
    return ModelWeights(
        LanguageModelSpec(lstm.spec, **fields), arrays | {LSTM + name: value for name, value in lstm.items()}
    )


def write(weights: ModelWeights) -> dict[str, Array]:
    """The arrays under lmp's names. Raises UnsupportedByLayout for an LSTM that is none of lmp's three."""
    if not isinstance(weights.spec, LanguageModelSpec):
        raise LayoutError(f"lmp has no {weights.spec.kind}.")
    own = {theirs: weights[ours] for ours, theirs in NAMES.items()}
    # A stack of one layer is numbered, too; a lone layer of the layout is not.
    return own | weights.lstm.to_layout("lmp", prefix=STACK + ("0." if weights.lstm.spec.num_layers == 1 else ""))
