"""The oracle computes what haste, array-lstm and lmp computed: norms, zoneout, lanes and memory blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from test_oracle_golden import Array, Golden, assert_close, golden, golden_cases
from unilstm import LSTMSpec
from unilstm_conformance import oracle

pytestmark = pytest.mark.filterwarnings("error")


def assert_golden(result: oracle.Result, g: Golden, gradients: dict[str, Array]) -> None:
    """Outputs, and gradients by canonical name; float64's rounding is all that may differ."""
    for name, expected in g.outputs.items():
        assert_close(getattr(result, name), expected.reshape(getattr(result, name).shape), 1e-12, name)
    assert set(gradients) >= set(result.gradients) - {"h_0", "c_0"}
    for name, expected in gradients.items():
        assert_close(result.gradients[name], expected, 1e-12, f"gradient of {name}")


def reordered(stored: Array, lanes: int, order: str) -> Array:
    """Rows, lane by lane the gates in that order → the gates i f g o."""
    blocks = stored.reshape(lanes, len(order), -1, *stored.shape[1:])
    return blocks[:, [order.index(letter) for letter in "ifgo"]].reshape(stored.shape)


def haste_arrays(stored: dict[str, Array]) -> dict[str, Array]:
    """Gates i g f o, in columns; gamma [2, 4H] of the input's product and of the state's."""
    names = {"kernel": "weight_ih_l0", "recurrent_kernel": "weight_hh_l0", "bias": "bias_l0"}
    arrays = {canonical: reordered(stored[name].T, 1, "igfo") for name, canonical in names.items()}
    if "gamma" in stored:
        arrays["gamma_ih_l0"], arrays["gamma_hh_l0"] = (reordered(γ, 1, "igfo") for γ in stored["gamma"])
        arrays["gamma_c_l0"], arrays["beta_c_l0"] = stored["gamma_h"], stored["beta_h"]
    return arrays


@pytest.mark.parametrize("case", golden_cases("haste"))
def test_outputs_and_gradients_equal_haste(case: str) -> None:
    g, i = golden(case), golden(case).inputs
    norm = "joint" if g.config["layer_norm"] else "none"
    spec = LSTMSpec(4, 6, batch_first=False, bias="single", layer_norm=norm, zoneout_hidden=g.config["zoneout"])
    masks = {"zoneout_hidden_l0": i["zoneout_mask"]} if "zoneout_mask" in i else None
    probes = {"y": i["p_y"], "c_n": i["p_c_n"]}
    result = oracle.run(spec, haste_arrays(g.weights), i["x"], i["h_0"], i["c_0"], masks=masks, probes=probes)
    assert_golden(result, g, haste_arrays(g.gradients) | {"x": g.gradients["x"]})


POOLINGS = {"array": "sum", "stochastic": "argmax", "attention": "attention", "attention_max": "attention-max"}


def arraylstm_arrays(stored: dict[str, Array], lanes: int) -> dict[str, Array]:
    """Lane by lane the gates f i o g."""
    names = {"weight_ih": "i2h.weight", "weight_hh": "h2h.weight", "bias_ih": "i2h.bias", "bias_hh": "h2h.bias"}
    arrays = {f"{role}_l0": reordered(stored[name], lanes, "fiog") for role, name in names.items()}
    attention = {"weight_xa_l0": "i2a.weight", "bias_xa_l0": "i2a.bias"}
    return arrays | {name: stored[foreign] for name, foreign in attention.items() if foreign in stored}


@pytest.mark.parametrize("case", golden_cases("arraylstm"))
def test_outputs_and_gradients_equal_arraylstm(case: str) -> None:
    g, lanes = golden(case), golden(case).config.get("k", 1)
    pooling = POOLINGS.get(case.partition("/")[2], "sum")
    spec = LSTMSpec(4, 6, lanes=lanes, lane_pooling=pooling)
    arrays, gradients = (arraylstm_arrays(stored, lanes) for stored in (g.weights, g.gradients))
    result = oracle.run(spec, arrays, g.inputs["x"], probes={"y": g.inputs["p_y"]})
    g.outputs["c_n"] = g.outputs["c_n"].swapaxes(0, 1)[None]  # [lanes, B, H] there
    assert_golden(result, g, gradients | {"x": g.gradients["x"]})


LMP: dict[str, dict[str, Any]] = {
    "1997": {"gates": ("input", "output")},
    "2000": {},
    "2002": {"peephole": True},
}


def lmp_arrays(stored: dict[str, Array]) -> dict[str, Array]:
    """Each gate by itself, i f o with a row a block; the peepholes have the axes of c."""
    gates = {"i": "ig", "f": "fg", "g": "mc_in", "o": "og"}
    there = [name for name in gates.values() if f"fc_x2{name}.weight" in stored]

    def rows(pattern: str) -> Array:
        return np.concatenate([stored[pattern.format(name)] for name in there])

    roles = {"weight_ih": "fc_x2{}.weight", "weight_hh": "fc_h2{}.weight", "bias": "fc_x2{}.bias"}
    arrays = {f"{role}_l0": rows(pattern) for role, pattern in roles.items()}
    if "pc_c2ig" in stored:
        arrays["weight_ch_l0"] = np.concatenate([stored[f"pc_c2{gates[letter]}"].ravel() for letter in "ifo"])
    return arrays


@pytest.mark.parametrize("year", LMP)
def test_every_step_and_gradients_equal_lmp(year: str) -> None:
    """lmp returns each step's c, probed here, and neither of the final states."""
    g, i = golden(f"lmp/layer_{year}"), golden(f"lmp/layer_{year}").inputs
    flat = {name: i[name].reshape(1, 3, 6) for name in ("h_0", "c_0")}
    spec = LSTMSpec(4, 6, num_blocks=g.config["n_blk"], bias="single", **LMP[year])
    probes = {"y": i["p_y"], "c_all": i["p_c_all"].reshape(3, 5, 6)}
    result = oracle.run(spec, lmp_arrays(g.weights), i["x"], **flat, probes=probes)
    gradients = {name: g.gradients[name].reshape(1, 3, 6) for name in flat} | {"x": g.gradients["x"]}
    assert_golden(result, g, lmp_arrays(g.gradients) | gradients)


def test_no_golden_layer_is_left_out() -> None:
    assert set(golden_cases("lmp")) - {f"lmp/language_model_{year}" for year in LMP} == {f"lmp/layer_{y}" for y in LMP}
    assert {case.partition("/")[2] for case in golden_cases("arraylstm")} == {"lstm", *POOLINGS}
    assert {golden(case).config["zoneout"] for case in golden_cases("haste")} == {0.0, 0.2, 0.3}
