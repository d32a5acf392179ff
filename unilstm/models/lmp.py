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

# ours: theirs. The numbers are places in torch.nn.Sequential: dropout layers stand between.
NAMES = {
    "embedding.weight": "emb.weight",
    "input.weight": "fc_e2h.1.weight",
    "input.bias": "fc_e2h.1.bias",
    "output.weight": "fc_h2e.0.weight",
    "output.bias": "fc_h2e.0.bias",
}
STACK = "stack_rnn."  # stack_rnn.{2k} is layer k, stack_rnn.{2k + 1} the dropout after it
PADDING = 2  # the number of its tokenizers' padding token

# lmp's constructor arguments that are the model's and have our names; d_blk and n_blk are its layers'.
_FIELDS = ("p_emb", "p_hid", "label_smoothing")
_CONFIG = ("d_blk", "n_blk", "d_emb", "n_lyr", "vocab_size", "pad_id", *_FIELDS)


def read(mapping: Mapping[str, Any], config: Mapping[str, Any]) -> ModelWeights:
    """A model's weights from lmp's state_dict.

    config: lmp's constructor arguments. Shapes tell the sizes, which are checked where given; dropout, label smoothing
    and the padding token (2 unless given) they do not tell.
    """
    for name in config:
        if name not in _CONFIG:
            raise LayoutError(f"{name}={config[name]!r} is no argument of an lmp language model: {', '.join(_CONFIG)}.")
    for name in NAMES.values():
        if name not in mapping:
            raise LayoutError(
                f"{name!r} is missing. An lmp language model has {', '.join(NAMES.values())} and {STACK}…"
            )
    layers = _layers(mapping, config.get("n_lyr"))
    blocks = {k: config[k] for k in ("d_blk", "n_blk") if k in config}
    each = [Weights.from_layout("lmp", mapping, prefix=f"{STACK}{2 * k}.", **blocks) for k in range(layers)]
    lstm = each[0].spec.replace(num_layers=layers)
    arrays = {ours: mapping[theirs] for ours, theirs in NAMES.items()}
    for k, weights in enumerate(each):
        arrays |= {f"{LSTM}{name.replace('_l0', f'_l{k}')}": value for name, value in weights.items()}
    spec = LanguageModelSpec(
        lstm,
        *_size(mapping, config),
        padding_idx=config.get("pad_id", PADDING),
        **{name: config[name] for name in _FIELDS if name in config},
    )
    return ModelWeights(spec, arrays)


def write(weights: ModelWeights) -> dict[str, Array]:
    """The arrays under lmp's names. Raises UnsupportedByLayout for an LSTM that is none of lmp's three."""
    spec = weights.spec
    if not isinstance(spec, LanguageModelSpec):
        raise LayoutError(f"lmp has no {spec.kind}.")
    out = {theirs: weights[ours] for ours, theirs in NAMES.items()}
    one = spec.lstm.replace(num_layers=1, dropout=0.0)
    for k in range(spec.lstm.num_layers):
        suffix = f"_l{k}"
        arrays = {n.replace(suffix, "_l0"): a for n, a in weights.lstm.items() if n.endswith(suffix)}
        out |= Weights(one, arrays).to_layout("lmp", prefix=f"{STACK}{2 * k}.")
    return out


def _layers(mapping: Mapping[str, Any], said: int | None) -> int:
    places = {name.removeprefix(STACK).partition(".")[0] for name in mapping if name.startswith(STACK)}
    count = len(places)
    if not count or places != {str(2 * k) for k in range(count)}:
        raise LayoutError(f"the layers are at {STACK}{{{', '.join(sorted(places))}}}, but must be at 0, 2, 4 …")
    if said is not None and said != count:
        raise LayoutError(f"n_lyr={said}, but the mapping holds {count} layers. Leave n_lyr out, or correct it.")
    return count


def _size(mapping: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[int, int]:
    """vocab_size and d_emb, from the embedding; checked where the configuration says them."""
    shape = tuple(mapping[NAMES["embedding.weight"]].shape)
    for name, found in zip(("vocab_size", "d_emb"), shape, strict=False):
        if config.get(name, found) != found:
            raise LayoutError(f"{name}={config[name]}, but emb.weight has shape {list(shape)}. Correct {name}.")
    if len(shape) != 2:
        raise LayoutError(f"emb.weight has shape {list(shape)}, but must be [vocab_size, d_emb].")
    return shape[0], shape[1]
