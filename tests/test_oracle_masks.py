"""What a mask of each name multiplies, and what zoneout does in training and evaluation: by equivalence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from test_oracle import Array, part, random_arrays
from unilstm import LSTMSpec
from unilstm_conformance import oracle

pytestmark = pytest.mark.filterwarnings("error")

DRAW = np.random.default_rng(31)
X = DRAW.normal(size=(3, 5, 4))
KEPT = {shape: DRAW.integers(0, 2, shape).astype(float) for shape in ((3, 4), (3, 6), (5, 3, 12))}


def states(spec: LSTMSpec) -> tuple[Array, Array]:
    draw = np.random.default_rng(32)
    c = (spec.slots, spec.hidden_size) if spec.slots > 1 else (spec.hidden_size,)
    h_0, c_0 = draw.normal(size=(1, 3, spec.state_size)), draw.normal(size=(1, 3, *c))
    if spec.cell == "slstm":
        c_0[:, :, 1] = np.abs(c_0[:, :, 1])
    return h_0, c_0


def run(fields: dict[str, Any], masks: dict[str, Array] | None = None, x: Array = X, **changed: Array) -> oracle.Result:
    spec = LSTMSpec(4, 6, **fields)
    return oracle.run(spec, random_arrays(spec, 33) | changed, x, *states(spec), masks=masks)


def same(a: oracle.Result, b: oracle.Result, rtol: float = 0.0) -> None:
    for name in ("y", "h_n", "c_n", "c_all"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, err_msg=name)


CELLS: dict[str, dict[str, Any]] = {
    "lstm": {"highway": True, "peephole": True},
    "lanes": {"lanes": 2, "lane_pooling": "attention"},
    "slstm": {"cell": "slstm", "num_heads": 2},
    "minlstm": {"cell": "minlstm"},
}


@pytest.mark.parametrize("cell", CELLS)
def test_an_input_mask_multiplies_the_x_of_every_step(cell: str) -> None:
    masked = run(CELLS[cell] | {"input_dropout": 0.5}, {"input_l0": 2 * KEPT[3, 4]})
    same(masked, run(CELLS[cell], x=X * 2 * KEPT[3, 4][:, None]))


def test_each_layer_and_direction_has_its_own_input_mask_after_the_dropout_between_layers() -> None:
    fields: dict[str, Any] = {"num_layers": 2, "direction": "bidirectional", "residual": True, "merge": "sum"}
    spec = LSTMSpec(6, 6, **fields, input_dropout=0.5, dropout=0.5)
    draw, arrays, x = np.random.default_rng(34), random_arrays(spec, 35), np.ones((3, 5, 6))
    shapes = {f"input_l{k}{way}": (3, 6) for k in (0, 1) for way in ("", "_reverse")} | {"dropout_l1": (5, 3, 6)}
    masks = {name: 2.0 * draw.integers(0, 2, shape) for name, shape in shapes.items()}
    got, one = oracle.run(spec, arrays, x, masks=masks), LSTMSpec(6, 6)

    def alone(own: str, x: Array) -> Array:
        x = x * masks[f"input{own}"][:, None]
        if own.endswith("reverse"):
            return oracle.run(one, part(arrays, own), x[:, ::-1]).y[:, ::-1]
        return oracle.run(one, part(arrays, own), x).y

    y = alone("_l0", x) + alone("_l0_reverse", x)
    read = y * masks["dropout_l1"].swapaxes(0, 1)
    np.testing.assert_allclose(got.y, alone("_l1", read) + alone("_l1_reverse", read) + y, rtol=1e-15)


@pytest.mark.parametrize("cell", ["lstm", "lanes", "slstm"])
def test_a_weight_mask_multiplies_weight_hh(cell: str) -> None:
    spec = LSTMSpec(4, 6, **CELLS[cell])
    weights = random_arrays(spec, 33)["weight_hh_l0"]
    mask = 2.0 * np.random.default_rng(36).integers(0, 2, weights.shape)
    masked = run(CELLS[cell] | {"weight_dropout": 0.5}, {"weight_l0": mask})
    same(masked, run(CELLS[cell], weight_hh_l0=weights * mask))


@pytest.mark.parametrize("fields", [{"lanes": 2, "highway": True}, {"num_blocks": 2, "layer_norm": "joint"}], ids=str)
def test_a_per_gate_mask_is_a_weight_mask_that_a_gates_rows_share(fields: dict[str, Any]) -> None:
    spec = LSTMSpec(4, 6, **fields)
    sizes = [size for _, size in spec.row_groups]
    mask = 2.0 * np.random.default_rng(37).integers(0, 2, (len(sizes), 1, 6))
    kind = {"recurrent_dropout": 0.5, "recurrent_dropout_kind": "per-gate"}
    arrays, x = random_arrays(spec, 33), X[:1]
    by_gate = oracle.run(spec.replace(**kind), arrays, x, masks={"recurrent_l0": mask})
    by_weight = {"weight_l0": np.repeat(mask[:, 0], sizes, axis=0)}
    same(by_gate, oracle.run(spec.replace(weight_dropout=0.5), arrays, x, masks=by_weight), rtol=1e-13)


def test_per_gate_masks_that_are_equal_are_one_mask_on_the_h_that_is_read() -> None:
    kind = {"recurrent_dropout": 0.5, "recurrent_dropout_kind": "per-gate"}
    five = run({"highway": True, **kind}, {"recurrent_l0": np.stack([2 * KEPT[3, 6]] * 5)})
    same(five, run({"highway": True, "recurrent_dropout": 0.5}, {"recurrent_l0": 2 * KEPT[3, 6]}))


def test_a_recurrent_mask_of_slstm_is_on_h_before_the_heads() -> None:
    masked = run({"cell": "slstm", "num_heads": 2, "recurrent_dropout": 0.5}, {"recurrent_l0": 2 * KEPT[3, 6]})
    for b, mask in enumerate(2 * KEPT[3, 6]):
        weights = random_arrays(LSTMSpec(4, 6, cell="slstm", num_heads=2), 33)["weight_hh_l0"]
        columns = np.stack([mask[(row % 6 // 3) * 3 :][:3] for row in range(24)])
        alone = run({"cell": "slstm", "num_heads": 2}, weight_hh_l0=weights * columns)
        np.testing.assert_allclose(masked.y[b], alone.y[b], rtol=1e-13)


def test_a_candidate_mask_multiplies_g_alone() -> None:
    """With i = 1 and no f, c adds up the candidates; the h that is read and c itself stay as they are."""
    fields: dict[str, Any] = {"lanes": 2, "gates": ()}
    kind = {"recurrent_dropout": 0.5, "recurrent_dropout_kind": "candidate"}
    masked = run(fields | kind, {"recurrent_l0": 2 * KEPT[5, 3, 12]})
    spec, before = LSTMSpec(4, 6, **fields), states(LSTMSpec(4, 6, **fields))
    p = random_arrays(spec, 33)
    for t in range(5):
        z = X[:, t] @ p["weight_ih_l0"].T + before[0][0] @ p["weight_hh_l0"].T + p["bias_ih_l0"] + p["bias_hh_l0"]
        g = np.tanh(z) * 2 * KEPT[5, 3, 12][t]
        c = before[1][0] + g.reshape(3, 2, 6)
        np.testing.assert_allclose(masked.c_all[:, t], c, rtol=1e-13)
        before = np.tanh(c).sum(1)[None], c[None]
        np.testing.assert_allclose(masked.y[:, t], before[0][0], rtol=1e-12)


ZONED: dict[str, dict[str, Any]] = {**CELLS, "projected": {"proj_size": 3}, "gates": {"gate_recurrence": True}}


def zones(fields: dict[str, Any], hidden: Any, cell: Any) -> dict[str, Array]:
    spec = LSTMSpec(4, 6, **fields)
    hidden_shape, cell_shape = (5, 3, spec.state_size), (5, 3, spec.lanes * 6)
    return {
        "zoneout_hidden_l0": np.broadcast_to(hidden, hidden_shape),
        "zoneout_cell_l0": np.broadcast_to(cell, cell_shape),
    }


BOTH = {"zoneout_hidden": 0.4, "zoneout_cell": 0.3}


@pytest.mark.parametrize("cell", ZONED)
def test_zoneout_that_takes_every_new_value_is_none(cell: str) -> None:
    same(run(ZONED[cell] | BOTH, zones(ZONED[cell], 1.0, 1.0)), run(ZONED[cell]))


@pytest.mark.parametrize("cell", [cell for cell in ZONED if cell != "gates"])
def test_a_step_that_zoneout_leaves_out_might_not_have_been(cell: str) -> None:
    taken = np.array([1.0, 0.0, 1.0, 1.0, 0.0])[:, None, None]
    got, short = run(ZONED[cell] | BOTH, zones(ZONED[cell], taken, taken)), run(ZONED[cell], x=X[:, [0, 2, 3]])
    np.testing.assert_array_equal(got.y, short.y[:, [0, 0, 1, 2, 2]])
    np.testing.assert_array_equal(got.c_all, short.c_all[:, [0, 0, 1, 2, 2]])
    np.testing.assert_array_equal(got.c_n, short.c_n)


def test_zoneout_leaves_remembered_gates_alone() -> None:
    got = run(ZONED["gates"] | BOTH, zones(ZONED["gates"], 0.0, 0.0))
    h_0, c_0 = states(LSTMSpec(4, 6, gate_recurrence=True))
    np.testing.assert_array_equal(got.h_n, h_0)
    np.testing.assert_array_equal(got.c_n[..., 0, :], c_0[..., 0, :])
    assert (got.c_n[..., 1:, :] != c_0[..., 1:, :]).all()


@pytest.mark.parametrize("cell", ZONED)
def test_zoneout_chooses_unit_by_unit_in_training_and_expects_in_evaluation(cell: str) -> None:
    """In one step. Lanes have a mask each; the three parts of an sLSTM's cell share one. h sees the new c."""
    fields, x = ZONED[cell], X[:, :1]
    spec = LSTMSpec(4, 6, **fields)
    h_0, c_0 = states(spec)
    new, draw = run(fields, x=x), np.random.default_rng(38)
    take_h, take_c = draw.integers(0, 2, (1, 3, spec.state_size)), draw.integers(0, 2, (1, 3, spec.lanes * 6))
    drawn = run(fields | BOTH, {"zoneout_hidden_l0": take_h, "zoneout_cell_l0": take_c}, x=x)
    expected = run(fields | BOTH, x=x)
    by_slot = take_c.reshape(1, 3, spec.lanes, 6) if spec.slots > 1 else take_c
    if cell == "gates":
        by_slot = np.concatenate([by_slot, np.ones((1, 3, 3, 6), int)], axis=2)
    for got, h, c in ((drawn, take_h, by_slot), (expected, 0.6, np.full(by_slot.shape, 0.7))):
        if got is expected and cell == "gates":
            c[:, :, 1:] = 1.0
        np.testing.assert_allclose(got.h_n, h_0 + h * (new.h_n - h_0), rtol=1e-13)
        np.testing.assert_allclose(got.c_n, c_0 + c * (new.c_n - c_0), rtol=1e-13)
        np.testing.assert_array_equal(got.y[:, 0], got.h_n[0])


def test_zoneout_keeps_the_old_h_unmasked() -> None:
    masks = {**zones({}, 0.0, 1.0), "recurrent_l0": np.zeros((3, 6))}
    got = run(BOTH | {"recurrent_dropout": 0.5}, masks)
    np.testing.assert_array_equal(got.h_n, states(LSTMSpec(4, 6))[0])
