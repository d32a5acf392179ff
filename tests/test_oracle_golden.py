"""The oracle computes what torch, Paddle, Keras, onnxruntime and AllenNLP computed."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from unilstm import LSTMSpec
from unilstm.parameters import parameters
from unilstm_conformance import oracle

pytestmark = pytest.mark.filterwarnings("error")

Array = np.ndarray[Any, np.dtype[Any]]
GOLDEN = importlib.resources.files("unilstm_conformance") / "golden"


@dataclass
class Golden:
    config: dict[str, Any]
    weights: dict[str, Array]
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    gradients: dict[str, Array]


def golden(case: str) -> Golden:
    with (GOLDEN / f"{case}.npz").open("rb") as file, np.load(file, allow_pickle=False) as npz:
        config = json.loads(str(npz["meta"]))["config"]
        kinds = ({k[len(p) :]: npz[k] for k in npz.files if k.startswith(p)} for p in ("w/", "in/", "out/", "grad/"))
        return Golden(config, *kinds)


def golden_cases(system: str) -> list[str]:
    return sorted(f"{system}/{f.name[:-4]}" for f in (GOLDEN / system).iterdir() if f.name.endswith(".npz"))


def assert_close(actual: Array, expected: Array, bound: float, what: str) -> None:
    """Within bound, absolute where the expected value is below 1 and relative above."""
    assert actual.shape == expected.shape, f"{what}.shape={actual.shape}, but should be {expected.shape}"
    error = np.abs(actual - expected) / np.maximum(1.0, np.abs(expected))
    if error.size and not error.max() <= bound:
        at = np.unravel_index(int(np.argmax(error)), error.shape)
        found, wanted = actual[at], expected[at]
        raise AssertionError(f"{what}[{at}]={found!r}, but should be {wanted!r}: error {error.max():.3g} > {bound:.3g}")


def assert_result(result: oracle.Result, g: Golden, bound: float) -> None:
    for name in ("y", "h_n", "c_n"):
        assert_close(getattr(result, name), g.outputs[name], bound, name)


# Paddle 3.3.1 gets these wrong: in the gradient of the backward direction's weight_hh it takes 0 for the initial h of
# each row that is shorter than the batch. Difference quotients of Paddle's own outputs do not agree with it either.
WRONG = {"paddle/bidirect_lengths": ("weight_hh_l0_reverse", "weight_hh_l1_reverse")}


@pytest.mark.parametrize("case", golden_cases("torch") + golden_cases("paddle"))
def test_outputs_and_gradients_equal_golden(case: str) -> None:
    g = golden(case)
    c = dict(g.config)
    c["batch_first"] = not c.pop("time_major", False) if "paddle" in case else c["batch_first"]
    c["direction"] = "bidirectional" if c.pop("bidirectional", False) or c.get("direction") == "bidirect" else "forward"
    # Paddle's files hold each tensor a second time, under its names of the form 0.cell.weight_ih.
    w = {k: v for k, v in g.weights.items() if "cell" not in k}
    p = {"y": g.inputs["p_y"], "h_n": g.inputs["p_h"], "c_n": g.inputs["p_c"]}
    i = g.inputs
    result = oracle.run(LSTMSpec(**c), w, i["x"], i["h_0"], i["c_0"], i.get("lengths"), probes=p)
    assert_result(result, g, 1e-12)
    assert result.gradients.keys() == g.gradients.keys()
    for name, expected in g.gradients.items():
        if name in WRONG.get(case, ()):  # once a new golden file is right, this says so
            assert np.abs(result.gradients[name] - expected).max() > 0.1
            continue
        assert_close(result.gradients[name], expected, 1e-12, f"gradient of {name}")


KERAS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "no_bias": {"bias": "none"},
    "activations": {
        "gate_activation": ("hard_sigmoid", 1 / 6, 0.5),
        "cell_activation": "relu",
        "output_activation": "relu",
    },
    "go_backwards": {"direction": "reverse"},
    "bidirectional": {"direction": "bidirectional"},
    "bidirectional_sum": {"direction": "bidirectional", "merge": "sum"},
}


@pytest.mark.parametrize("case", KERAS)
def test_outputs_equal_keras(case: str) -> None:
    g = golden(f"keras/{case}")
    names = {"kernel": "weight_ih_l0", "recurrent_kernel": "weight_hh_l0", "bias": "bias_l0"}
    w = {names[k.split("/")[-1]] + "_reverse" * ("backward" in k): v.T for k, v in g.weights.items()}
    if case == "go_backwards":  # Keras leaves the outputs in the order they were computed in
        g.outputs["y"] = g.outputs["y"][:, ::-1]
    # Keras's σ and tanh had float32's accuracy here although everything was float64, not so its relu and hard_sigmoid.
    bound = 1e-12 if case == "activations" else 2**-23
    assert_result(oracle.run(LSTMSpec(4, 6, **({"bias": "single"} | KERAS[case])), w, g.inputs["x"]), g, bound)


ONNX: dict[str, dict[str, Any]] = {
    "defaults": {"bias": False},
    "bias": {},
    "peepholes": {"peephole": True},
    "reverse_peepholes": {"peephole": True, "direction": "reverse"},
    "initial_bidirectional_peepholes": {"peephole": True, "direction": "bidirectional"},
    "bidirectional_lengths": {"direction": "bidirectional"},
    "clip": {"gate_clip": 0.3},
    "input_forget": {"coupled_gates": True},
    "activations": {
        "gate_activation": ("hard_sigmoid", 0.2, 0.5),
        "cell_activation": "softsign",
        "output_activation": "relu",
    },
    "activations_alpha": {
        "gate_activation": ("hard_sigmoid", 0.3, 0.4),
        "cell_activation": ("elu", 0.7),
        "output_activation": ("leaky_relu", 0.1),
    },
}


def onnx_arrays(spec: LSTMSpec, weights: dict[str, Array]) -> dict[str, Array]:
    """W, R and B=[Wb, Rb] have gates i o f c, P has i o f. With input_forget, f's rows are there and not used."""
    H = spec.hidden_size
    roles = {"weight_ih": "W", "weight_hh": "R", "bias_ih": "B", "bias_hh": "B", "weight_ch": "P"}
    arrays = {}
    for name, p in parameters(spec).items():
        stored = weights[roles[p.role]][p.direction]
        stored = stored[4 * H :] if p.role == "bias_hh" else stored
        at = ["iofg".index(letter) * H for letter in p.gates]
        arrays[name] = np.concatenate([stored[n : n + H] for n in at])
    return arrays


