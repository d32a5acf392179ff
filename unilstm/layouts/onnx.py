"""The LSTM operator of ONNX. Config is its attributes; the initializers are called W, R, B and P."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..activations import Activation, parse_activation
from ..errors import LayoutError
from .layout import Layout
from .tables import Argument, Arguments, Claims, Form, Names, Part, Tensor

GATES = "iofg"  # ONNX calls g c
PEEPHOLES = "iof"

LSTM = Form(
    "LSTM",
    (
        Tensor("{layer}W", (Part("weight_ih", GATES),), span="layer"),
        Tensor("{layer}R", (Part("weight_hh", GATES),), span="layer"),
        Tensor("{layer}B", (Part("bias_ih", GATES), Part("bias_hh", GATES)), span="layer"),
        Tensor("{layer}P", (Part("weight_ch", PEEPHOLES),), span="layer"),
    ),
    Names(),
)

# ONNX's name → ours, and the defaults of alpha and beta of those that have them; None: there is no default.
ACTIVATIONS: dict[str, tuple[str, dict[str, float | None]]] = {
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Relu": ("relu", {}),
    "Affine": ("affine", {"alpha": 1.0, "beta": 0.0}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "ThresholdedRelu": ("thresholded_relu", {"alpha": 1.0}),
    "ScaledTanh": ("scaled_tanh", {"alpha": None, "beta": None}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "Elu": ("elu", {"alpha": 1.0}),
    "Softsign": ("softsign", {}),
    "Softplus": ("softplus", {}),
}
_FIELDS = ("gate_activation", "cell_activation", "output_activation")
_DEFAULT = ["Sigmoid", "Tanh", "Tanh"]
_LISTS = {"alpha": "activation_alpha", "beta": "activation_beta"}


def _read(given: Mapping[str, Any]) -> Claims:
    """activations [f, g, h] a direction. alpha and beta are consumed in order by those activations that have them."""
    names = list(given.get("activations", _DEFAULT))
    left = {key: list(given.get(attribute, [])) for key, attribute in _LISTS.items()}
    if len(names) not in (3, 6):
        raise LayoutError(f"activations={names!r} must have 3 names, or 6 for two directions: f, g and h of each.")
    found = [_activation(name, left) for name in names]
    for key, attribute in _LISTS.items():
        if left[key]:
            raise LayoutError(
                f"{attribute}={given[attribute]!r} has {len(left[key])} more values than the activations "
                f"{names!r} take. Leave them out."
            )
    if found[:3] != found[-3:]:
        raise LayoutError(
            f"activations={names!r} differ between the directions, but unilstm's are the same in both. "
            "Read each direction as an LSTM of its own."
        )
    directions = {"direction": ("bidirectional",)} if len(names) == 6 else {}
    return {field: (activation,) for field, activation in zip(_FIELDS, found, strict=False)} | directions


def _activation(name: Any, left: dict[str, list[Any]]) -> Activation:
    # onnxruntime compares names without regard to case.
    known = next((known for known in ACTIVATIONS if isinstance(name, str) and known.lower() == name.lower()), None)
    if known is None:
        raise LayoutError(f"activations has {name!r}, which is none of ONNX's: {', '.join(ACTIVATIONS)}.")
    own, defaults = ACTIVATIONS[known]
    values = {key: left[key].pop(0) if left[key] else default for key, default in defaults.items()}
    return parse_activation({"name": own} | values, "activations")


def _write(facts: Mapping[str, Any]) -> dict[str, Any]:
    chosen: list[Activation] = [facts[field] for field in _FIELDS]
    onnx = {own: name for name, (own, _) in ACTIVATIONS.items()}
    names = [onnx[activation.name] for activation in chosen]
    if names == _DEFAULT:
        return {}
    repeat = 2 if facts["direction"] == "bidirectional" else 1
    lists = {
        attribute: [float(getattr(a, key)) for a in chosen if getattr(a, key) is not None] * repeat
        for key, attribute in _LISTS.items()
    }
    return {"activations": names * repeat} | {attribute: values for attribute, values in lists.items() if values}


ONNX = Layout(
    name="onnx",
    title="ONNX LSTM",
    forms=(LSTM,),
    arguments=(
        Argument("hidden_size", "hidden_size"),
        Argument("input_size", "input_size", written=False),
        Argument(
            "direction",
            table=tuple((name, {"direction": name}) for name in ("forward", "reverse", "bidirectional")),
            default="forward",
        ),
        Argument("layout", table=((0, {"batch_first": False}), (1, {"batch_first": True})), default=0),
        Argument("input_forget", table=((0, {"coupled_gates": False}), (1, {"coupled_gates": True})), default=0),
        Argument("clip", "gate_clip", default=0.0),
        Arguments(("activations", "activation_alpha", "activation_beta"), _FIELDS, _read, _write),
    ),
    bias="double",
    bias_optional=True,
    notes="One layer an operator: several are written under layer_0/, layer_1/, … . Directions are stacked on axis 0. "
    "With input_forget the rows of f are written as zeros and ignored when read. clip bounds the inputs of the "
    "gates' activations, as onnxruntime does. onnxruntime's CPU kernel takes layout=0 only.",
    source="onnx 1.23, operator LSTM-22; onnxruntime 1.31 for clip and for alpha and beta",
    tested="golden",
)
