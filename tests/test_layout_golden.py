"""What other systems stored, read through the layout tables, computes what they computed; a wrong table does not."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import unilstm
from layout_cases import CASES, bound, error, fixture_error, golden, layout_of
from layout_equations import FIXTURES
from layout_literal import LITERAL, literal
from unilstm import Weights, layouts
from unilstm.layouts import Layout, engine
from unilstm.layouts.tables import Form, Part, Tensor

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("case", CASES)
def test_outputs_equal_golden(case: str) -> None:
    assert error(case, layout_of(case)) <= bound(case)


@pytest.mark.parametrize("case", CASES)
def test_written_back_bit_for_bit(case: str) -> None:
    """The tensors come back under the same names, and then as the same weights."""
    layout, g = layout_of(case), golden(case)
    weights = Weights.from_layout(layout.name, g.weights, **g.config)
    back = weights.to_layout(layout.name, allow="forget-offset" if layout.name == "haiku" else ())
    for name in g.weights.keys() & back.keys():
        if name == "lstm/linear/b":  # reading added 1 to the forget gate's, in float64
            assert np.abs(back[name] - g.weights[name]).max() <= 2**-52
        elif case == "onnx/input_forget":  # the rows of f mean nothing there
            rows = [slice(n, n + 12) for n in range(0, back[name].shape[1], 24)]
            assert all(np.array_equal(back[name][:, r], g.weights[name][:, r]) for r in rows)
        else:
            assert back[name].tobytes() == g.weights[name].tobytes(), name
    if layout.name in ("torch", "paddle", "lmp", "arraylstm", "haste"):
        assert list(back) == list(g.weights)
    assert Weights.from_layout(layout.name, back, **weights.layout_config(layout.name)) == weights


# Systems without a golden vector: their documented equations.


@pytest.mark.parametrize("name", FIXTURES)
def test_outputs_equal_the_documented_equations(name: str) -> None:
    assert fixture_error(name, layouts.get(name.split("/")[0])) <= 1e-12


@pytest.mark.parametrize("name", FIXTURES)
def test_fixture_written_back_bit_for_bit(name: str) -> None:
    """Under the same names where these are those that are written; and then as the same weights."""
    f = FIXTURES[name]()
    weights = Weights.from_layout(f.layout, f.weights, **f.config)
    back = weights.to_layout(f.layout, allow="forget-offset")
    same = [n for n in f.weights.keys() & back.keys() if not has_offset(layouts.get(f.layout), n)]
    assert all(back[n].tobytes() == f.weights[n].tobytes() for n in same if f.layout != "addons-layer-norm")
    again = Weights.from_layout(f.layout, back, **weights.layout_config(f.layout))
    assert again.spec == weights.spec
    assert all(np.abs(again[n] - weights[n]).max() <= 2**-52 for n in weights)


# What the arrays say and these arguments contradict.
CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "allennlp-projection/forward": {"go_forward": False},
    "elmo/forward": {"go_forward": False},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused(name: str) -> None:
    assert refused(name, layouts.get(name.split("/")[0]), CONTRADICTIONS[name])


def refused(name: str, layout: Layout, config: dict[str, Any]) -> bool:
    f = FIXTURES[name]()
    try:
        engine.read(layout, f.weights, "", f.config | config)
    except unilstm.LayoutError as problem:
        return "contradicts the arrays" in str(problem)
    return False


def has_offset(layout: Layout, name: str) -> bool:
    return any(form.forget_offset for form in layout.forms) and name.endswith(("bias", "beta", "B"))


@pytest.mark.parametrize("name", LITERAL)
def test_literal_numbers_are_where_they_should_be(name: str) -> None:
    assert literal(name, layouts.get(LITERAL[name][0]))


# Mutants: each fault in a table is caught by a case above.


def mutants(layout: Layout) -> Iterator[tuple[str, Layout]]:
    for f, form in enumerate(layout.forms):
        for fault, mutant in form_mutants(form):
            forms = (*layout.forms[:f], mutant, *layout.forms[f + 1 :])
            yield f"{layout.name}-{form.name}-{fault}", dataclasses.replace(layout, forms=forms)


def form_mutants(form: Form) -> Iterator[tuple[str, Form]]:
    for t, tensor in enumerate(form.tensors):
        if tensor.derived:
            not_derived = dataclasses.replace(tensor, derived=False)
            yield f"{t}-not-derived", with_tensors(form, (*form.tensors[:t], not_derived, *form.tensors[t + 1 :]))
        for fault, mutant in tensor_mutants(tensor) if not tensor.derived else ():
            tensors = (*form.tensors[:t], mutant, *form.tensors[t + 1 :])
            yield (
                f"{tensor.name.replace('{layer}', '').replace('{direction}', '')}-{fault}",
                with_tensors(form, tensors),
            )
    singles = [t for t, tensor in enumerate(form.tensors) if len(tensor.parts[0].gates) == 1]
    for a, b in itertools.pairwise(singles):  # a tensor a gate: two tensors of one array swapped
        if form.tensors[a].roles == form.tensors[b].roles:
            tensors_ = list(form.tensors)
            tensors_[a] = dataclasses.replace(tensors_[a], parts=form.tensors[b].parts)
            tensors_[b] = dataclasses.replace(tensors_[b], parts=form.tensors[a].parts)
            yield f"swap-{a}-{b}", with_tensors(form, tuple(tensors_))
    if form.single_bias:
        yield "single-bias", dataclasses.replace(form, single_bias="")
    for name, value in (("alternating", False), ("lanes", False), ("blocks", False), ("says", {}), ("residual", False)):
        if getattr(form, name):
            yield f"no-{name}", dataclasses.replace(form, **{name: value})
    if form.names.two:
        yield "directions", dataclasses.replace(form, names=dataclasses.replace(form.names, two=form.names.two[::-1]))


def with_tensors(form: Form, tensors: tuple[Tensor, ...]) -> Form:
    return dataclasses.replace(form, tensors=tensors)


def tensor_mutants(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    for p, part in enumerate(tensor.parts):
        for fault, mutant in part_mutants(part):
            parts = (*tensor.parts[:p], mutant, *tensor.parts[p + 1 :])
            yield f"{part.role}-{fault}", dataclasses.replace(tensor, parts=parts)
    if tensor.fixed:
        yield "not-fixed", dataclasses.replace(tensor, fixed=False)
    if tensor.stacked:
        yield "not-stacked", dataclasses.replace(tensor, stacked=False)
    if tensor.shape:
        yield "its-own-shape", dataclasses.replace(tensor, shape=())
    for a in range(len(tensor.parts) - 1):
        parts_ = list(tensor.parts)
        parts_[a], parts_[a + 1] = parts_[a + 1], parts_[a]
        if parts_[a].run == parts_[a + 1].run:
            yield f"{parts_[a].role}-before-{parts_[a + 1].role}", dataclasses.replace(tensor, parts=tuple(parts_))


def part_mutants(part: Part) -> Iterator[tuple[str, Part]]:
    for a in range(len(part.gates) - 1):
        swapped = part.gates[:a] + part.gates[a + 1] + part.gates[a] + part.gates[a + 2 :]
        yield f"gates-{swapped}", dataclasses.replace(part, gates=swapped)
    if part.role.startswith("weight") and part.role != "weight_ch":
        yield "other-way-round", dataclasses.replace(part, transposed=not part.transposed, reshaped=False)
    if part.reshaped:
        yield "transposed", dataclasses.replace(part, transposed=True, reshaped=False)
    if part.run:
        yield "first-run", dataclasses.replace(part, run=0)
    if part.forget_offset:
        yield "no-offset", dataclasses.replace(part, forget_offset=0.0)


MUTANTS = dict(m for layout in layouts.LAYOUTS.values() for m in mutants(layout))


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str) -> None:
    mutant = MUTANTS[name]
    assert any(caught(mutant)), "no case notices this fault"


def caught(mutant: Layout) -> Iterator[bool]:
    for name, (layout, *_) in LITERAL.items():
        if layout == mutant.name:
            yield noticed(lambda name=name: literal(name, mutant))
    for case in CASES:
        if layout_of(case).name == mutant.name:
            yield noticed(lambda case=case: error(case, mutant) <= bound(case))
    for name in FIXTURES:
        if name.split("/")[0] == mutant.name:
            yield noticed(lambda name=name: fixture_error(name, mutant) <= 1e-12)
    for name, config in CONTRADICTIONS.items():
        if name.split("/")[0] == mutant.name:
            yield noticed(lambda name=name, config=config: refused(name, mutant, config))


def noticed(holds: Any) -> bool:
    try:
        return not holds()
    except (unilstm.LayoutError, unilstm.SpecError):
        return True


# A whole Keras model: LSTM "first", Bidirectional "second", and a dense head on the last states.


def test_keras_model_by_prefix() -> None:
    g = golden("keras/model")
    assert [(f.layout, f.prefix) for f in layouts.find({n: a.shape for n, a in g.weights.items()})] == [
        ("keras", "first/"),
        ("keras", "second/"),
    ]
    first = unilstm.LSTM(Weights.from_layout("keras", g.weights, prefix="first/"))
    second = unilstm.LSTM(Weights.from_layout("keras", g.weights, prefix="second/"))
    y, _ = first(g.inputs["x"])
    _, (h_n, _) = second(y)
    logits = np.concatenate([h_n[0], h_n[1]], axis=-1) @ g.weights["head/kernel"] + g.weights["head/bias"]
    assert np.abs(y - g.outputs["first"]).max() <= bound("keras/model")
    assert np.abs(logits - g.outputs["y"]).max() <= bound("keras/model")


# The stacks in the language models of lmp: a layer, a dropout, a layer.


@pytest.mark.parametrize("year", ["1997", "2000", "2002"])
def test_lmp_stack_by_prefix(year: str) -> None:
    g = golden(f"lmp/language_model_{year}")
    stack = {name: array for name, array in g.weights.items() if name.startswith("stack_rnn.")}
    weights = Weights.from_layout("lmp", g.weights, prefix="stack_rnn.", n_blk=2, d_blk=3, n_lyr=2, p_hid=0.1)
    assert weights.spec.num_blocks == 2
    assert weights.spec.dropout == 0.1
    back = weights.to_layout("lmp", prefix="stack_rnn.")
    assert list(back) == list(stack)
    assert all(back[name].tobytes() == stack[name].tobytes() for name in stack)
    lookup = g.weights["emb.weight"][g.inputs["tokens"]]
    x = np.tanh(lookup @ g.weights["fc_e2h.1.weight"].T + g.weights["fc_e2h.1.bias"])
    _, (h_n, c_n) = unilstm.LSTM(weights)(x)
    assert np.abs(h_n - g.outputs["h_n"]).max() <= 1e-12
    assert np.abs(c_n.reshape(2, 3, 2, 3) - g.outputs["c_n"]).max() <= 1e-12
