"""Blocks, lanes, norms, gate recurrence, sLSTM and minLSTM mean to the oracle what their papers say: by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from test_oracle import Array, random_arrays
from unilstm import LSTMSpec
from unilstm_conformance import oracle

pytestmark = pytest.mark.filterwarnings("error")


def σ(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def drawn(spec: LSTMSpec, steps: int = 4) -> tuple[dict[str, Array], Array, Array, Array]:
    """Parameters, one row of x, and its state h_0, c_0."""
    draw = np.random.default_rng(21)
    c = (spec.slots, spec.hidden_size) if spec.slots > 1 else (spec.hidden_size,)
    x, h_0 = draw.normal(size=(1, steps, spec.input_size)), draw.normal(size=(1, 1, spec.state_size))
    return random_arrays(spec, 22), x, h_0, draw.normal(size=(1, 1, *c))


def near(value: Any) -> Any:
    return pytest.approx(value, rel=1e-13, abs=1e-13)


# Blocks.


@pytest.mark.parametrize(
    "fields", [{"peephole": True}, {"lanes": 2}, {"layer_norm": "joint", "highway": True}], ids=str
)
def test_blocks_of_one_unit_are_no_blocks(fields: dict[str, Any]) -> None:
    spec = LSTMSpec(4, 6, **fields)
    arrays, *rest = drawn(spec)
    with_blocks = oracle.run(spec.replace(num_blocks=6), arrays, *rest)
    np.testing.assert_array_equal(with_blocks.y, oracle.run(spec, arrays, *rest).y)
    np.testing.assert_array_equal(with_blocks.c_n, oracle.run(spec, arrays, *rest).c_n)


def test_a_block_is_units_that_lie_side_by_side_and_have_the_same_gates() -> None:
    spec = LSTMSpec(4, 6, num_blocks=2, gates=("input", "output"), highway=True)
    arrays, *rest = drawn(spec)
    repeats = [3, 3, *[1] * 6, 3, 3, *[1] * 6]  # i, g, o, r
    rows = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    each = {name: np.repeat(a, repeats, axis=0) if name in rows else a for name, a in arrays.items()}
    blocks, units = oracle.run(spec, arrays, *rest), oracle.run(spec.replace(num_blocks=0), each, *rest)
    np.testing.assert_allclose(blocks.y, units.y, rtol=1e-13)


def test_a_blocks_peephole_is_a_sum_over_the_block() -> None:
    spec = LSTMSpec(4, 6, num_blocks=2, peephole=True, bias="single")
    arrays, x, h_0, c_0 = drawn(spec, 1)
    got = oracle.run(spec, arrays, x, h_0, c_0)
    z = arrays["weight_ih_l0"] @ x[0, 0] + arrays["weight_hh_l0"] @ h_0[0, 0] + arrays["bias_l0"]
    (i, f, g, o), c, V = np.split(z, [2, 4, 10]), c_0[0, 0].reshape(2, 3), arrays["weight_ch_l0"].reshape(3, 2, 3)
    i, f = σ(i + (V[0] * c).sum(1)), σ(f + (V[1] * c).sum(1))
    c = f[:, None] * c + i[:, None] * np.tanh(g.reshape(2, 3))
    o = σ(o + (V[2] * c).sum(1))
    assert got.c_n[0, 0] == near(c.ravel())
    assert got.y[0, 0] == near((o[:, None] * np.tanh(c)).ravel())


# Lanes.


def lane_of(arrays: dict[str, Array], lane: int, lanes: int) -> dict[str, Array]:
    """An LSTM of one lane."""
    return {name: np.split(a, lanes)[lane] for name, a in arrays.items()}


def test_the_sum_of_lanes_is_the_sum_of_what_they_are_alone_in_the_first_step() -> None:
    spec = LSTMSpec(4, 6, lanes=3, peephole=True)
    arrays, x, h_0, c_0 = drawn(spec, 1)
    got, one = oracle.run(spec, arrays, x, h_0, c_0), spec.replace(lanes=1)
    alone = [oracle.run(one, lane_of(arrays, n, 3), x, h_0, c_0[:, :, n]) for n in range(3)]
    assert got.y == near(sum(lane.y for lane in alone))
    assert got.c_n == near(np.stack([lane.c_n for lane in alone], axis=2))


def test_argmax_takes_unit_by_unit_the_lane_whose_output_gate_is_most_open() -> None:
    spec = LSTMSpec(4, 6, lanes=3, lane_pooling="argmax", peephole=True)
    arrays, x, h_0, c_0 = drawn(spec, 1)
    got, one = oracle.run(spec, arrays, x, h_0, c_0), spec.replace(lanes=1, lane_pooling="sum")
    alone = [oracle.run(one, lane_of(arrays, n, 3), x, h_0, c_0[:, :, n]) for n in range(3)]
    m, o = ([f(lane)[0, 0] for lane in alone] for f in (lambda r: r.y, lambda r: r.y / np.tanh(r.c_n)))
    wins = np.argmax(o, axis=0)
    assert len(set(wins)) == 3, "each lane must win somewhere"
    np.testing.assert_array_equal(got.y[0, 0], np.choose(wins, m))


def test_argmax_takes_the_first_of_lanes_that_are_equally_open() -> None:
    spec = LSTMSpec(4, 6, lanes=2, lane_pooling="argmax", gate_activation=("hard_sigmoid", 0.2, 0.5), bias="single")
    arrays, x, h_0, c_0 = drawn(spec, 1)
    for lane in (0, 1):
        arrays["bias_l0"][lane * 24 + 18 : lane * 24 + 24] = 100.0  # all o are 1
    got, one = oracle.run(spec, arrays, x, h_0, c_0), spec.replace(lanes=1, lane_pooling="sum")
    first = oracle.run(one, lane_of(arrays, 0, 2), x, h_0, c_0[:, :, 0])
    np.testing.assert_array_equal(got.y, first.y)


@pytest.mark.parametrize("pooling", ["attention", "attention-max"])
def test_attention_multiplies_the_gates_and_forgets_what_is_left(pooling: str) -> None:
    spec = LSTMSpec(4, 6, lanes=2, lane_pooling=pooling, gate_activation=("hard_sigmoid", 0.2, 0.5), gate_clip=1.0)
    arrays, x, h_0, c_0 = drawn(spec, 1)
    got = oracle.run(spec, arrays, x, h_0, c_0)
    a = σ(arrays["weight_xa_l0"] @ x[0, 0] + arrays["bias_xa_l0"]).reshape(2, 6)
    s = np.exp(a) / np.exp(a).sum(0)
    s = s if pooling == "attention" else np.stack([s.max(0)] * 2)
    z = arrays["weight_ih_l0"] @ x[0, 0] + arrays["weight_hh_l0"] @ h_0[0, 0]
    z = np.clip(z + arrays["bias_ih_l0"] + arrays["bias_hh_l0"], -1, 1).reshape(2, 4, 6)
    i, f, o = (s * (0.2 * z[:, n] + 0.5) for n in (0, 1, 3))
    c = (1 - f) * c_0[0, 0] + i * np.tanh(z[:, 2])
    assert got.c_n[0, 0] == near(c)
    assert got.y[0, 0] == near((o * np.tanh(c)).sum(0))


# Norms.


@pytest.mark.parametrize("bias", ["double", "single", "none"])
@pytest.mark.parametrize("kind", ["joint", "normalized-state", "per-gate"])
def test_a_norm_is_where_its_kind_puts_it(kind: str, bias: str) -> None:
    spec = LSTMSpec(4, 6, layer_norm=kind, layer_norm_eps=0.01, bias=bias, peephole=True, highway=True, cell_clip=0.6)
    arrays, x, h_0, c_0 = drawn(spec, 1)
    got = oracle.run(spec, arrays, x, h_0, c_0)
    p = {name[:-3]: a for name, a in arrays.items()}

    def N(v: Array) -> Array:
        return (v - v.mean()) / np.sqrt(v.var() + 0.01)

    zx, zh = p["weight_ih"] @ x[0, 0], p["weight_hh"] @ h_0[0, 0]
    if kind == "per-gate":
        z = p["gamma"] * np.concatenate([N(part) for part in np.split(zx + zh, 5)])
    else:
        z = p["gamma_ih"] * N(zx) + p["gamma_hh"] * N(zh)
    z = z + p.get("bias_ih", 0) + p.get("bias_hh", 0) + p.get("bias", 0)
    (i, f, g, o, r), V, c = np.split(z, 5), np.split(p["weight_ch"], 3), c_0[0, 0]
    raw = np.clip(σ(f + V[1] * c) * c + σ(i + V[0] * c) * np.tanh(g), -0.6, 0.6)
    seen = p["gamma_c"] * N(raw) + p.get("beta_c", 0)
    stored = raw if kind == "joint" else seen
    m = σ(o + V[2] * stored) * np.tanh(seen)
    assert got.c_n[0, 0] == near(stored)
    carried = p["weight_xh"] @ x[0, 0] + p.get("bias_xh", 0)
    assert got.y[0, 0] == near(σ(r) * m + (1 - σ(r)) * carried)


def test_the_rows_of_a_per_gate_norm_are_a_gates_own_though_they_are_blocks() -> None:
    fields: dict[str, Any] = {"num_blocks": 2, "lanes": 2, "bias": "none", "gates": ("forget",)}
    spec = LSTMSpec(4, 6, layer_norm="per-gate", layer_norm_eps=1.0, **fields)
    arrays, x, h_0, c_0 = drawn(spec, 1)
    moved = {**arrays, "weight_ih_l0": arrays["weight_ih_l0"].copy()}
    moved["weight_ih_l0"][[8, 9]] += 5.0  # f of lane 1, both blocks: the norm takes out what they have in common
    a, b = (oracle.run(spec, weights, x, h_0, c_0) for weights in (arrays, moved))
    assert a.c_n == near(b.c_n)
    moved["weight_ih_l0"][8] += 5.0
    assert np.abs(oracle.run(spec, moved, x, h_0, c_0).c_n - a.c_n).max() > 1e-3


# Gates that remember.


@pytest.mark.parametrize("gates", [("input", "forget", "output"), ("input", "output"), ("forget",)], ids=str)
def test_gates_see_the_activations_of_the_step_before(gates: tuple[str, ...]) -> None:
    spec = LSTMSpec(4, 6, gate_recurrence=True, gates=gates, bias="single")
    arrays, x, _, _ = drawn(spec)
    got = oracle.run(spec, arrays, x)
    there, h, c = [g[0] for g in ("input", "forget", "output") if g in gates], np.zeros(6), np.zeros(6)
    old = np.zeros(6 * len(there))
    for t in range(4):
        rows = arrays["weight_ih_l0"] @ x[0, t] + arrays["weight_hh_l0"] @ h + arrays["bias_l0"]
        z = dict(zip([g for g in "ifgo" if g in there or g == "g"], np.split(rows, len(there) + 1), strict=True))
        from_gates = dict(zip(there, np.split(arrays["weight_gg_l0"] @ old, len(there)), strict=True))
        now = {g: σ(z[g] + from_gates[g]) for g in there}
        c = now.get("f", 1) * c + now.get("i", 1) * np.tanh(z["g"])
        h, old = now.get("o", 1) * np.tanh(c), np.concatenate([now[g] for g in there])
        assert got.y[0, t] == near(h)
        assert got.c_all[0, t].ravel() == near(np.concatenate([c, old]))
    assert got.c_n[0, 0].ravel() == near(np.concatenate([c, old]))


# sLSTM and minLSTM, one unit in plain floats.


@pytest.mark.parametrize("exponential", [False, True], ids=["sigmoid", "exponential"])
@pytest.mark.parametrize("given", [False, True], ids=["zero", "given"])
def test_one_unit_of_slstm_equals_the_equations_without_a_stabiliser(exponential: bool, given: bool) -> None:
    spec = LSTMSpec(1, 1, cell="slstm", exponential_forget=exponential)
    arrays, x, _, _ = drawn(spec, 6)
    W, R, b, bb = (arrays[f"{n}_l0"].ravel() for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, c, n, m = (0.4, -0.3, 0.7, 0.2) if given else (0.0, 0.0, 0.0, 0.0)
    got = oracle.run(spec, arrays, x, [[[h]]], [[[[c], [n], [m]]]])
    c, n = c * math.exp(m), n * math.exp(m)  # the stabiliser's scale taken out
    for t in range(6):
        z_i, z_f, z_g, z_o = (W[k] * x[0, t, 0] + R[k] * h + b[k] + bb[k] for k in range(4))
        i, f = math.exp(z_i), math.exp(z_f) if exponential else σ(z_f)
        c, n = f * c + i * math.tanh(z_g), f * n + i
        h = σ(z_o) * c / n
        assert got.y[0, t, 0] == near(h)
        stored_c, stored_n, stored_m = got.c_all[0, t, :, 0]
        assert (stored_c * math.exp(stored_m), stored_n * math.exp(stored_m)) == (near(c), near(n))
        m = z_i if t == 0 and not given else max((z_f if exponential else math.log(f)) + m, z_i)
        assert stored_m == near(m)


def test_slstm_keeps_its_numbers_where_exponentials_would_overflow() -> None:
    spec = LSTMSpec(2, 3, cell="slstm", exponential_forget=True, bias="single")
    arrays, x, _, _ = drawn(spec)
    arrays["bias_l0"][:6] += 2000.0  # i and f
    result = oracle.run(spec, arrays, x, probes={"y": np.ones((1, 4, 3))})
    assert np.isfinite(result.y).all()
    assert np.abs(result.y).min() > 0
    assert all(np.isfinite(g).all() for g in result.gradients.values())


def test_slstm_without_a_normaliser_has_no_past() -> None:
    spec = LSTMSpec(2, 3, cell="slstm")
    arrays, x, h_0, c_0 = drawn(spec)
    c_0[0, 0, 1] = 0.0
    probes = {"y": np.ones((1, 4, 3)), "c_n": np.ones((1, 1, 3, 3))}
    given = oracle.run(spec, arrays, x, h_0, c_0, probes=probes)
    fresh = oracle.run(spec, arrays, x, h_0, np.zeros_like(c_0))
    np.testing.assert_array_equal(given.c_n, fresh.c_n)
    assert not given.gradients["c_0"].any()


def test_heads_are_blocks_of_a_block_diagonal_matrix() -> None:
    spec = LSTMSpec(4, 6, cell="slstm", num_heads=3)
    arrays, x, h_0, c_0 = drawn(spec)
    c_0[0, 0, 1] = np.abs(c_0[0, 0, 1])
    whole = np.zeros((24, 6))
    for row, weights in enumerate(arrays["weight_hh_l0"]):
        head = row % 6 // 2
        whole[row, 2 * head : 2 * head + 2] = weights
    one = oracle.run(spec.replace(num_heads=1), {**arrays, "weight_hh_l0": whole}, x, h_0, c_0)
    assert oracle.run(spec, arrays, x, h_0, c_0).y == near(one.y)


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_one_unit_of_minlstm_equals_plain_floats(activation: str) -> None:
    spec = LSTMSpec(1, 1, cell="minlstm", cell_activation=activation)
    arrays, x, h_0, c_0 = drawn(spec)
    got = oracle.run(spec, arrays, x, h_0, c_0)
    W, b, bb = (arrays[f"{n}_l0"].ravel() for n in ("weight_ih", "bias_ih", "bias_hh"))
    h = c_0.item()
    for t in range(4):
        z_i, z_f, z_g = (W[k] * x[0, t, 0] + b[k] + bb[k] for k in range(3))
        i, f = σ(z_i), σ(z_f)
        h = f / (f + i) * h + i / (f + i) * (math.tanh(z_g) if activation == "tanh" else z_g)
        assert (got.y[0, t, 0], got.c_all[0, t, 0]) == (near(h), near(h))
