"""unilstm.port of other systems' layers as they are, beside the layer itself."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import close, numbers, require
from porting_layers import (
    F,
    H,
    Pair,
    T,
    X,
    jax,
    keras,
    keras_lstm,
    linen_cell,
    nn,
    nnx,
    nnx_cell,
    of_equinox,
    of_haiku,
    of_keras,
    of_linen,
    of_nnx,
    sequential,
    stack,
    torch,
)
from unilstm import LSTMSpec, PortError, porting
from unilstm_conformance.tolerances import PAIR_FACTOR, eps, output_units

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

PLAIN = LSTMSpec(F, H, bias="single")
HARD: Any = ("hard_sigmoid", 1 / 6, 0.5)
RELU = {"cell_activation": "relu", "output_activation": "relu"}
TWO = PLAIN.replace(direction="bidirectional")
CASES: dict[str, tuple[Callable[[], Pair], LSTMSpec]] = {
    "keras": (lambda: of_keras(keras_lstm(unit_forget_bias=False)), PLAIN),
    "keras-activations": (
        lambda: of_keras(keras_lstm(activation="relu", recurrent_activation="hard_sigmoid", use_bias=False)),
        PLAIN.replace(gate_activation=HARD, bias="none", **RELU),
    ),
    "keras-backwards": (
        lambda: of_keras(keras_lstm(go_backwards=True, dropout=0.1)),
        PLAIN.replace(direction="reverse", input_dropout=0.1),
    ),
    "keras-rnn": (
        lambda: of_keras(keras.layers.RNN(keras.layers.LSTMCell(H, recurrent_dropout=0.2), return_sequences=True)),
        PLAIN.replace(recurrent_dropout=0.2, recurrent_dropout_kind="per-gate"),
    ),
    "keras-bidirectional": (
        lambda: of_keras(keras.layers.Bidirectional(keras_lstm(), merge_mode="ave")),
        TWO.replace(merge="average"),
    ),
    "keras-sequential": (lambda: of_keras(sequential()), TWO.replace(num_layers=2)),
    "linen": (lambda: of_linen(nn.RNN(nn.LSTMCell(H))), PLAIN),
    "linen-cell": (linen_cell, PLAIN),
    "linen-activations": (
        lambda: of_linen(
            nn.RNN(
                nn.OptimizedLSTMCell(H, gate_fn=nn.hard_sigmoid, activation_fn=nn.relu), reverse=True, keep_order=True
            )
        ),
        PLAIN.replace(gate_activation=HARD, direction="reverse", **RELU),
    ),
    "linen-bidirectional": (
        lambda: of_linen(nn.Bidirectional(nn.RNN(nn.LSTMCell(H)), nn.RNN(nn.LSTMCell(H)))),
        TWO,
    ),
    "nnx": (
        lambda: of_nnx(nnx.RNN(nnx_cell(activation_fn=jax.nn.soft_sign))),
        PLAIN.replace(cell_activation="softsign", output_activation="softsign"),
    ),
    "nnx-bidirectional": (
        lambda: of_nnx(nnx.Bidirectional(*(nnx.RNN(nnx_cell("OptimizedLSTMCell")) for _ in range(2)))),
        TWO,
    ),
    "equinox": (of_equinox, PLAIN),
    "equinox-no-bias": (lambda: of_equinox(use_bias=False), PLAIN.replace(bias="none")),
    "haiku": (of_haiku, PLAIN),
}
# Each on NumPy, which compiles nothing; one of each system on torch, too, and some on the others.
RUNS = [(case, "numpy") for case in CASES]
RUNS += [(case, "torch") for case in ("keras-bidirectional", "linen", "nnx", "equinox", "haiku")]
RUNS += [("keras-bidirectional", "jax"), ("linen", "paddle"), ("nnx", "jax"), ("haiku", "paddle")]


@functools.cache
def made(case: str) -> Pair:
    return CASES[case][0]()


@pytest.mark.parametrize(("case", "to"), RUNS)
def test_the_ported_layer_computes_what_the_layer_does(case: str, to: str) -> None:
    backend = require(to)
    (layer, want), spec = made(case), CASES[case][1]
    ported = unilstm.port(layer, to=to)
    assert ported.spec == spec
    if to in ("torch", "paddle"):
        ported.eval()
    y = backend.array(ported(backend.tensor(X))[0].detach() if to == "torch" else ported(backend.tensor(X))[0])
    close(y, want, PAIR_FACTOR * output_units(spec, T) * eps("float32") * np.abs(want).max())


def test_every_system_of_the_table_is_ported_here_or_by_its_backend() -> None:
    cases = {"flax" if case.startswith("linen") else case.partition("-")[0] for case in CASES}
    assert cases | {"torch", "paddle"} == set(porting.LAYOUTS)


def test_a_list_of_layers_of_any_systems_is_a_stack() -> None:
    layers, want = stack()
    with pytest.raises(PortError, match="layer 1 has bias='none', layer 0 'double'"):
        unilstm.port([torch.nn.LSTM(F, H, batch_first=True), *layers[1:]], to="numpy")
    ported = unilstm.port(layers, to="numpy")
    assert ported.spec == LSTMSpec(F, H, num_layers=3, bias="none")
    close(ported(X)[0], want, PAIR_FACTOR * output_units(ported.spec, T) * eps("float32") * np.abs(want).max())


def test_time_major_modules_take_time_first() -> None:
    module = nn.RNN(nn.LSTMCell(H), time_major=True)
    cell = {f"i{g}": {"kernel": numbers(F, H)} for g in "ifgo"}
    cell |= {f"h{g}": {"kernel": numbers(H, H), "bias": numbers(H)} for g in "ifgo"}
    assert unilstm.port(module.bind({"params": {"cell": cell}}), to="numpy").spec == PLAIN.replace(batch_first=False)
    assert unilstm.port(nnx.RNN(nnx_cell(), time_major=True), to="numpy").spec == PLAIN.replace(batch_first=False)


def test_recognising_a_layer_imports_no_framework() -> None:
    """Whatever is given, and nothing of it can be of a framework that has not been imported."""
    code = "import sys, unilstm\ntry: unilstm.port({}, to='numpy')\nexcept unilstm.PortError: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "unilstm.porting.haiku" in loaded
    assert not {"keras", "flax", "equinox", "haiku", "jax", "torch", "unilstm.porting.keras"} & loaded
