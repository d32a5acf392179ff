"""Parameters as data, and initial weights that are the same everywhere and for ever."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import require
from unilstm import LSTMSpec, SpecError, Weights
from unilstm.parameters import initial_values, parameter_count, parameters

SPECS = [
    LSTMSpec(4, 6),
    LSTMSpec(4, 6, num_layers=2, direction="bidirectional"),
    LSTMSpec(4, 6, num_layers=2, proj_size=3, bias=False),
    LSTMSpec(3, 5, num_layers=3, direction="bidirectional", proj_size=2),
]


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_names_shapes_and_order_are_those_of_torch(spec: LSTMSpec) -> None:
    require("torch")
    import torch

    theirs = torch.nn.LSTM(
        spec.input_size, spec.hidden_size, spec.num_layers, bias=spec.bias == "double",
        bidirectional=spec.num_directions == 2, proj_size=spec.proj_size,
    )  # fmt: skip
    ours = {name: p.shape for name, p in parameters(spec).items()}
    assert list(ours.items()) == [(name, tuple(value.shape)) for name, value in theirs.state_dict().items()]
    assert parameter_count(spec) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("init", ["torch", "keras", "orthogonal"])
def test_a_seed_gives_the_same_weights_on_every_backend(backend: Any, init: str) -> None:
    layer = unilstm.LSTM(4, 6, num_layers=2, peephole=True, backend=backend.name, seed=5, init=init)
    assert layer.weights() == Weights.initial(layer.spec, 5, init)


def test_initial_weights_never_change_between_releases() -> None:
    values = initial_values(LSTMSpec(2, 3), 0)["weight_ih_l0"]
    expected = [[0.31485954682139505, -0.4401328931874388], [-0.12252371439223433, -0.30679220337645025]]
    np.testing.assert_array_equal(values[:2], expected)


def test_seeds_and_parameters_are_independent_of_each_other() -> None:
    few, many = (initial_values(LSTMSpec(4, 6, num_layers=n), 3) for n in (1, 2))
    assert all(np.array_equal(few[name], many[name]) for name in few)
    assert not np.array_equal(few["bias_ih_l0"], few["bias_hh_l0"])
    assert not np.array_equal(few["bias_ih_l0"], initial_values(LSTMSpec(4, 6), 4)["bias_ih_l0"])


def test_torch_scheme_fills_its_interval_evenly() -> None:
    values = initial_values(LSTMSpec(50, 64), 1)["weight_ih_l0"] * 8.0
    assert -1.0 <= values.min() < -0.99
    assert 0.99 < values.max() < 1.0
    assert abs(values.mean()) < 0.02
    assert abs(values.var() - 1 / 3) < 0.01


@pytest.mark.parametrize("init", ["keras", "orthogonal"])
@pytest.mark.parametrize("bias", ["double", "single"])
def test_forget_bias_is_one_in_total(init: str, bias: str) -> None:
    values = initial_values(LSTMSpec(4, 6, bias=bias), 1, init)
    total = sum(v for name, v in values.items() if name.startswith("bias"))
    np.testing.assert_array_equal(total, np.repeat([0.0, 1.0, 0.0, 0.0], 6))


def test_keras_recurrent_kernel_is_orthogonal_as_a_whole() -> None:
    kernel = initial_values(LSTMSpec(4, 6), 1, "keras")["weight_hh_l0"].T  # (H, 4H): its rows are orthonormal
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(6), atol=1e-14)


def test_orthogonal_recurrent_kernel_is_orthogonal_gate_by_gate() -> None:
    for gate in initial_values(LSTMSpec(4, 6), 1, "orthogonal")["weight_hh_l0"].reshape(4, 6, 6):
        np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-14)


def test_learned_states_start_at_zero() -> None:
    assert not initial_values(LSTMSpec(4, 6, learned_state=True), 1)["h_0_l0"].any()


def test_unknown_scheme_lists_those_there_are() -> None:
    with pytest.raises(SpecError, match="init='he' is unknown. Choose one of: torch, keras, orthogonal"):
        unilstm.LSTM(4, 6, init="he", seed=0)


@pytest.mark.parametrize("seed", [-1, 2**64, True])
def test_a_seed_outside_64_bits_is_refused(seed: Any) -> None:
    with pytest.raises(unilstm.InputError, match="must be a whole number in"):
        unilstm.LSTM(4, 6, seed=seed)


def test_without_a_seed_the_frameworks_own_generator_decides() -> None:
    require("torch")
    import torch

    first, second = [], []
    for found in (first, second):
        torch.manual_seed(3)
        found += [unilstm.LSTM(4, 6, backend="torch").weights() for _ in range(2)]
    assert first == second
    assert first[0] != first[1]
