"""The tape: every function has the values and slopes of its formula, and a cotangent finds its way back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unilstm_conformance.tape import Var, gradients, noise
from unilstm_conformance.tape_functions import (
    activated,
    block_sums,
    chosen,
    clipped,
    exp,
    joined,
    larger,
    log_sigmoid,
    mean,
    normalised,
    repeated,
    softmax,
    summed,
)

pytestmark = pytest.mark.filterwarnings("error")

Array = np.ndarray[Any, np.dtype[Any]]

# The five-point central difference: its error is step⁴·f⁽⁵⁾/30 and, from rounding, about 2⁻⁵²·|f|/step, where |f| is
# about 10 in the cases here. SMOOTH is the step that makes both about 1e-12. Across a kink it would mean nothing, so
# functions with kinks get a step so short that no line crosses one, and a bound that allows for the rounding.
STENCIL = ((1, 8 / 12), (2, -1 / 12))
SMOOTH, KINKED = 1e-3, 1e-5
BOUNDS = {SMOOTH: 1e-10, KINKED: 1e-8}


def slope(f: Callable[[float], float], step: float) -> float:
    return sum(w * (f(n * step) - f(-n * step)) for n, w in STENCIL) / step


# The nonlinearities.

POINTS = (-2.0, -0.1, 0.3, 2.0)
ACTIVATIONS: dict[str, tuple[float | None, float | None, list[float]]] = {  # alpha, beta, the values at POINTS
    "sigmoid": (None, None, [1 / (1 + math.exp(-a)) for a in POINTS]),
    "tanh": (None, None, [math.tanh(a) for a in POINTS]),
    "relu": (None, None, [0, 0, 0.3, 2]),
    "affine": (0.5, 0.25, [-0.75, 0.2, 0.4, 1.25]),
    "leaky_relu": (0.1, None, [-0.2, -0.01, 0.3, 2]),
    "thresholded_relu": (0.5, None, [0, 0, 0, 2]),
    "scaled_tanh": (1.5, 0.5, [1.5 * math.tanh(a / 2) for a in POINTS]),
    "hard_sigmoid": (0.3, 0.5, [0, 0.47, 0.59, 1]),
    "elu": (0.7, None, [0.7 * (math.exp(-2) - 1), 0.7 * (math.exp(-0.1) - 1), 0.3, 2]),
    "softsign": (None, None, [-2 / 3, -1 / 11, 3 / 13, 2 / 3]),
    "softplus": (None, None, [math.log(1 + math.exp(a)) for a in POINTS]),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_has_the_values_and_slopes_of_its_formula(name: str) -> None:
    alpha, beta, values = ACTIVATIONS[name]
    a = Var(POINTS)
    φ = activated(a, name, alpha, beta)
    assert φ.value == pytest.approx(values, rel=1e-15, abs=1e-15)
    (found,) = gradients([(φ, np.ones(4))], [a])

    def at(point: float) -> Callable[[float], float]:
        return lambda s: activated(Var([point + s]), name, alpha, beta).value.item()

    for n, point in enumerate(POINTS):
        expected = slope(at(point), SMOOTH)
        assert found[n] == pytest.approx(expected, rel=1e-10, abs=1e-10), f"slope at {point}"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_finite_without_a_warning_far_from_0(name: str) -> None:
    a = Var([-1e5, -800.0, -40.0, 0.0, 40.0, 800.0, 1e5])
    φ = activated(a, name, *ACTIVATIONS[name][:2])
    assert np.isfinite(φ.value).all()
    assert np.isfinite(gradients([(φ, np.ones(7))], [a])[0]).all()


def test_slopes_of_sigmoid_and_tanh_keep_their_digits_in_the_tails() -> None:
    a = Var([-30.0, 30.0])
    for name, expected in (("sigmoid", math.exp(-30) / (1 + math.exp(-30)) ** 2), ("tanh", math.cosh(30.0) ** -2)):
        (found,) = gradients([(activated(a, name, None, None), np.ones(2))], [a])
        assert found == pytest.approx([expected, expected], rel=1e-14)


def test_clip_passes_gradients_inside_the_bound_only() -> None:
    a = Var([-2.0, -0.5, 0.5, 2.0])
    assert clipped(a, 0.0) is a
    assert clipped(a, 1.0).value.tolist() == [-1.0, -0.5, 0.5, 1.0]
    assert gradients([(clipped(a, 1.0), np.ones(4))], [a])[0].tolist() == [0.0, 1.0, 1.0, 0.0]


# The other functions: of two vectors of four, to one vector; and the values that they have by their formulas.

A, B = np.array([0.3, -1.2, 0.8, 2.5]), np.array([1.5, 1.4, -1.7, 1.1])
FUNCTIONS: dict[str, tuple[Callable[[Var, Var], Var], Any]] = {
    "+": (lambda a, b: a + b, A + B),
    "-": (lambda a, b: a - b, A - B),
    "⊙": (lambda a, b: a * b, A * B),
    "/": (lambda a, b: a / b, A / B),
    "1 -": (lambda a, b: 1.0 - a, 1 - A),
    "exp": (lambda a, b: exp(a), np.exp(A)),
    "log_sigmoid": (lambda a, b: log_sigmoid(a), np.log(1 / (1 + np.exp(-A)))),
    "mean": (lambda a, b: mean(a), [0.6] * 4),
    "normalised": (lambda a, b: normalised(a, 0.1), (A - 0.6) / np.sqrt(np.mean((A - 0.6) ** 2) + 0.1)),
    "joined": (lambda a, b: joined(a, b, a), np.concatenate([A, B, A])),
    "repeated": (lambda a, b: repeated(a, 3), A[[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]]),
    "block_sums": (lambda a, b: block_sums(a, 2), [A[0] + A[1], A[2] + A[3]]),
    "chosen": (lambda a, b: chosen(np.array([True, False, False, True]), a, b), [A[0], B[1], B[2], A[3]]),
    "larger": (lambda a, b: larger(a, b), [B[0], B[1], A[2], A[3]]),
    "summed": (lambda a, b: summed([a, b, a]), 2 * A + B),
    "softmax of the first": (lambda a, b: softmax([a, b])[0], 1 / (1 + np.exp(B - A))),
    "softmax of the second": (lambda a, b: softmax([a, b])[1], 1 / (1 + np.exp(A - B))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_the_values_and_slopes_of_its_formula(name: str) -> None:
    function, values = FUNCTIONS[name]
    a, b = Var(A), Var(B)
    result = function(a, b)
    assert result.value == pytest.approx(values, rel=1e-14)
    probe = np.cos(np.arange(result.value.size) + 1.0)
    found = np.concatenate(gradients([(result, probe)], [a, b]))
    for n, unit in enumerate(np.eye(8)):

        def probed(s: float, unit: Array = unit) -> float:
            return float(np.sum(function(Var(A + s * unit[:4]), Var(B + s * unit[4:])).value * probe))

        assert found[n] == pytest.approx(slope(probed, SMOOTH), rel=1e-10, abs=1e-10), f"slope along axis {n}"


def test_exponentials_are_finite_without_a_warning_far_from_0() -> None:
    a = Var([-1e5, -800.0, 0.0, 800.0, 1e5])
    assert log_sigmoid(a).value == pytest.approx([-1e5, -800.0, -math.log(2), 0.0, 0.0])
    assert gradients([(log_sigmoid(a), np.ones(5))], [a])[0] == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])
    assert exp(Var([-1e5])).value.item() == 0.0


def test_a_vector_of_equal_numbers_is_normalised_to_0() -> None:
    a = Var([3.0, 3.0, 3.0])
    assert normalised(a, 1e-5).value.tolist() == [0.0, 0.0, 0.0]
    assert gradients([(normalised(a, 1e-4), np.array([1.0, 0.0, 0.0]))], [a])[0] == pytest.approx(
        [200 / 3, -100 / 3, -100 / 3]
    )


def test_of_equals_the_first_is_the_larger_and_has_the_gradient() -> None:
    a, b = Var([1.0]), Var([1.0])
    first, second = gradients([(larger(a, b), np.ones(1))], [a, b])
    assert (first.item(), second.item()) == (1.0, 0.0)


# The tape.


def test_shapes_that_differ_are_refused_not_broadcast() -> None:
    with pytest.raises(ValueError, match="shape"):
        Var(np.ones(3)) + Var(np.ones(1))
    with pytest.raises(ValueError, match="shape"):
        Var(np.ones(3)) - Var(np.ones(1))
    with pytest.raises(ValueError, match="shape"):
        Var(np.ones(1)) / Var(np.ones(3))
    with pytest.raises(ValueError, match="shape"):
        Var(np.ones(3)) * Var(np.ones((2, 3)))
    with pytest.raises(ValueError, match="shape"):
        Var(np.ones((2, 3))) @ Var(np.ones(2))
    with pytest.raises(ValueError, match="shape"):
        Var(np.ones(3)).scaled(np.ones(1))


def test_a_value_used_twice_gathers_both_gradients_and_no_input_is_written_to() -> None:
    a, weight = Var([1.0, 2.0]), np.array([3.0, 5.0])
    assert gradients([(a * a + a, weight), (a, weight)], [a])[0].tolist() == [12.0, 30.0]
    assert weight.tolist() == [3.0, 5.0]


def test_noise_moves_what_is_computed_by_its_size_and_leaves_and_zeros_not_at_all() -> None:
    a = Var([1.0, -2.0, 0.0])
    exact = (a + a).value
    with noise(1e-3, seed=1):
        leaf, moved = Var([1.0, -2.0, 0.0]), a + a
        (gradient,) = gradients([(moved, np.ones(3))], [a])
    assert leaf.value.tolist() == [1.0, -2.0, 0.0]
    relative = np.abs(moved.value[:2] / exact[:2] - 1)
    assert ((relative > 0) & (relative <= 1e-3)).all()
    assert moved.value[2] == 0.0
    assert (np.abs(gradient / 2 - 1) <= 1e-3).all()
    assert (gradient != 2).all()
    assert (a + a).value.tolist() == exact.tolist()


def test_noise_grows_where_numbers_cancel() -> None:
    a, b = Var([1.0]), Var([1.0 - 1e-6])
    with noise(1e-9, seed=2):
        difference = (a.scaled(1.0) - b.scaled(1.0)).value.item()
    assert 1e-5 < abs(difference / 1e-6 - 1) < 3e-3
