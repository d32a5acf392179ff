"""What a layout cannot hold is refused by name; what it holds with a loss needs the caller to allow the loss."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from layout_cases import USUAL, usual
from unilstm import LayoutError, LossyConversion, LSTMSpec, SpecError, UnsupportedByLayout, Weights, layouts

pytestmark = pytest.mark.filterwarnings("error")

Mapping = dict[str, Any]


LOSSY: dict[str, tuple[str, Mapping, str]] = {
    "merge-biases": ("keras", {}, "lossless for outputs up to the rounding of one addition, but not for training"),
    "split-bias": ("torch", {"bias": "single"}, "bias_hh = 0"),
    "zero-bias": ("flax", {"bias": "none"}, "it always has a bias"),
    "drop-dropout": ("onnx", {"num_layers": 2, "dropout": 0.5}, "lossless for evaluation, but not for training"),
    "drop-dropout-kind": ("keras", {"recurrent_dropout": 0.4, "bias": "single"}, "recurrent_dropout=0.4: what acts in"),
    "drop-dropout-gates": (
        "allennlp",
        {"highway": True, "recurrent_dropout": 0.4, "recurrent_dropout_kind": "per-gate"},
        "recurrent_dropout_kind='per-gate', recurrent_dropout=0.4: what acts in training only has no place in it",
    ),
    "drop-dropout-input": (
        "keras",
        {"bias": "single", "input_dropout": 0.2, "recurrent_dropout": 0.4, "recurrent_dropout_kind": "per-gate"},
        "(input_dropout=0.2: what",
    ),
    "drop-dropout-weights": (
        "torch",
        {"weight_dropout": 0.3, "input_dropout": 0.1},
        "input_dropout=0.1, weight_dropout=0.3",
    ),
    "drop-dropout-between": (
        "allennlp",
        {"num_layers": 2, "direction": "alternating", "highway": True, "dropout": 0.5, "recurrent_dropout": 0.5},
        "(dropout=0.5: what acts in training only has no place in it",
    ),
    "zero-bias-highway": ("allennlp", {"highway": True, "bias": "none"}, "it always has a bias"),
    "merge-biases-norm": ("haste", {"layer_norm": "joint"}, "bias_ih + bias_hh"),
    "fixed-state": (
        "lmp",
        {"bias": "single", "num_blocks": 2, "learned_state": True},
        "initial states that it does not train",
    ),
    "forget-offset": ("haiku", {"bias": "single"}, "(bias - 1) + 1 is not bias"),
}


@pytest.mark.parametrize("loss", LOSSY)
def test_a_loss_needs_its_name(loss: str) -> None:
    layout, fields, message = LOSSY[loss]
    loss = "-".join(loss.split("-")[:2])
    weights = Weights.initial(LSTMSpec(4, 6, **fields), 0)
    with pytest.raises(LossyConversion, match=f"{loss} .*{re.escape(message)}.*allow='{loss}'") as caught:
        weights.to_layout(layout)
    assert sum(name in str(caught.value) for name in layouts.LOSSES) == 1
    assert weights.to_layout(layout, allow=loss)
    assert weights.to_layout(layout, allow=tuple(layouts.LOSSES))


def test_all_losses_are_named_at_once() -> None:
    weights = Weights.initial(LSTMSpec(4, 6, num_layers=2, dropout=0.5), 0)
    with pytest.raises(LossyConversion, match=r"allow=\('merge-biases', 'drop-dropout', 'forget-offset'\)"):
        weights.to_layout("haiku")
    with pytest.raises(LossyConversion, match="with a loss: drop-dropout"):
        weights.to_layout("haiku", allow=("merge-biases", "forget-offset"))


def test_an_exact_forget_offset_is_no_loss() -> None:
    weights = Weights.initial(LSTMSpec(4, 6, bias="single"), 0, init="keras")  # forget bias 1, stored as 0
    assert np.array_equal(weights.to_layout("haiku")["lstm/linear/b"], np.zeros(24))


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"allow='merge' is not a loss\. The losses are: merge-biases, split-bias"):
        Weights.initial(LSTMSpec(4, 6), 0).to_layout("torch", allow="merge")


@pytest.mark.parametrize("allow", [(), tuple(layouts.LOSSES)], ids=["strict", "all-allowed"])
@pytest.mark.parametrize(
    ("layout", "fields", "message"),
    [
        (
            "torch",
            {"peephole": True},
            "peephole=True has no place in layout 'torch'. Layouts that hold it: onnx, tensorflow, addons-peephole.",
        ),
        (
            "torch",
            {"direction": "reverse"},
            "torch.nn.LSTM runs forward or in both directions. Layouts that hold it: keras",
        ),
        ("paddle", {"direction": "reverse"}, "direction='reverse' has no place in layout 'paddle'."),
        ("keras", {"direction": "alternating", "num_layers": 2}, "in layout 'keras'. Layouts that hold it: allennlp."),
        ("keras", {"learned_state": True}, "keep it in unilstm's own file, unilstm.save("),
        ("torch", {"highway": True}, "highway=True has no place in layout 'torch'. Layouts that hold it: allennlp."),
        (
            "allennlp",
            {"num_layers": 2, "direction": "reverse"},
            "direction='reverse' has no place in layout 'allennlp'. StackedAlternatingLstm runs its even layers",
        ),
        ("allennlp", {"highway": True, "proj_size": 3}, "proj_size=3 has no place in layout 'allennlp'."),
        (
            "onnx",
            {"direction": "bidirectional", "merge": "sum"},
            "merge='sum' has no place in layout 'onnx'. Layouts that",
        ),
        ("jax-cudnn", {"direction": "reverse"}, "direction='reverse' has no place in layout 'jax-cudnn'."),
        (
            "keras",
            {"proj_size": 3},
            "proj_size=3 has no place in layout 'keras'. Layouts that hold it: torch, paddle, mxnet, tensorflow",
        ),
        ("torch", {"learned_state": True}, "learned_state=True has no place"),
        ("onnx", {"cell_clip": 3.0}, "cell_clip=3.0 has no place"),
        ("keras", {"gate_clip": 3.0}, "gate_clip=3.0 has no place in layout 'keras'. Layouts that hold it: onnx."),
        ("keras", {"cell_activation": "relu"}, "cell_activation='relu' has no place in layout 'keras'. Keras has one"),
        ("keras", {"gate_activation": ("hard_sigmoid", 0.2, 0.5)}, "'alpha': 0.2, 'beta': 0.5} has no place in layout"),
        ("equinox", {"coupled_gates": True}, "coupled_gates=True has no place in layout 'equinox'."),
    ],
    ids=lambda value: value if value in layouts.names() else None,
)
def test_a_field_without_a_place_is_named(layout: str, fields: Mapping, message: str, allow: tuple[str, ...]) -> None:
    weights = Weights.initial(LSTMSpec(4, 6, **fields), 0)
    calls: list[Callable[[], Any]] = [
        lambda: weights.to_layout(layout, allow=allow),
        lambda: weights.layout_config(layout),
    ]
    for call in calls:
        with pytest.raises(UnsupportedByLayout, match=re.escape(message)):
            call()


ALTERED: dict[str, Mapping] = {
    "no-input-gate": {"gates": ("forget", "output")},
    "no-forget-gate": {"gates": ("input", "output")},
    "no-output-gate": {"gates": ("input", "forget")},
    "no-gate": {"gates": ()},
    "highway": {"highway": True},
    "residual": {"residual": True, "num_layers": 2},
    "blocks": {"num_blocks": 3},
    "lanes": {"lanes": 2},
    "argmax": {"lane_pooling": "argmax", "lanes": 2},
    "attention": {"lane_pooling": "attention", "lanes": 2},
    "joint-norm": {"layer_norm": "joint"},
    "norm-per-gate": {"layer_norm": "per-gate"},
    "normalized-state": {"layer_norm": "normalized-state"},
    "norm-eps": {"layer_norm_eps": 1e-3, "layer_norm": "joint"},
    "gate-recurrence": {"gate_recurrence": True},
    "zoneout-hidden": {"zoneout_hidden": 0.1},
    "zoneout-cell": {"zoneout_cell": 0.1},
    "slstm": {"cell": "slstm"},
    "minlstm": {"cell": "minlstm"},
}
HELD = {
    ("allennlp", "highway"),
    ("lmp", "no-forget-gate"),
    ("lmp", "blocks"),
    ("arraylstm", "lanes"),
    ("arraylstm", "argmax"),
    ("arraylstm", "attention"),
    ("haste", "joint-norm"),
    ("haste", "zoneout-hidden"),
    ("custom-lstms", "normalized-state"),
    ("addons-layer-norm", "normalized-state"),
    ("allennlp-projection", "residual"),
    ("elmo", "residual"),
}


def altered(layout: str, case: str) -> LSTMSpec:
    fields = usual(layout) | ({"num_blocks": 2} if layout == "lmp" else {}) | ALTERED[case]
    try:
        return LSTMSpec(4, 6, **fields)
    except SpecError:  # another cell, or one without gates, that cannot have what the layout usually has
        return LSTMSpec(4, 6, bias=fields["bias"], **ALTERED[case])


@pytest.mark.parametrize(("layout", "case"), list(itertools.product(layouts.names(), ALTERED)))
def test_a_cell_of_another_make_is_held_or_refused(layout: str, case: str) -> None:
    """No layout writes it as the cell it has, not even with every loss allowed."""
    weights = Weights.initial(altered(layout, case), 0, init="keras", dtype="float64")
    if (layout, case) in HELD:
        mapping = weights.to_layout(layout)
        assert Weights.from_layout(layout, mapping, **weights.layout_config(layout)) == weights
        return
    named = "|".join([*ALTERED[case], *USUAL.get(layout, {})])
    with pytest.raises(UnsupportedByLayout, match=f"^({named})=.* has no place in layout {layout!r}"):
        weights.to_layout(layout, allow=tuple(layouts.LOSSES))
    with pytest.raises(UnsupportedByLayout, match=f"^({named})="):
        weights.layout_config(layout)
