"""The conformance matrix on the four backends of this project, and claims about its cases."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unilstm.presets import PRESETS
from unilstm_conformance import CaseCheck, conformance_cases, oracle
from unilstm_conformance.cases import ACTIVATIONS, VARIANTS, Case, default_cases, wide_cases
from unilstm_conformance.execution import Target
from unilstm_conformance.matrix import cells, resolve
from unilstm_conformance.problems import dropout_masks, problem, recurrent_masks, reference

BACKENDS = ("numpy", "torch", "paddle", "jax")


@conformance_cases(BACKENDS)
def test_conformance(case_check: CaseCheck) -> None:
    case_check()


CASES = {case.id: case for case in default_cases()}
# Fields whose value can be changed and leave the parameters as they are, with a value that switches them off.
_INERT = {
    "gate_clip": 0.0,
    "cell_clip": 0.0,
    "proj_clip": 0.0,
    "merge": "sum",
    "gate_activation": "sigmoid",
    "cell_activation": "tanh",
    "output_activation": "tanh",
}


def _effective() -> list[tuple[str, str]]:
    """Each case with each of those fields that it sets."""
    pairs = [(name, field) for name in CASES for field in _INERT if _value(name, field) != _value(_PLAIN, field)]
    return [pair for pair in pairs if _value(*pair) != "sum"]  # that is the inert merge


_PLAIN = "vanilla-L1-forward-float32-ragged"


def _value(case: str, field: str) -> object:
    return getattr(CASES[case].spec, field)


@pytest.mark.parametrize(("case", "field"), _effective())
def test_a_field_that_a_case_sets_changes_its_numbers(case: str, field: str) -> None:
    """A clip that never acts, say, would prove nothing."""
    c, p = CASES[case], problem(CASES[case])
    without = oracle.run(c.spec.replace(**{field: _INERT[field]}), p.weights, p.x, p.h_0, p.c_0, p.lengths)
    with_it = reference(c)
    change = max(float(np.abs(getattr(with_it, n) - getattr(without, n)).max()) for n in ("y", "h_n", "c_n"))
    assert change > 0.01, f"{field}={getattr(c.spec, field)} changes the outputs by {change:.2g} only"


@pytest.mark.parametrize("case", [case for case, c in CASES.items() if c.spec.cell_clip])
def test_cell_clip_acts_on_some_and_not_on_all(case: str) -> None:
    c = reference(CASES[case]).c_all
    share = float(np.mean(np.abs(c[c != 0]) == CASES[case].spec.cell_clip))
    assert 0.05 < share < 0.95


@pytest.mark.parametrize("case", [case for case, c in CASES.items() if c.key is not None])
def test_dropout_drops_about_its_share(case: str) -> None:
    c = CASES[case]
    drawn = {"dropout": dropout_masks(c), "recurrent_dropout": recurrent_masks(c)}
    for field, masks in drawn.items():
        assert (masks is not None) == bool(getattr(c.spec, field))
        if masks is not None:
            dropped = np.concatenate([mask.ravel() == 0 for mask in masks.values()])
            assert abs(dropped.mean() - getattr(c.spec, field)) < 4 * (0.25 / dropped.size) ** 0.5


@pytest.mark.parametrize("cases", [default_cases(), wide_cases()], ids=["default", "wide"])
def test_an_id_names_one_case(cases: tuple[Case, ...]) -> None:
    repeated = {name: n for name, n in Counter(case.id for case in cases).items() if n > 1}
    assert not repeated
    assert len({case.seed for case in cases}) == len(cases)


@pytest.mark.parametrize("cases", [default_cases(), wide_cases()], ids=["default", "wide"])
def test_cases_cover_every_preset_direction_length_dtype_and_activation(cases: tuple[Case, ...]) -> None:
    composed = [case for case in cases if case.stress == "all"]
    assert set(PRESETS) <= {case.variant for case in composed}
    assert {case.spec.direction for case in composed} == {"forward", "reverse", "bidirectional", "alternating"}
    assert {case.spec.merge for case in composed} == {"concat", "sum", "mul", "average"}
    assert {case.spec.bias for case in composed} == {"double", "single", "none"}
    assert {case.lengths for case in composed} == {"none", "full", "ragged", "short"}
    assert {case.dtype for case in composed} == {"float32", "float64"}
    for place in ("gate_activation", "cell_activation", "output_activation"):
        assert len({getattr(case.spec, place).name for case in composed}) == len(ACTIVATIONS)
    assert {variant for variant, _, _ in VARIANTS} <= {case.variant for case in composed}


def test_ragged_lengths_have_an_empty_a_single_and_a_full_row() -> None:
    case = CASES[_PLAIN]
    assert {0, 1, case.steps} <= set(case.row_lengths or ())


@pytest.mark.parametrize("backend", ["torch", "paddle"])
def test_native_paths_serve_the_standard_lstm(backend: str) -> None:
    """A path that refused everything would fail nothing."""
    pytest.importorskip(backend)
    targets = [t for t in resolve([backend]) if isinstance(t, Target)]
    tried = [cell for cell in cells(targets) if cell.target.path == "native" and not cell.reason]
    assert {cell.check.name for cell in tried} >= {"outputs", "final_state", "gradients", "path_agreement"}
    assert {cell.case.spec.direction for cell in tried} == {"forward", "reverse", "bidirectional", "alternating"}
