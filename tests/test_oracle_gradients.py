"""The oracle's gradients are the limits of difference quotients, for every field of a spec and every nonlinearity."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from unilstm import LSTMSpec
from unilstm.parameters import parameters
from unilstm_conformance import oracle
from unilstm_conformance.tape import Var, activated, clipped, gradients

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


SPECS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "time_major": {"batch_first": False},
    "single_bias": {"bias": "single"},
    "no_bias": {"bias": "none"},
    "three_layers": {"num_layers": 3},
    "reverse": {"direction": "reverse"},
    "alternating": {"direction": "alternating", "num_layers": 3},
    "bidirectional": {"direction": "bidirectional", "num_layers": 2},
    "bidirectional_sum": {"direction": "bidirectional", "num_layers": 2, "merge": "sum"},
    "bidirectional_mul": {"direction": "bidirectional", "num_layers": 2, "merge": "mul"},
    "bidirectional_average": {"direction": "bidirectional", "num_layers": 2, "merge": "average"},
    "projection": {"proj_size": 2, "num_layers": 2},
    "projection_clip": {"proj_size": 2, "proj_clip": 0.15},
    "projection_bidirectional": {"proj_size": 2, "direction": "bidirectional", "num_layers": 2},
    "peephole": {"peephole": True},
    "coupled": {"coupled_gates": True},
    "coupled_peephole": {"coupled_gates": True, "peephole": True},
    "gate_clip": {"gate_clip": 0.5},
    "cell_clip": {"cell_clip": 0.2},
    "peephole_clips": {"peephole": True, "gate_clip": 0.5, "cell_clip": 0.2},
    "learned_state": {"learned_state": True, "num_layers": 2, "direction": "bidirectional"},
    "dropout": {"dropout": 0.5, "num_layers": 3},
    "dropout_bidirectional": {"dropout": 0.5, "num_layers": 2, "direction": "bidirectional"},
    "rectified": {"cell_activation": "relu", "output_activation": "leaky_relu"},
    "hard": {"gate_activation": ("hard_sigmoid", 0.2, 0.5), "cell_activation": ("thresholded_relu", 0.3)},
    "smooth": {"gate_activation": ("scaled_tanh", 0.7, 0.6), "cell_activation": "softsign", "output_activation": "elu"},
    "others": {"gate_activation": "sigmoid", "cell_activation": "softplus", "output_activation": ("affine", 0.5, 0.1)},
    "no_input_gate": {"gates": ("forget", "output")},
    "no_forget_gate": {"gates": ("input", "output")},
    "no_output_gate": {"gates": ("input", "forget")},
    "no_gates": {"gates": ()},
    "no_forget_gate_peephole": {"gates": ("input", "output"), "peephole": True},
    "output_gate_alone_peephole": {"gates": ("output",), "peephole": True, "num_layers": 2},
    "coupled_no_output_gate": {"gates": ("input", "forget"), "coupled_gates": True, "peephole": True},
    "highway": {"highway": True},
    "highway_single_bias": {"highway": True, "bias": "single", "num_layers": 2},
    "highway_no_bias_no_gates": {"highway": True, "bias": "none", "gates": ()},
    "highway_alternating": {"highway": True, "direction": "alternating", "num_layers": 3},
    "highway_bidirectional": {"highway": True, "direction": "bidirectional", "num_layers": 2},
    "highway_projection": {"highway": True, "proj_size": 2, "num_layers": 2},
    "highway_coupled_peephole": {"highway": True, "coupled_gates": True, "peephole": True},
    "highway_clips": {"highway": True, "gate_clip": 0.5, "cell_clip": 0.2},
    "residual": {"residual": True, "num_layers": 3},
    "residual_dropout": {"residual": True, "dropout": 0.5, "num_layers": 3},
    "residual_bidirectional": {"residual": True, "direction": "bidirectional", "num_layers": 3},
    "residual_bidirectional_mul": {"residual": True, "direction": "bidirectional", "num_layers": 2, "merge": "mul"},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "recurrent_dropout_bidirectional": {"recurrent_dropout": 0.4, "direction": "bidirectional", "num_layers": 2},
    "recurrent_dropout_projection": {"recurrent_dropout": 0.4, "proj_size": 2, "peephole": True, "num_layers": 2},
    "everything": {
        "num_layers": 2,
        "direction": "bidirectional",
        "merge": "average",
        "batch_first": False,
        "bias": "single",
        "proj_size": 2,
        "peephole": True,
        "coupled_gates": True,
        "gate_clip": 1.5,
        "cell_clip": 0.8,
        "proj_clip": 0.6,
        "learned_state": True,
        "dropout": 0.3,
        "highway": True,
        "residual": True,
        "recurrent_dropout": 0.3,
    },
}


class Case:
    """A spec, every input of a call and probes for every output, drawn at random."""

    def __init__(self, spec: LSTMSpec, lengths: list[int] | None, states: bool, B: int = 3, T: int = 3) -> None:
        draw = np.random.default_rng(0)
        self.spec, self.lengths, self.time = spec, lengths, T
        axes = (B, T) if spec.batch_first else (T, B)
        n = spec.num_layers * spec.num_directions
        self.values = {name: draw.normal(0, 0.6, p.shape) for name, p in parameters(spec).items()}
        self.parameter_names = tuple(self.values)
        self.values["x"] = draw.normal(size=(*axes, spec.input_size))
        if states:
            self.values["h_0"] = draw.normal(size=(n, B, spec.state_size))
            self.values["c_0"] = draw.normal(size=(n, B, spec.hidden_size))
        shape = (T, B, spec.output_size)
        kept = {k: draw.random(shape) >= spec.dropout for k in range(1, spec.num_layers)}
        self.masks = {k: v / (1 - spec.dropout) for k, v in kept.items()} if spec.dropout else None
        self.recurrent_masks = self.draw_recurrent_masks(draw, B) if spec.recurrent_dropout else None
        self.probes = {
            "y": draw.normal(size=(*axes, spec.output_size)),
            "h_n": draw.normal(size=(n, B, spec.state_size)),
            "c_n": draw.normal(size=(n, B, spec.hidden_size)),
            "c_all": draw.normal(size=(*axes, spec.num_directions * spec.hidden_size)),
        }
        lines = {name: draw.normal(size=v.shape) for name, v in self.values.items()}
        self.lines = {name: line / np.linalg.norm(line) for name, line in lines.items()}

    def draw_recurrent_masks(self, draw: np.random.Generator, B: int) -> dict[tuple[int, int], Array]:
        p, places = self.spec.recurrent_dropout, np.ndindex(self.spec.num_layers, self.spec.num_directions)
        return {(layer, d): (draw.random((B, self.spec.state_size)) >= p) / (1 - p) for layer, d in places}

    def run(self, *, differentiate: bool = False, changed: dict[str, Array] | None = None) -> oracle.Result:
        v = self.values | (changed or {})
        arrays, probes = {n: v[n] for n in self.parameter_names}, self.probes if differentiate else None
        masks: dict[str, Any] = {"masks": self.masks, "recurrent_masks": self.recurrent_masks}
        states = v.get("h_0"), v.get("c_0")
        return oracle.run(self.spec, arrays, v["x"], *states, self.lengths, **masks, probes=probes)

    def along(self, key: str, line: Array) -> Callable[[float], float]:
        """The probed sum, as a function of how far one input has moved along a line."""

        def probed_sum(s: float) -> float:
            result = self.run(changed={key: self.values[key] + s * line})
            return float(sum(np.sum(getattr(result, name) * probe) for name, probe in self.probes.items()))

        return probed_sum


@pytest.mark.parametrize("lengths", [None, [2, 0, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", SPECS)
def test_gradient_is_the_slope_along_a_random_line(name: str, lengths: list[int] | None) -> None:
    case = Case(LSTMSpec(3, 4, **SPECS[name]), lengths, states="learned_state" not in SPECS[name])
    step = KINKED if any("clip" in field or "activation" in field for field in SPECS[name]) else SMOOTH
    found = case.run(differentiate=True).gradients
    assert found.keys() == case.values.keys()
    for key, line in case.lines.items():
        expected = slope(case.along(key, line), step)
        close = pytest.approx(expected, rel=BOUNDS[step], abs=BOUNDS[step])
        assert np.sum(found[key] * line) == close, f"gradient of {key}"


def test_gradient_is_the_slope_along_every_axis() -> None:
    case = Case(LSTMSpec(2, 2, peephole=True, proj_size=1), [2, 1], states=True, B=2, T=2)
    found = case.run(differentiate=True).gradients
    for key, value in case.values.items():
        for at in np.ndindex(value.shape):
            unit = np.zeros_like(value)
            unit[at] = 1.0
            expected = slope(case.along(key, unit), SMOOTH)
            assert found[key][at] == pytest.approx(expected, rel=1e-10, abs=1e-10), f"gradient of {key}{at}"


@pytest.mark.parametrize("name", [name for name in SPECS if "clip" in name])
def test_clips_above_are_reached_somewhere_but_not_everywhere(name: str) -> None:
    """Without this the clipped cases above might test nothing."""
    case = Case(LSTMSpec(3, 4, **SPECS[name]), None, states=True)
    free = Case(LSTMSpec(3, 4, **{k: v for k, v in SPECS[name].items() if "clip" not in k}), None, states=True)
    a, b = case.run(differentiate=True), free.run(differentiate=True)
    assert np.abs(a.y - b.y).max() > 1e-3
    assert all(np.any(gradient) for gradient in a.gradients.values())


def test_learned_state_gathers_the_gradients_of_every_row() -> None:
    fields: dict[str, Any] = {"num_layers": 2, "direction": "bidirectional", "peephole": True}
    learned = Case(LSTMSpec(3, 4, learned_state=True, **fields), [2, 0, 3], states=False)
    arrays = {k: v for k, v in learned.values.items() if k != "x" and k[:3] not in ("h_0", "c_0")}
    names = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    h, c = (np.stack([np.tile(learned.values[s + n], (3, 1)) for n in names]) for s in ("h_0", "c_0"))
    given = oracle.run(
        LSTMSpec(3, 4, **fields), arrays, learned.values["x"], h, c, learned.lengths, probes=learned.probes
    )
    found = learned.run(differentiate=True)
    np.testing.assert_array_equal(found.y, given.y)
    for n, own in enumerate(names):
        np.testing.assert_allclose(found.gradients["h_0" + own], given.gradients["h_0"][n].sum(0), rtol=1e-13)
        np.testing.assert_allclose(found.gradients["c_0" + own], given.gradients["c_0"][n].sum(0), rtol=1e-13)


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


# The tape.


def test_shapes_that_differ_are_refused_not_broadcast() -> None:
    with pytest.raises(ValueError, match="shape"):
        Var(np.ones(3)) + Var(np.ones(1))
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


def test_long_sequences_do_not_meet_the_recursion_limit() -> None:
    case = Case(LSTMSpec(1, 1), None, states=True, B=1, T=1500)
    assert np.isfinite(case.run(differentiate=True).gradients["h_0"]).all()


def test_three_bidirectional_layers_with_gradients_take_under_a_second() -> None:
    case = Case(LSTMSpec(4, 5, num_layers=3, direction="bidirectional"), None, states=True, B=3, T=6)
    start = time.process_time()
    case.run(differentiate=True)
    assert time.process_time() - start < 1.0
