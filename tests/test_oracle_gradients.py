"""The oracle's gradients are the limits of difference quotients, for every field of a spec."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from test_tape import BOUNDS, KINKED, SMOOTH, slope
from unilstm import LSTMSpec
from unilstm.parameters import parameters
from unilstm_conformance import oracle

pytestmark = pytest.mark.filterwarnings("error")

Array = np.ndarray[Any, np.dtype[Any]]

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
    "blocks": {"num_blocks": 2},
    "blocks_peephole": {"num_blocks": 2, "peephole": True, "gates": ("input", "output"), "bias": "single"},
    "one_block_coupled": {"num_blocks": 1, "coupled_gates": True, "peephole": True},
    "lanes": {"lanes": 2},
    "lanes_argmax": {"lanes": 3, "lane_pooling": "argmax", "num_layers": 2, "direction": "bidirectional"},
    "lanes_attention": {"lanes": 2, "lane_pooling": "attention", "peephole": True},
    "lanes_attention_max": {"lanes": 3, "lane_pooling": "attention-max", "bias": "none", "num_layers": 2},
    "lanes_blocks_highway": {"lanes": 2, "num_blocks": 2, "peephole": True, "highway": True, "proj_size": 2},
    "lanes_without_gates": {"lanes": 2, "gates": ("input",), "learned_state": True, "peephole": True},
    "norm_joint": {"layer_norm": "joint"},
    "norm_joint_highway": {"layer_norm": "joint", "highway": True, "peephole": True, "num_layers": 2},
    "norm_joint_lanes": {"layer_norm": "joint", "lanes": 2, "bias": "single", "layer_norm_eps": 0.1},
    "norm_state": {"layer_norm": "normalized-state", "peephole": True},
    "norm_state_no_bias": {"layer_norm": "normalized-state", "bias": "none", "cell_clip": 0.2},
    "norm_state_lanes": {"layer_norm": "normalized-state", "lanes": 2, "lane_pooling": "argmax", "num_layers": 2},
    "norm_per_gate": {"layer_norm": "per-gate", "num_layers": 2},
    "norm_per_gate_blocks": {"layer_norm": "per-gate", "num_blocks": 2, "peephole": True, "gates": ("forget",)},
    "norm_per_gate_everything": {"layer_norm": "per-gate", "lanes": 2, "highway": True, "coupled_gates": True},
    "gate_recurrence": {"gate_recurrence": True, "peephole": True},
    "gate_recurrence_coupled": {"gate_recurrence": True, "coupled_gates": True, "num_layers": 2},
    "gate_recurrence_two_gates": {
        "gate_recurrence": True,
        "gates": ("input", "output"),
        "learned_state": True,
        "direction": "bidirectional",
        "zoneout_cell": 0.3,
    },
    "input_dropout": {"input_dropout": 0.4, "num_layers": 2, "direction": "bidirectional", "highway": True},
    "input_dropout_attention": {"input_dropout": 0.4, "lanes": 2, "lane_pooling": "attention"},
    "per_gate_dropout": {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "per-gate", "num_layers": 2},
    "per_gate_dropout_rows": {
        "recurrent_dropout": 0.4,
        "recurrent_dropout_kind": "per-gate",
        "lanes": 2,
        "num_blocks": 2,
        "highway": True,
        "proj_size": 2,
        "layer_norm": "joint",
    },
    "candidate_dropout": {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "candidate", "num_layers": 2},
    "candidate_dropout_lanes": {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "candidate", "lanes": 3},
    "weight_dropout": {"weight_dropout": 0.4, "num_layers": 2, "direction": "bidirectional"},
    "zoneout": {"zoneout_hidden": 0.4, "zoneout_cell": 0.3, "num_layers": 2, "direction": "bidirectional"},
    "zoneout_dropout_projection": {"zoneout_hidden": 0.4, "recurrent_dropout": 0.4, "proj_size": 2},
    "zoneout_lanes": {"zoneout_cell": 0.4, "lanes": 2, "peephole": True, "cell_clip": 0.4},
    "slstm": {"cell": "slstm"},
    "slstm_heads": {"cell": "slstm", "num_heads": 2, "num_layers": 2, "direction": "bidirectional", "bias": "single"},
    "slstm_exponential": {"cell": "slstm", "exponential_forget": True, "bias": "none"},
    "slstm_masks": {
        "cell": "slstm",
        "num_heads": 2,
        "weight_dropout": 0.3,
        "recurrent_dropout": 0.3,
        "input_dropout": 0.3,
        "zoneout_hidden": 0.3,
        "zoneout_cell": 0.3,
    },
    "minlstm": {"cell": "minlstm", "num_layers": 2, "direction": "alternating"},
    "minlstm_masks": {"cell": "minlstm", "zoneout_hidden": 0.3, "zoneout_cell": 0.3, "input_dropout": 0.3},
    "minlstm_learned": {"cell": "minlstm", "learned_state": True, "bias": "single", "residual": True, "num_layers": 2},
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


def draw_masks(spec: LSTMSpec, draw: np.random.Generator, B: int, T: int) -> dict[str, Array] | None:
    """All masks that the spec has, about half of each 0; None in evaluation, where it has none."""
    H, P, lanes = spec.hidden_size, spec.state_size, spec.lanes
    masks: dict[str, Array] = {}

    def add(name: str, p: float, *shape: int, scale: bool = True) -> None:
        if p:
            masks[name] = draw.integers(0, 2, shape) / (1 - p if scale else 1)

    for k in range(spec.num_layers):
        add(f"dropout_l{k}", spec.dropout * (k > 0), T, B, spec.output_size)
        for own in (f"_l{k}", f"_l{k}_reverse")[: spec.num_directions]:
            groups = lanes * len(spec.gate_names.replace("r", "")) + spec.highway
            kinds = {"state": (B, P), "per-gate": (groups, B, P), "candidate": (T, B, lanes * H)}
            add(f"input{own}", spec.input_dropout, B, spec.layer_input_size(k))
            add(f"recurrent{own}", spec.recurrent_dropout, *kinds[spec.recurrent_dropout_kind])
            if spec.weight_dropout:
                add(f"weight{own}", spec.weight_dropout, *parameters(spec)[f"weight_hh{own}"].shape)
            add(f"zoneout_hidden{own}", spec.zoneout_hidden, T, B, P, scale=False)
            add(f"zoneout_cell{own}", spec.zoneout_cell, T, B, lanes * H, scale=False)
    return masks or None


class Case:
    """A spec, every input of a call and probes for every output, drawn at random."""

    def __init__(self, spec: LSTMSpec, lengths: list[int] | None, states: bool, B: int = 3, T: int = 3) -> None:
        draw = np.random.default_rng(0)
        self.spec, self.lengths, self.time = spec, lengths, T
        axes = (B, T) if spec.batch_first else (T, B)
        n, D, H = spec.num_layers * spec.num_directions, spec.num_directions, spec.hidden_size
        self.values = {name: draw.normal(0, 0.6, p.shape) for name, p in parameters(spec).items()}
        self.parameter_names = tuple(self.values)
        self.values["x"] = draw.normal(size=(*axes, spec.input_size))
        slots, flat = ((spec.slots,), (D * spec.slots, H)) if spec.slots > 1 else ((), (D * H,))
        if states:
            self.values["h_0"] = draw.normal(size=(n, B, spec.state_size))
            self.values["c_0"] = draw.normal(size=(n, B, *slots, spec.hidden_size))
            if spec.cell == "slstm":  # its normaliser is a sum of exponentials
                self.values["c_0"][:, :, 1] = draw.uniform(0.5, 1.5, (n, B, spec.hidden_size))
        self.masks = draw_masks(spec, draw, B, T)
        self.probes = {
            "y": draw.normal(size=(*axes, spec.output_size)),
            "h_n": draw.normal(size=(n, B, spec.state_size)),
            "c_n": draw.normal(size=(n, B, *slots, spec.hidden_size)),
            "c_all": draw.normal(size=(*axes, *flat)),
        }
        lines = {name: draw.normal(size=v.shape) for name, v in self.values.items()}
        self.lines = {name: line / np.linalg.norm(line) for name, line in lines.items()}

    def run(self, *, differentiate: bool = False, changed: dict[str, Array] | None = None) -> oracle.Result:
        v = self.values | (changed or {})
        arrays, probes = {n: v[n] for n in self.parameter_names}, self.probes if differentiate else None
        states = v.get("h_0"), v.get("c_0")
        return oracle.run(self.spec, arrays, v["x"], *states, self.lengths, masks=self.masks, probes=probes)

    def along(self, lines: dict[str, Array]) -> Callable[[float], float]:
        """The probed sum, as a function of how far some of the inputs have moved along a line."""

        def probed_sum(s: float) -> float:
            result = self.run(changed={key: self.values[key] + s * line for key, line in lines.items()})
            return float(sum(np.sum(getattr(result, name) * probe) for name, probe in self.probes.items()))

        return probed_sum


def kinked(fields: dict[str, Any]) -> bool:
    """Has it a kink, or a norm, which varies fast where the numbers of a vector are close to each other?"""
    kinks = {"lane_pooling", "layer_norm", "cell", "gate_activation", "cell_activation", "output_activation"}
    return bool(kinks & set(fields)) or any("clip" in field for field in fields)


@pytest.mark.parametrize("lengths", [None, [2, 0, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", SPECS)
def test_gradient_is_the_slope_along_a_random_line_of_all_inputs(name: str, lengths: list[int] | None) -> None:
    case = Case(LSTMSpec(3, 4, **SPECS[name]), lengths, states="learned_state" not in SPECS[name])
    step = KINKED if kinked(SPECS[name]) else SMOOTH
    found = case.run(differentiate=True).gradients
    assert found.keys() == case.values.keys()
    products = {key: float(np.sum(found[key] * line)) for key, line in case.lines.items()}

    def measured(lines: dict[str, Array]) -> Any:
        return pytest.approx(slope(case.along(lines), step), rel=BOUNDS[step], abs=BOUNDS[step])

    if sum(products.values()) != measured(case.lines):
        wrong = [key for key, line in case.lines.items() if products[key] != measured({key: line})]
        pytest.fail(f"the gradient of {' and '.join(wrong) or 'none alone, but of their sum'} is not the slope")


def test_gradient_is_the_slope_along_every_axis() -> None:
    case = Case(LSTMSpec(2, 2, peephole=True, proj_size=1), [2, 1], states=True, B=2, T=2)
    found = case.run(differentiate=True).gradients
    for key, value in case.values.items():
        for at in np.ndindex(value.shape):
            unit = np.zeros_like(value)
            unit[at] = 1.0
            expected = slope(case.along({key: unit}), SMOOTH)
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


def test_long_sequences_do_not_meet_the_recursion_limit() -> None:
    case = Case(LSTMSpec(1, 1), None, states=True, B=1, T=1500)
    assert np.isfinite(case.run(differentiate=True).gradients["h_0"]).all()


def test_three_bidirectional_layers_with_gradients_do_not_hang() -> None:
    """It takes a second or less; a tape that walked every path instead of every node would take hours."""
    case = Case(LSTMSpec(4, 5, num_layers=3, direction="bidirectional"), None, states=True, B=3, T=6)
    start = time.process_time()
    case.run(differentiate=True)
    assert time.process_time() - start < 60.0
