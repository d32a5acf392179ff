"""What a layout cannot hold exactly: each loss has a name, and happens only to a caller who allows it by that name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import cells
from ..activations import Activation
from ..errors import LayoutError, LossyConversion, UnsupportedByLayout
from ..parameters import Array, parameters
from ..spec import LSTMSpec
from ..weights import Weights
from .arguments import TRAINING, best
from .tables import Form

if TYPE_CHECKING:
    from .layout import Layout

LOSSES = {
    "merge-biases": "bias='double' becomes the one bias it has, bias_ih + bias_hh: lossless for outputs up to the "
    "rounding of one addition, but not for training, because two biases step twice as far",
    "split-bias": "bias='single' becomes the two it has, bias_hh = 0: lossless for outputs, but not for training, "
    "because two biases step twice as far; and it is read back as bias='double'",
    "zero-bias": "bias='none' becomes zeros, because it always has a bias: lossless for outputs, but training would "
    "move the bias away from 0",
    "drop-dropout": "what acts in training only has no place in it: lossless for evaluation, but not for training",
    "fixed-state": "learned_state becomes initial states that it does not train: lossless for outputs, but not for "
    "training",
    "forget-offset": "it adds 1 to the forget gate at run time, so bias - 1 is stored, and for these values "
    "(bias - 1) + 1 is not bias, to the last bit",
}
ROUNDING = frozenset({"merge-biases", "forget-offset"})  # those that compute new values


class Held(NamedTuple):
    """What a layout holds in place of a spec: another spec, the losses on the way there, the form and its arguments.

    losses: name → the field that is lost, with its value, where the name does not tell.
    """

    spec: LSTMSpec
    losses: dict[str, str]
    form: Form
    config: dict[str, Any]
    unheld: list[str]


def hold(layout: Layout, spec: LSTMSpec) -> Held:
    """What a layout holds in place of a spec. Raises UnsupportedByLayout for what not even a loss can mend."""
    held = _mended(layout, spec)
    for field in sorted(held.unheld, key=lambda field: field != "cell"):  # other equations: the rest follows from them
        rules = [e.rule for e in layout.arguments if field in e.fields and e.rule]
        value = getattr(spec, field)
        value = value.to_json() if isinstance(value, Activation) else value
        raise UnsupportedByLayout(
            " ".join([f"{field}={value!r} has no place in layout {layout.name!r}.", *rules[:1], _cure(spec)])
        )
    return held


def _mended(layout: Layout, spec: LSTMSpec) -> Held:
    losses: dict[str, str] = {}
    if "bias" not in cells.get(spec.cell).fields:  # a cell of somebody's own: its biases, if any, are its affair
        return Held(spec, losses, *best(layout, spec))
    if spec.bias == "none" and not layout.bias_optional:
        losses["zero-bias"] = ""
        spec = spec.replace(bias=layout.bias)
    elif spec.bias not in ("none", *layout.biases):
        losses["merge-biases" if layout.bias == "single" else "split-bias"] = ""
        spec = spec.replace(bias=layout.bias)
    written = best(layout, spec)
    dropped = {field: TRAINING[field] for field in written.unheld if field in TRAINING}
    if dropped:
        if "recurrent_dropout_kind" in dropped:
            dropped["recurrent_dropout"] = 0.0
        lost = (field for field in dropped if getattr(spec, field) != TRAINING[field])
        losses["drop-dropout"] = ", ".join(f"{field}={getattr(spec, field)!r}" for field in lost)
        spec = spec.replace(**dropped)
        written = best(layout, spec)
    if spec.learned_state and written.form.holds("h_0"):
        losses["fixed-state"] = ""
    return Held(spec, losses, *written)


def _cure(spec: LSTMSpec) -> str:
    from .registry import every  # whose layouts need this module

    able = [name for name, layout in every().items() if not _mended(layout, spec).unheld]
    if able:
        return f"Layouts that hold it: {', '.join(able)}."
    return (
        "No layout of another system holds it: keep it in unilstm's own file, unilstm.save(weights, 'out.safetensors')."
    )


def convert(weights: Weights, spec: LSTMSpec) -> dict[str, Array]:
    """The arrays as `hold` says."""
    arrays: dict[str, Array] = {}
    for name, p in parameters(spec).items():
        if name in weights:
            arrays[name] = weights[name]
        elif p.role == "bias_ih" and weights.spec.bias == "single":
            arrays[name] = weights[name.replace("bias_ih", "bias")]
        elif p.role == "bias" and weights.spec.bias == "double":
            arrays[name] = weights[name.replace("bias", "bias_ih")] + weights[name.replace("bias", "bias_hh")]
        else:
            arrays[name] = np.zeros(p.shape, weights.dtype)
    return arrays


def check_names(allow: tuple[str, ...]) -> None:
    for name in allow:
        if name not in LOSSES:
            raise LayoutError(f"allow={name!r} is not a loss. The losses are: {', '.join(LOSSES)}.")


def check(layout: Layout, losses: Mapping[str, str], allow: tuple[str, ...]) -> None:
    """Raise LossyConversion for losses that were not allowed."""
    open_ = [name for name in losses if name not in allow]
    if open_:
        what = "; ".join(f"{name} ({losses[name]}{': ' if losses[name] else ''}{LOSSES[name]})" for name in open_)
        accept = repr(open_[0]) if len(losses) == 1 else repr(tuple(losses))
        raise LossyConversion(f"layout {layout.name!r} holds this with a loss: {what}. To accept it: allow={accept}.")
