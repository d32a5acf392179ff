"""The conformance matrix on the four backends of this project, and claims about its cases."""

from __future__ import annotations

import dataclasses
import importlib.resources
import itertools
from collections import Counter

import numpy as np
import pytest

from conftest import require_parallel
from unilstm import LSTMSpec
from unilstm.errors import UnilstmError
from unilstm.presets import PRESETS
from unilstm_conformance import CaseCheck, conformance_cases, oracle, vectors
from unilstm_conformance.cases import STACKS, Case, default_cases, drops, wide_cases
from unilstm_conformance.execution import Target
from unilstm_conformance.matrix import cells, resolve
from unilstm_conformance.problems import KINDS, drawn_masks, problem, reference
from unilstm_conformance.variants import ACTIVATIONS, VARIANTS

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
    "lane_pooling": "sum",
    "exponential_forget": False,
    "zoneout_hidden": 0.0,
    "zoneout_cell": 0.0,
    "layer_norm_eps": 1e-5,
}


def _effective() -> list[tuple[str, str]]:
    """Each case with each of those fields that it sets."""
    pairs = [(name, field) for name in CASES for field in _INERT if _value(name, field) != _value(_PLAIN, field)]
    # sum is the inert merge; and attention has parameters of its own, which another pooling would not take
    return [pair for pair in pairs if _value(*pair) not in ("sum", "attention", "attention-max")]


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


_CLIPPED = [name for name, c in CASES.items() if c.spec.cell_clip and c.spec.layer_norm in ("none", "joint")]


@pytest.mark.parametrize("case", _CLIPPED)  # where the clipped c is the one that is stored
def test_cell_clip_acts_on_some_and_not_on_all(case: str) -> None:
    c = reference(CASES[case]).c_all
    share = float(np.mean(np.abs(c[c != 0]) == CASES[case].spec.cell_clip))
    assert 0.05 < share < 0.95


@pytest.mark.parametrize("case", [case for case, c in CASES.items() if c.key is not None])
def test_each_mask_drops_about_its_share_and_scales_what_it_keeps(case: str) -> None:
    c = CASES[case]
    for field, kind in {"dropout": "dropout", **{field: kind for kind, (field, _) in KINDS.items()}}.items():
        masks = [mask.ravel() for name, mask in drawn_masks(c).items() if name.startswith(f"{kind}_l")]
        assert bool(masks) == bool(getattr(c.spec, field))
        if masks:
            p, values = getattr(c.spec, field), np.concatenate(masks)
            assert abs(np.mean(values == 0) - p) < 4 * (0.25 / values.size) ** 0.5
            kept = 1 if kind.startswith("zoneout") else 1 / (1 - p)
            assert set(values) <= {0, np.dtype(c.dtype).type(kept)}


@pytest.mark.parametrize("cases", [default_cases(), wide_cases()], ids=["default", "wide"])
def test_cases_in_training_are_those_that_drop_something(cases: tuple[Case, ...]) -> None:
    assert all((case.key is not None) == drops(case.spec) for case in cases)


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


@pytest.mark.parametrize("cases", [default_cases(), wide_cases()], ids=["default", "wide"])
def test_cases_cover_every_field_of_a_spec(cases: tuple[Case, ...]) -> None:
    fields = {f.name for f in dataclasses.fields(LSTMSpec) if f.default is not dataclasses.MISSING}
    default = LSTMSpec(1, 1)
    unmet = {field for field in fields if all(getattr(c.spec, field) == getattr(default, field) for c in cases)}
    assert not unmet
    kinds = {"lane_pooling": 4, "layer_norm": 4, "recurrent_dropout_kind": 3, "cell": 3, "merge": 4, "bias": 3}
    for field, count in kinds.items():
        assert len({getattr(case.spec, field) for case in cases}) == count


