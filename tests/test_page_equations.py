"""The equations that a variant's page shows, read as they stand and computed, are what the layer computes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import close, numbers
from unilstm.parameters import layer_parameters
from variant_pages import spec_of, text

# Those written without indices, sums and cases.
PLAIN = [
    "vanilla", "peephole", "cifg", "no-input-gate", "no-forget-gate", "no-output-gate", "no-input-activation",
    "no-output-activation", "full-gate-recurrence", "projected", "alternating-highway", "minlstm",
]  # fmt: skip
LETTERS = {"weight_ih": "W", "weight_hh": "R", "weight_ch": "V"}


def equations(page: str) -> list[str]:
    """The lines as Python: two letters side by side are a matrix and a vector; a prime becomes _old."""
    (block,) = re.findall(r"## Equations\n\n```\n(.*?)```", text(page), re.DOTALL)
    lines = [re.split(r" {3,}", line)[0] for line in block.replace("′", "_old").replace("−", "-").splitlines()]
    return [re.sub(r"\b([WRG]_\w+) (?=[\w(])", r"\1 @ ", line) for line in lines]


def named(spec: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of layer 0 under the page's letters: W_i, R_i, V_i, b_i, G_if."""
    found: dict[str, Any] = {}
    for p in layer_parameters(spec, 0, 0):
        array = arrays[p.name]
        for gate, rows in p.rows():
            if p.role == "weight_gg":
                found |= {f"G_{gate}{sender}": array[rows, columns] for sender, columns in p.rows()}
            elif p.role.startswith("bias"):
                found[f"b_{gate}"] = found.get(f"b_{gate}", 0.0) + array[rows]
            else:
                found[f"{LETTERS[p.role]}_{gate}"] = array[rows]
    others = {"W_hr": "weight_hr_l0", "W_xh": "weight_xh_l0", "b_xh": "bias_xh_l0"}
    return found | {letter: arrays[name] for letter, name in others.items() if name in arrays}


@pytest.mark.parametrize("page", PLAIN)
def test_equations_compute_what_the_layer_computes(page: str) -> None:
    spec = spec_of(page)
    spec = spec.replace(num_layers=1, direction="forward") if spec.num_layers > 1 else spec
    weights = unilstm.LSTM(spec, seed=4, dtype="float64").weights()
    x, h, c = (
        numbers(spec.input_size),
        numbers(spec.state_size, stream=1),
        numbers(spec.slots, spec.hidden_size, stream=2),
    )
    known: dict[str, Any] = {"x": x, "h_old": h, "c_old": c[0], "σ": lambda v: 1 / (1 + np.exp(-v))}
    known |= {"φ": np.tanh, "ψ": np.tanh, **named(spec, dict(weights))}
    known |= {f"{gate}_old": value for gate, value in zip("ifo", c[1:], strict=False)}
    for line in equations(page):
        exec(line, known)
    state = (h[None, None], c[None] if spec.slots == 1 else c[None, None])
    y, (_, c_n) = unilstm.LSTM(weights)(x[None, None], state)
    close(known["h"], y[0, 0])
    close(known["c"], c_n[0, 0] if spec.slots == 1 else c_n[0, 0, 0])