@pytest.mark.parametrize("case", ONNX)
def test_outputs_equal_onnxruntime(case: str) -> None:
    g, i = golden(f"onnx/{case}"), golden(f"onnx/{case}").inputs
    spec = LSTMSpec(4, 6, batch_first=False, **ONNX[case])
    y = g.outputs["y"]  # [T, D, B, H]
    g.outputs["y"] = np.concatenate([y[:, d] for d in range(y.shape[1])], axis=-1)
    arrays = onnx_arrays(spec, g.weights)
    result = oracle.run(spec, arrays, i["x"], i.get("h_0"), i.get("c_0"), i.get("lengths"))
    assert_result(result, g, 2e-5)  # onnxruntime computes in float32


def allennlp_spec(config: dict[str, Any]) -> LSTMSpec:
    """The layers alternate. The state always has a bias; the input has one unless use_input_projection_bias is off."""
    c = {"use_highway": True, "use_input_projection_bias": True, "recurrent_dropout_probability": 0.0} | config
    return LSTMSpec(
        c["input_size"],
        c["hidden_size"],
        c["num_layers"],
        direction="alternating",
        bias="double" if c["use_input_projection_bias"] else "single",
        highway=c["use_highway"],
        recurrent_dropout=c["recurrent_dropout_probability"],
    )


def allennlp_arrays(spec: LSTMSpec, stored: dict[str, Array]) -> dict[str, Array]:
    """Weights or their gradients. input_linearity has the gates i f g o r, then what the highway carries (with highway;
    else neither), state_linearity has the gates only."""
    roles = {"weight_ih": "input_linearity.weight", "weight_hh": "state_linearity.weight"}
    roles |= {"bias_ih": "input_linearity.bias", "bias_hh": "state_linearity.bias", "bias": "state_linearity.bias"}
    roles |= {"weight_xh": "input_linearity.weight", "bias_xh": "input_linearity.bias"}
    arrays, rows = {}, len(spec.gate_names) * spec.hidden_size
    for name, p in parameters(spec).items():
        whole = stored[f"layer_{p.layer}.cell.{roles[p.role]}"]
        arrays[name] = whole[rows:] if p.role.endswith("_xh") else whole[:rows]
    assert sum(a.size for a in arrays.values()) == sum(a.size for k, a in stored.items() if k != "x")
    return arrays


@pytest.mark.parametrize("case", golden_cases("allennlp"))
def test_outputs_and_gradients_equal_allennlp(case: str) -> None:
    """AllenNLP passes no gradient through the final states of rows that end early. These files probe y alone, so no
    gradient depends on that, and those of the ragged batches are compared as well."""
    g, i = golden(case), golden(case).inputs
    assert [k for k in i if k.startswith("p_")] == ["p_y"]
    spec = allennlp_spec(g.config)
    arrays, masks = allennlp_arrays(spec, g.weights), i.get("recurrent_mask")
    named = None if masks is None else {f"recurrent_l{k}": mask for k, mask in enumerate(masks)}
    states = i["h_0"], i["c_0"], i["lengths"]
    result = oracle.run(spec, arrays, i["x"], *states, masks=named, probes={"y": i["p_y"]})
    assert_result(result, g, 1e-12)
    expected = {**allennlp_arrays(spec, g.gradients), "x": g.gradients["x"]}
    assert set(expected) == set(result.gradients) - {"h_0", "c_0"}
    for name, gradient in expected.items():
        assert_close(result.gradients[name], gradient, 1e-12, f"gradient of {name}")
