"""The helpers of the conformance suite measure what they say they do, and their bounds can be exceeded."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unilstm import LSTMSpec, Weights
from unilstm.masks import uniform
from unilstm.plugins import get
from unilstm_conformance import oracle
from unilstm_conformance.cases import default_cases
from unilstm_conformance.measure import compare, holds, same_bits
from unilstm_conformance.problems import problem, reference
from unilstm_conformance.tolerances import (
    eps,
    gradient_roundings,
    gradient_units,
    output_units,
    roundings,
)

CASES = {case.id: case for case in default_cases()}
WANT = np.array([[0.0, -2.0, 0.5], [1.0, 0.25, 1e-9]])


def test_an_error_within_the_bound_passes_and_one_beyond_it_fails() -> None:
    for factor, ok in ((0.99, True), (1.01, False)):
        got = WANT.copy()
        got[1, 2] += factor * 10 * eps("float64") * 2.0
        measured = compare("y", got, WANT, 10, "float64")
        assert measured.ok is ok
        assert measured.index == (1, 2)
        assert measured.ratio == pytest.approx(factor, rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_fails(bad: float) -> None:
    got = WANT.copy()
    got[0, 1] = bad
    measured = compare("y", got, WANT, 1e12, "float64")
    assert not measured.ok
    assert measured.index == (0, 1)


def test_a_reference_that_is_no_number_fails() -> None:
    assert not compare("y", WANT, np.full_like(WANT, math.nan), 1e12, "float64").ok


@pytest.mark.parametrize(
    ("got", "says"),
    [
        (WANT[0], "has shape [3], but must have [2, 3]"),
        (WANT.astype("float32"), "is float32, but must be float64"),
        (WANT.tolist(), "is a list"),
        (None, "is a NoneType"),
    ],
)
def test_what_cannot_be_compared_fails_and_says_why(got: object, says: str) -> None:
    measured = compare("h_n", got, WANT, 1e12, "float64")
    assert not measured.ok
    assert says in str(measured)


def test_a_reference_of_zeros_must_be_met_exactly() -> None:
    zeros = np.zeros((2, 2), "float32")
    assert compare("y", -zeros, zeros, 100, "float32").ok
    assert not compare("y", zeros + np.float32(1e-45), zeros, 100, "float32").ok


def test_same_bits_tells_zeros_apart() -> None:
    zeros = np.zeros(3, "float32")
    assert same_bits("w", zeros.copy(), zeros).ok
    assert not same_bits("w", -zeros, zeros).ok
    assert not same_bits("w", zeros + np.float32(1e-45), zeros).ok


def test_a_failure_prints_error_index_values_bound_and_units() -> None:
    got = WANT.copy()
    got[0, 2] = 0.75
    text = str(compare("gradient of x", got, WANT, 8, "float64"))
    for part in ("gradient of x", "0.25", "[0, 2]", "got 0.75, want 0.5", "8.0 units of eps·max|want|"):
        assert part in text


def test_a_claim_without_numbers_says_what_is_wrong() -> None:
    assert holds("x", True, "unused").ok
    assert "changed in place" in str(holds("x", False, "changed in place"))


def test_roundings_count_the_longest_chain() -> None:
    assert roundings(LSTMSpec(4, 6), 7) == 7 * (4 + 6 + 10)
    assert roundings(LSTMSpec(4, 6, proj_size=2), 7) == 7 * (4 + 2 + 6 + 10)
    assert roundings(LSTMSpec(4, 6, num_layers=2, direction="bidirectional"), 7) == 7 * ((4 + 6 + 10) + (12 + 6 + 10))
    assert gradient_roundings(LSTMSpec(4, 6), 7, 3) == 7 * (4 + 6 + 10) + 7 * (24 + 10) + 21


def test_bounds_grow_as_the_root_of_the_steps() -> None:
    spec = LSTMSpec(4, 6)
    assert output_units(spec, 400) == pytest.approx(20 * output_units(spec, 1))
    assert gradient_units(spec, 400, 3) == pytest.approx(20 * gradient_units(spec, 1, 3))


@pytest.mark.parametrize("case", ["large-L1-forward-float32-none", "vanilla-L1-forward-float32-ragged"])
def test_bounds_refuse_a_computation_that_keeps_ten_bits(case: str) -> None:
    """As TF32 and float16 do. The mean over roundings makes the bound statistical, not loose."""
    p, want = problem(CASES[case]), reference(CASES[case])
    rough = Weights(p.weights.spec, {name: a.astype("float16").astype("float32") for name, a in p.weights.items()})
    numpy = get("numpy")
    state = (p.h_0, p.c_0)
    units = output_units(CASES[case].spec, CASES[case].steps)
    for weights, ok in ((p.weights, True), (rough, False)):
        y, _ = numpy.layer(weights, device=None, path="auto")(p.x, state, lengths=p.lengths)
        assert compare("y", y, want.y, units, "float32").ok is ok


@pytest.mark.parametrize(
    ("steps", "size", "hidden", "layers"),
    [(500, 2, 3, 1), (200, 8, 8, 1), (100, 16, 24, 1), (50, 32, 64, 1), (50, 4, 6, 3), (20, 64, 16, 2), (1, 64, 64, 1)],
)
def test_float32_stays_within_the_bound_at_sizes_beyond_the_matrix(
    steps: int, size: int, hidden: int, layers: int
) -> None:
    spec = LSTMSpec(size, hidden, num_layers=layers)
    weights = Weights.initial(spec, seed=1)
    x = (3 * uniform(2, 0, (2, steps, size)) - 1.5).astype("float32")
    y, _ = get("numpy").layer(weights, device=None, path="auto")(x)
    measured = compare("y", y, oracle.run(spec, weights, x).y, output_units(spec, steps), "float32")
    assert measured.ok, measured
