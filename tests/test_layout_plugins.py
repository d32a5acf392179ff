"""A layout of one's own: registered or found by an entry point, it is read, written and found as those of unilstm."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unilstm import LayoutError, LSTMSpec, UnsupportedByLayout, Weights, layouts
from unilstm.layouts import Argument, Form, Layout, Names, Part, Tensor, registry

pytestmark = pytest.mark.filterwarnings("error")

PAGE = Path(__file__).parent.parent / "docs" / "weights.md"
OWN = Layout(
    name="lab",
    title="lab.LSTM",
    forms=(
        Form(
            "LSTM",
            (
                Tensor("{layer}Wx", (Part("weight_ih", "ogfi", transposed=True),)),
                Tensor("{layer}Wh", (Part("weight_hh", "ogfi", transposed=True),)),
                Tensor("{layer}offset", (Part("bias", "ogfi"),)),
            ),
            Names("stage{k}."),
        ),
    ),
    arguments=(Argument("width", "hidden_size"),),
    bias="single",
    bias_optional=False,
    notes="",
    source="",
)


@pytest.fixture
def own() -> Iterator[Layout]:
    layouts.register(OWN)
    yield OWN
    layouts.unregister("lab")


@pytest.mark.usefixtures("own")
def test_a_registered_layout_is_as_any_other() -> None:
    assert layouts.names()[-1] == "lab"
    assert layouts.get("lab") is OWN
    weights = Weights.initial(LSTMSpec(3, 4, num_layers=2, bias="single"), 0)
    mapping = weights.to_layout("lab", prefix="rnn.")
    assert list(mapping)[:3] == ["rnn.stage0.Wx", "rnn.stage0.Wh", "rnn.stage0.offset"]
    assert np.array_equal(mapping["rnn.stage0.offset"][:4], weights["bias_l0"][12:])  # o comes first
    assert Weights.from_layout("lab", mapping, prefix="rnn.", width=4) == weights
    assert [(f.layout, f.prefix) for f in layouts.find({n: a.shape for n, a in mapping.items()})] == [("lab", "rnn.")]
    with pytest.raises(UnsupportedByLayout, match="batch_first=False has no place in layout 'lab'"):
        Weights.initial(LSTMSpec(3, 4, batch_first=False), 0).to_layout("lab")


@pytest.mark.usefixtures("own")
def test_names_are_taken_once() -> None:
    with pytest.raises(LayoutError, match="there is a layout 'lab' already. Give yours another name."):
        layouts.register(OWN)
    with pytest.raises(LayoutError, match="there is a layout 'torch' already"):
        layouts.register(dataclasses.replace(OWN, name="torch"))
    with pytest.raises(LayoutError, match="layout 'torch' was not registered here. These were: lab."):
        layouts.unregister("torch")


def with_tensor(**changes: Any) -> Layout:
    (form,) = OWN.forms
    tensors = (dataclasses.replace(form.tensors[0], **changes), *form.tensors[1:])
    return dataclasses.replace(OWN, forms=(dataclasses.replace(form, tensors=tensors),))


def with_form(**changes: Any) -> Layout:
    return dataclasses.replace(OWN, forms=(dataclasses.replace(OWN.forms[0], **changes),))


WRONG: dict[str, tuple[Any, str]] = {
    "no-layout": ("lab", "'lab' is not a unilstm.layouts.Layout. Make one of forms, tensors and arguments."),
    "no-form": (dataclasses.replace(OWN, forms=()), "it has no form"),
    "bias": (dataclasses.replace(OWN, bias="two"), "bias='two' must be 'double' or 'single'"),
    "field": (
        dataclasses.replace(OWN, arguments=(Argument("width", "width"),)),
        "argument 'width' says something of 'width', which is no field of LSTMSpec",
    ),
    "says": (with_form(says={"norm": ("joint",)}), "form 'LSTM' says something of 'norm'"),
    "no-weights": (with_form(tensors=OWN.forms[0].tensors[1:]), "form 'LSTM': it has no weight_ih"),
    "twice": (with_tensor(name="{layer}Wh"), "form 'LSTM': two tensors are called '{layer}Wh'"),
    "no-layer": (with_tensor(name="Wx"), "tensor 'Wx': its name lacks {layer}, which tells the layers"),
    "role": (with_tensor(parts=(Part("weight_ih", "ifgo"), Part("kernel"))), "role 'kernel' is none of: weight_ih,"),
    "no-gates": (with_tensor(parts=(Part("weight_ih"),)), "weight_ih is made of gates: say their order"),
    "gates": (with_tensor(parts=(Part("weight_ih", "ifco"),)), "gates='ifco' must be of the letters i f g o r"),
    "gate-twice": (with_tensor(parts=(Part("weight_ih", "iffo"),)), "gates='iffo' must be"),
    "gates-of-none": (with_tensor(parts=(Part("weight_ih", "ifgo"), Part("weight_hr", "i"))), "weight_hr has no gates"),
    "shape": (with_tensor(shape=("H",)), "shape has 'H', which is none of: 1, K, U, S"),
    "span": (with_tensor(span="layers"), "span='layers' must be one of: direction, layer, stack"),
    "turned-twice": (
        with_tensor(parts=(Part("weight_ih", "ifgo", transposed=True, reshaped=True),)),
        "a part is transposed or reshaped, not both",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_is_refused(case: str) -> None:
    layout, message = WRONG[case]
    with pytest.raises(LayoutError, match=re.escape(message)):
        layouts.register(layout)
    assert "lab" not in layouts.names()


@pytest.mark.parametrize("name", layouts.names())
def test_the_tables_of_unilstm_are_right(name: str) -> None:
    registry.check_table(layouts.get(name))


def entry(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """An entry point "lab" that points at this module's attribute."""
    point = importlib.metadata.EntryPoint("lab", value, registry.GROUP)

    def entry_points(*, group: str, name: str = "lab") -> list[importlib.metadata.EntryPoint]:
        assert group == "unilstm.layouts"
        return [point] if name == "lab" else []

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", entry_points)
    registry._entry_points.cache_clear()
    registry._loaded.cache_clear()