def test_wide_cases_have_every_preset_on_every_stack_in_evaluation_and_in_training() -> None:
    found = {(c.variant, c.spec.num_layers, c.spec.direction, c.lengths) for c in wide_cases()}
    for name, (layers, direction), lengths in itertools.product(PRESETS, STACKS, ("full", "ragged")):
        assert (name, layers, direction, lengths) in found
        assert (f"{name}-trained", layers, direction, lengths) in found


def test_ragged_lengths_have_an_empty_a_single_and_a_full_row() -> None:
    case = CASES[_PLAIN]
    assert {0, 1, case.steps} <= set(case.row_lengths or ())


@pytest.mark.parametrize("backend", ["torch", "paddle"])
def test_native_paths_serve_the_standard_lstm(backend: str) -> None:
    """A path that refused everything would fail nothing."""
    pytest.importorskip(backend)
    targets = [t for t in resolve([backend]) if isinstance(t, Target)]
    tried = [c for c in cells(targets, default_cases()) if c.target.path == "native" and not c.reason]
    assert {cell.check.name for cell in tried} >= {"outputs", "final_state", "gradients", "path_agreement"}
    assert {cell.case.spec.direction for cell in tried} == {"forward", "reverse", "bidirectional", "alternating"}


def test_paths_are_chosen_by_name() -> None:
    """Also those that a backend would not choose here; a word that is no path is an error."""
    found = resolve(["numpy"], paths=["composed", "fused"])
    assert [target.path for target in found if isinstance(target, Target)] == ["composed", "fused"]
    with pytest.raises(UnilstmError, match="path 'fast' is unknown"):
        resolve(["numpy"], paths=["fast"])


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_parallel_paths_serve_the_minlstm(backend: str) -> None:
    """In every direction, in training too, and compared with the composed path."""
    require_parallel(backend)
    targets = [t for t in resolve([backend]) if isinstance(t, Target) and t.path == "parallel"]
    found = list(cells(targets, default_cases(), golden=False))
    assert {cell.case.spec.cell for cell in found} == {"minlstm"}
    tried = [cell for cell in found if not cell.reason]
    assert {cell.check.name for cell in tried} >= {"outputs", "final_state", "gradients", "masks", "path_agreement"}
    assert {cell.case.spec.direction for cell in tried} >= {"forward", "bidirectional", "alternating"}
    assert {cell.case.lengths for cell in tried} >= {"none", "ragged"}
    assert {cell.case.variant for cell in found if cell.reason} == {"minlstm-zoneout"}


@pytest.mark.parametrize(
    ("name", "compared"),
    [
        ("lmp/layer_2002", {"y", "c_all", "gradient of h_0", "gradient of c_0", "gradient of weight_ch_l0"}),
        ("haste/layer_norm_zoneout_train", {"y", "h_n", "c_n", "gradient of gamma_hh_l0", "gradient of beta_c_l0"}),
        ("arraylstm/attention", {"y", "h_n", "c_n", "gradient of weight_xa_l0", "gradient of x"}),
    ],
)
def test_a_golden_vector_is_compared_in_all_that_it_holds(name: str, compared: set[str]) -> None:
    pytest.importorskip("torch")
    (target,) = (t for t in resolve(["torch"]) if isinstance(t, Target) and t.path == "composed")
    v = vectors.vector(name)
    found = {measured.what for measured in vectors.golden(target, v)}
    assert found >= compared
    assert found == set(v.outputs) | {f"gradient of {gradient}" for gradient in v.gradients}


def test_every_golden_file_is_a_vector_or_a_model() -> None:
    folder = importlib.resources.files("unilstm_conformance") / "golden"
    files = {f"{s.name}/{f.name[:-4]}" for s in folder.iterdir() if s.is_dir() for f in s.iterdir()}
    models = {name for name in files - set(vectors.ids()) if (folder / f"{name}.npz").is_file()}
    assert models == {"keras/model", *(f"lmp/language_model_{year}" for year in (1997, 2000, 2002))}
