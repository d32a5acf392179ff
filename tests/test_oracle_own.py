"""A user's own cell under the oracle: the same as the LSTM where it is one; its operations have values and slopes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from test_oracle import random_arrays
from test_oracle_gradients import Case
from test_tape import BOUNDS, KINKED, SMOOTH, slope
from unilstm import LSTMSpec, cells
from unilstm_conformance import oracle
from unilstm_conformance.oracle_own import OPS, Tensor
from unilstm_conformance.tape import Var, gradients

pytestmark = pytest.mark.filterwarnings("error")


def shapes(spec: LSTMSpec, inputs: int) -> dict[str, tuple[int, ...]]:
    rows = 4 * spec.hidden_size
    return {
        "weight_ih": (rows, inputs),
        "weight_hh": (rows, spec.hidden_size),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
        "weight_ch": (3 * spec.hidden_size,),
    }


def peephole_step(ops: Any, spec: LSTMSpec, p: Any, x: Any, state: Any) -> Any:
    """The LSTM with peepholes, as a user would write it."""
    h, c = state
    z = ops.linear(x, p["weight_ih"]) + p["bias_ih"] + ops.linear(h, p["weight_hh"]) + p["bias_hh"]
    (i, f, g, o), (v_i, v_f, v_o) = ops.split(z, 4), ops.split(p["weight_ch"], 3)
    c = ops.sigmoid(f + v_f * c) * c + ops.sigmoid(i + v_i * c) * ops.tanh(g)
    return ops.sigmoid(o + v_o * c) * ops.tanh(c), c


def norm_step(ops: Any, spec: LSTMSpec, p: Any, x: Any, state: Any) -> Any:
    """Two memories, one normalised and one clipped; numbers, comparisons and broadcasting."""
    h, c = state
    n, m = ops.split(c, 2)
    z = ops.linear(x, p["weight_ih"]) + ops.linear(h, p["weight_hh"])
    d = z - ops.sum(z) / spec.hidden_size
    d = d / ops.sqrt(ops.sum(d * d) / spec.hidden_size + 0.1)
    n = 0.5 * n + spec.cell_activation(ops, d * p["gamma"])
    m = ops.clip(m + ops.where(d > 0, d, -0.3 * d), -1.0, 1.0)
    return n - m * ops.full(0.5, m), ops.concat([n, m])


def norm_shapes(spec: LSTMSpec, inputs: int) -> dict[str, tuple[int, ...]]:
    H = spec.hidden_size
    return {"weight_ih": (H, inputs), "weight_hh": (H, H), "gamma": (H,)}


@pytest.fixture(autouse=True)
def own_cells() -> Iterator[None]:
    cells.cell("test-peephole", parameters=shapes)(peephole_step)
    cells.cell("test-norm", parameters=norm_shapes, slots=2, fields=frozenset({"cell_activation"}))(norm_step)
    yield
    cells.unregister("test-peephole")
    cells.unregister("test-norm")


LOOPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stack": {"num_layers": 3, "direction": "alternating", "residual": True, "dropout": 0.3},
    "bidirectional": {"num_layers": 2, "direction": "bidirectional", "merge": "mul", "batch_first": False},
    "learned": {"learned_state": True},
    "masks": {"input_dropout": 0.3, "recurrent_dropout": 0.3, "weight_dropout": 0.3},
    "zoneout": {"zoneout_hidden": 0.3, "zoneout_cell": 0.4, "direction": "reverse"},
}


@pytest.mark.parametrize("lengths", [None, [2, 0, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", LOOPS)
def test_the_lstm_written_as_a_users_own_is_the_lstm(name: str, lengths: list[int] | None) -> None:
    """Values and gradients, with the loops and masks of every field that serves all cells."""
    states = "learned_state" not in LOOPS[name]
    theirs = Case(LSTMSpec(3, 4, peephole=True, **LOOPS[name]), lengths, states)
    own = Case(LSTMSpec(3, 4, cell="test-peephole", **LOOPS[name]), lengths, states)
    own.values, own.masks, own.parameter_names = theirs.values, theirs.masks, theirs.parameter_names
    got, want = own.run(differentiate=True), theirs.run(differentiate=True)
    for output in ("y", "h_n", "c_n", "c_all"):
        np.testing.assert_allclose(getattr(got, output), getattr(want, output), rtol=1e-13, atol=1e-15)
    assert got.gradients.keys() == want.gradients.keys()
    for key, gradient in want.gradients.items():
        np.testing.assert_allclose(got.gradients[key], gradient, rtol=1e-11, atol=1e-13, err_msg=key)


@pytest.mark.parametrize("name", LOOPS)
def test_gradients_of_a_cell_of_several_slots_are_slopes(name: str) -> None:
    case = Case(LSTMSpec(3, 4, cell="test-norm", cell_activation="softsign", **LOOPS[name]), [3, 1, 2], True)
    found = case.run(differentiate=True).gradients
    product = sum(float(np.sum(found[key] * line)) for key, line in case.lines.items())
    assert product == pytest.approx(slope(case.along(case.lines), KINKED), rel=BOUNDS[KINKED], abs=BOUNDS[KINKED])


def test_zoneout_holds_all_slots_of_a_cell_of_ones_own_by_one_mask() -> None:
    spec = LSTMSpec(3, 4, cell="test-norm", zoneout_cell=0.4)
    taken = np.array([[[1.0, 0.0, 0.0, 1.0]]])
    arrays, x, h_0, c_0 = random_arrays(spec, 1), np.ones((1, 1, 3)), np.ones((1, 1, 4)), np.full((1, 1, 2, 4), 0.3)
    new = oracle.run(spec.replace(zoneout_cell=0.0), arrays, x, h_0, c_0)
    got = oracle.run(spec, arrays, x, h_0, c_0, masks={"zoneout_cell_l0": taken})
    np.testing.assert_array_equal(got.c_n, np.where(taken[:, :, None] == 1, new.c_n, c_0))


def test_a_step_that_makes_states_of_other_shapes_is_refused() -> None:
    cells.cell("test-wrong", parameters=norm_shapes)(lambda ops, spec, p, x, state: (x, state[1]))
    try:
        spec = LSTMSpec(3, 4, cell="test-wrong")
        with pytest.raises(ValueError, match="test-wrong' made h and c of shapes \\(1, 3\\), \\(1, 4\\): not"):
            oracle.run(spec, random_arrays(spec, 1), np.ones((1, 1, 3)))
    finally:
        cells.unregister("test-wrong")


# The operations: values as NumPy's, and slopes.

A, B = np.array([[0.3, -1.2, 0.8, 2.5]]), np.array([0.5, 1.4, -1.7, 1.1])
OPERATIONS: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "+": (lambda a, b: 2 + a + b + 1, A + B + 3),
    "-": (lambda a, b: 1.5 - (a - b) - 1, 0.5 - A + B),
    "*": (lambda a, b: 3 * a * b * 0.5, 1.5 * A * B),
    "/": (lambda a, b: a / b + 1 / b + a / 4, A / B + 1 / B + A / 4),
    "negative": (lambda a, b: -a, -A),
    "broadcast": (lambda a, b: OPS.reshape(b, (4, 1)) * a, B[:, None] * A),
    "index": (lambda a, b: a[:, 1:3], A[:, 1:3]),
    "sigmoid": (lambda a, b: OPS.sigmoid(a), 1 / (1 + np.exp(-A))),
    "tanh": (lambda a, b: OPS.tanh(a), np.tanh(A)),
    "exp": (lambda a, b: OPS.exp(a), np.exp(A)),
    "expm1": (lambda a, b: OPS.expm1(a), np.expm1(A)),
    "log1p": (lambda a, b: OPS.log1p(a * a), np.log1p(A * A)),
    "sqrt": (lambda a, b: OPS.sqrt(a * a + 1), np.sqrt(A * A + 1)),
    "abs": (lambda a, b: OPS.abs(a), np.abs(A)),
    "maximum": (lambda a, b: OPS.maximum(a, 0.5), np.maximum(A, 0.5)),
    "minimum": (lambda a, b: OPS.minimum(a, 0.5), np.minimum(A, 0.5)),
    "clip": (lambda a, b: OPS.clip(a, -1, 1), np.clip(A, -1, 1)),
    "where": (lambda a, b: OPS.where(a < b, a, b), np.minimum(A, B)),
    "where with numbers": (lambda a, b: OPS.where(a >= 0.2, a, 0.0), np.where(A >= 0.2, A, 0)),
    "linear": (lambda a, b: OPS.linear(a, OPS.reshape(b, (1, 4))), A @ B[:, None]),
    "linear of rows": (
        lambda a, b: OPS.linear(OPS.reshape(b, (2, 2)), OPS.reshape(a, (2, 2))),
        B.reshape(2, 2) @ A.reshape(2, 2).T,
    ),
    "sum": (lambda a, b: OPS.sum(a), A.sum(1, keepdims=True)),
    "reshape": (lambda a, b: OPS.reshape(a, (2, 2)), A.reshape(2, 2)),
    "transpose": (lambda a, b: OPS.transpose(OPS.reshape(a, (2, 2))), A.reshape(2, 2).T),
    "split": (lambda a, b: OPS.split(a, 2)[1], A[:, 2:]),
    "concat": (lambda a, b: OPS.concat([a, OPS.reshape(b, (1, 4)), a]), np.concatenate([A, B[None], A], axis=1)),
    "stack": (lambda a, b: OPS.stack([b, b + 1]), np.stack([B, B + 1])),
    "expand": (lambda a, b: OPS.expand(b, 3), np.stack([B, B, B])),
    "full": (lambda a, b: a * OPS.full(2.0, a), 2 * A),
    "zeros": (lambda a, b: b + OPS.zeros((3, 4), a), np.stack([B, B, B])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_has_numpys_values_and_their_slopes(name: str) -> None:
    function, values = OPERATIONS[name]
    a, b = Var(A), Var(B)
    result = function(Tensor(a), Tensor(b))
    assert result.shape == values.shape
    assert result.var.value == pytest.approx(values, rel=1e-15)
    probe = np.cos(np.arange(result.var.value.size) + 1.0).reshape(result.shape)
    found = np.concatenate([g.ravel() for g in gradients([(result.var, probe)], [a, b])])
    for n, unit in enumerate(np.eye(8)):

        def probed(s: float, unit: Any = unit) -> float:
            moved = function(Tensor(Var(A + s * unit[:4])), Tensor(Var(B + s * unit[4:])))
            return float(np.sum(moved.var.value * probe))

        step = KINKED if name == "/" else SMOOTH
        assert found[n] == pytest.approx(slope(probed, step), rel=BOUNDS[step], abs=BOUNDS[step]), f"axis {n}"


def test_comparisons_are_those_of_the_values() -> None:
    a, b = Tensor(Var([1.0, 2.0, 3.0])), Tensor(Var([3.0, 2.0, 1.0]))
    assert [(a < b).tolist(), (a <= b).tolist()] == [[True, False, False], [True, True, False]]
    assert [(a > 2).tolist(), (a >= 2).tolist()] == [[False, False, True], [False, True, True]]
    assert [(a == b).tolist(), (a != b).tolist()] == [[False, True, False], [True, False, True]]


def test_parts_that_are_not_equal_are_refused() -> None:
    with pytest.raises(ValueError, match="4 features are not 3 equal parts"):
        OPS.split(Tensor(Var(A)), 3)