@pytest.fixture(autouse=True)
def _forget_entry_points() -> Iterator[None]:
    yield
    registry._entry_points.cache_clear()
    registry._loaded.cache_clear()


def test_an_entry_point_is_a_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, "test_layout_plugins:OWN")
    assert layouts.names()[-1] == "lab"
    weights = Weights.initial(LSTMSpec(3, 4, bias="single"), 0)
    mapping = weights.to_layout("lab")
    assert Weights.from_layout("lab", mapping) == weights
    assert layouts.find({n: a.shape for n, a in mapping.items()})[0].layout == "lab"
    with pytest.raises(LayoutError, match="there is a layout 'lab' already"):
        layouts.register(OWN)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "test_layout_plugins:MISSING",
            "the layout 'lab', which test_layout_plugins:MISSING should be, cannot be loaded",
        ),
        ("no_such_module:OWN", "cannot be loaded: No module named 'no_such_module'. Repair or uninstall that package."),
        ("test_layout_plugins:PAGE", "test_layout_plugins:PAGE is no unilstm.layouts.Layout of the name 'lab'"),
    ],
)
def test_a_broken_entry_point_breaks_itself_only(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    entry(monkeypatch, value)
    with pytest.raises(LayoutError, match=re.escape(message)):
        layouts.get("lab")
    shapes = {"lstm.weight_ih_l0": (24, 4), "lstm.weight_hh_l0": (24, 6)}
    with pytest.warns(UserWarning, match=re.escape(message)):
        (found,) = layouts.find(shapes)
    assert found.layout == "torch"
    assert layouts.get("torch").name == "torch"  # it is not looked at


def test_the_page_shows_a_layout_that_works() -> None:
    """The code of docs/weights.md, as it stands."""
    section = PAGE.read_text().split("## A layout of your own")[1]
    code = section.split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(code, scope)
    try:
        weights = Weights.initial(LSTMSpec(3, 4, num_layers=2, bias="single"), 0, init="keras")
        name, config = scope["LAB"].name, scope["LAB"].config(weights.spec)
        assert Weights.from_layout(name, weights.to_layout(name), **config) == weights
    finally:
        layouts.unregister(scope["LAB"].name)
