"""Cells: those of the project against their papers' special cases, and a cell of one's own on every backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import Driver, close, numbers, require, require_parallel
from unilstm import LSTMSpec, SpecError, Weights, cells
from unilstm_kernels import library


def leaky(ops: Any, spec: LSTMSpec, p: Any, x: Any, state: Any) -> Any:
    """An integrator with one gate, which sees h and c: two slots, the second a count of its steps."""
    h, memory = state
    c, count = ops.split(memory, 2)
    z = ops.linear(x, p["weight_xz"]) + ops.linear(h, p["weight_hh"]) + p["bias_z"]
    gate, candidate = ops.split(z, 2)
    gate = ops.sigmoid(gate)
    c = gate * c + (1.0 - gate) * ops.tanh(candidate)
    return ops.tanh(c), ops.concat([c, count + 1.0])


def leaky_parameters(spec: LSTMSpec, inputs: int) -> dict[str, tuple[int, ...]]:
    rows = 2 * spec.hidden_size
    return {"weight_xz": (rows, inputs), "weight_hh": (rows, spec.hidden_size), "bias_z": (rows,)}


@pytest.fixture
def own() -> Iterator[cells.Cell]:
    yield cells.register(cells.Cell("leaky", leaky, leaky_parameters, slots=2))
    cells.unregister("leaky")


MIXTURE: dict[str, Any] = {"num_layers": 2, "direction": "bidirectional", "merge": "sum", "residual": True}


def test_an_own_cell_runs_alike_on_every_backend(own: cells.Cell, backend: Any) -> None:
    spec = LSTMSpec(4, 6, cell="leaky", **MIXTURE)
    x, lengths = numbers(3, 5, 4), [5, 0, 3]
    y, (h, c), every_c = Driver(backend, spec)(x, lengths=lengths, return_cell_sequence=True)
    expected = Driver(require("numpy"), spec)(x, lengths=lengths, return_cell_sequence=True)
    assert c.shape == (4, 3, 2, 6)
    assert every_c.shape == (3, 5, 4, 6)
    np.testing.assert_array_equal(c[:, :, 1, 0], np.tile(lengths, (4, 1)))
    for got, want in zip((y, h, c, every_c), (expected[0], *expected[1], expected[2]), strict=True):
        close(got, want)


def test_no_faster_path_knows_an_own_cell(own: cells.Cell, backend: Any) -> None:
    found = str(unilstm.LSTM(4, 6, cell="leaky", backend=backend.name, seed=0).explain())
    assert found.startswith("layer 0: composed")
    assert ("no cell of this kind" in found) == ("native" in backend.paths())
    assert (library.missing() or "the kernel has no cell 'leaky'") in found


def test_an_own_cell_trains(own: cells.Cell, framework: Any) -> None:
    spec = LSTMSpec(4, 6, cell="leaky", recurrent_dropout=0.2, weight_dropout=0.2, zoneout_hidden=0.1)
    with framework.scope("float64"):
        layer = unilstm.LSTM(spec, backend=framework.name, seed=1, dtype="float64")
        x = {"x": framework.tensor(numbers(3, 5, 4))}
        call = lambda layer, given: [layer(given["x"], key=5)[0]]  # noqa: E731
        _, grads = framework.vjp()(layer, call, x, [framework.tensor(np.ones((3, 5, 6)))])
        found = {name: framework.array(value) for name, value in grads.items()}
    assert set(found) == {"x", "weight_xz_l0", "weight_hh_l0", "bias_z_l0"}
    assert all(np.abs(value).max() > 0 for value in found.values())


def test_an_own_cell_saves_loads_and_ports(own: cells.Cell, tmp_path: Any) -> None:
    layer = unilstm.LSTM(4, 6, cell="leaky", backend="torch", seed=2)
    unilstm.save(layer.weights(), tmp_path / "own.safetensors")
    assert unilstm.load(tmp_path / "own.safetensors") == layer.weights()
    assert unilstm.port(layer, to="jax").weights() == layer.weights()
    cells.unregister("leaky")
    with pytest.raises(unilstm.UnilstmError, match="cell='leaky' is unknown. Registered here: lstm, minlstm, slstm"):
        unilstm.load(tmp_path / "own.safetensors")


@pytest.mark.parametrize("layout", unilstm.layouts.names())
def test_another_systems_layout_has_no_place_for_an_own_cell_and_says_so(own: cells.Cell, layout: str) -> None:
    weights = unilstm.LSTM(4, 6, cell="leaky", seed=2).weights()
    with pytest.raises(unilstm.UnsupportedByLayout, match="cell='leaky' has no place in layout .* keep it in unilstm"):
        weights.to_layout(layout)


def test_the_decorator_registers_and_a_name_is_taken_once(own: cells.Cell) -> None:
    assert cells.get("leaky") is own
    with pytest.raises(SpecError, match=r"there is a cell 'leaky' already\. Choose another name"):
        cells.cell("leaky", parameters=leaky_parameters)(leaky)
    with pytest.raises(SpecError, match="'lstm' is the project's own"):
        cells.unregister("lstm")
    with pytest.raises(SpecError, match=r"register\(\) takes a Cell, not function"):
        cells.register(leaky)  # type: ignore[arg-type]


def test_a_field_that_an_own_cell_does_not_read_is_refused(own: cells.Cell) -> None:
    with pytest.raises(SpecError, match="peephole=True does nothing to cell='leaky', which reads"):
        LSTMSpec(4, 6, cell="leaky", peephole=True)


def test_a_redefined_cell_is_not_computed_by_the_compiled_code_of_the_first(own: cells.Cell) -> None:
    spec = LSTMSpec(4, 6, cell="leaky")
    first = Driver(require("jax"), spec)(numbers(3, 5, 4))[0]
    cells.unregister("leaky")
    cells.register(cells.Cell("leaky", lambda *a: tuple(2.0 * v for v in leaky(*a)), leaky_parameters, slots=2))
    assert np.abs(Driver(require("jax"), spec)(numbers(3, 5, 4))[0] - first).max() > 0.1


def test_a_plugin_brings_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "from-plugin"

        @staticmethod
        def load() -> cells.Cell:
            return cells.Cell("from-plugin", leaky, leaky_parameters, slots=2)

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry] if group == "unilstm.cells" else [])
    try:
        assert LSTMSpec(4, 6, cell="from-plugin").slots == 2
        assert "from-plugin" in cells.names()
    finally:
        cells.unregister("from-plugin")


# The project's own cells.


def test_blocks_of_one_unit_are_the_ordinary_gates(backend: Any) -> None:
    fields: dict[str, Any] = {"peephole": True, "highway": True, "layer_norm": "per-gate"}
    plain, blocks = LSTMSpec(4, 6, **fields), LSTMSpec(4, 6, num_blocks=6, **fields)
    arrays = Weights.initial(plain, 3, dtype="float64")
    x = numbers(3, 5, 4)
    close(Driver(backend, Weights(blocks, arrays))(x)[0], Driver(backend, arrays)(x)[0])


def test_attention_of_equal_lanes_is_each_lanes_share(backend: Any) -> None:
    """With the same weights in both lanes the shares are 1/2 each, and the largest of them is 1/2 too."""
    spec = LSTMSpec(4, 6, lanes=2, lane_pooling="attention")
    arrays = dict(Weights.initial(spec, 3, dtype="float64"))
    arrays = {n: np.concatenate([np.split(a, 2)[0]] * 2) for n, a in arrays.items()}
    x = numbers(3, 5, 4)
    expected = Driver(backend, Weights(spec, arrays))(x)[0]
    close(Driver(backend, Weights(spec.replace(lane_pooling="attention-max"), arrays))(x)[0], expected)


def test_slstm_survives_gates_that_exp_alone_would_overflow(backend: Any) -> None:
    spec = LSTMSpec(4, 6, cell="slstm", exponential_forget=True)
    arrays = {n: a * 2000 for n, a in Weights.initial(spec, 3, dtype="float64").items()}
    y, (_, c), *_ = Driver(backend, Weights(spec, arrays))(numbers(3, 9, 4))
    assert np.isfinite(y).all()
    assert np.isfinite(c).all()
    assert np.abs(y).max() <= 1.0


def test_slstm_does_not_depend_on_the_stabiliser_it_starts_from(backend: Any) -> None:
    """c, n and m scaled alike are the same state: c·e^k, n·e^k, m - k."""
    spec = LSTMSpec(4, 6, cell="slstm", num_heads=3)
    c = 1.0 + numbers(1, 2, 3, 6) / 4
    shifted = np.stack([c[:, :, 0] * np.exp(0.5), c[:, :, 1] * np.exp(0.5), c[:, :, 2] - 0.5], axis=2)
    x, h = numbers(2, 5, 4), numbers(1, 2, 6)
    close(Driver(backend, spec)(x, (h, shifted))[0], Driver(backend, spec)(x, (h, c))[0])


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("steps", [1, 2, 37])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_the_parallel_path_equals_the_sequential_one(name: str, steps: int, direction: str) -> None:
    require_parallel(name)
    spec = LSTMSpec(4, 6, cell="minlstm", num_layers=2, direction=direction, input_dropout=0.2)
    x, lengths = numbers(3, steps, 4), [steps, 0, max(1, steps // 2)]
    lead = 2 * spec.num_directions
    state = numbers(lead, 3, 6, stream=2), numbers(lead, 3, 6, stream=3)
    both = []
    for path in ("parallel", "composed"):
        driver = Driver(require(name), spec, path)
        y, finals, every_c = driver(x, state, lengths=lengths, return_cell_sequence=True)
        both.append((y, *finals, every_c))
        assert all(one.path == path for one in driver.layer.explain())
    for got, want in zip(*both, strict=True):
        close(got, want)


def test_parallel_is_refused_with_zoneout_and_not_there_for_cells_that_read_h() -> None:
    require("torch")
    layer = unilstm.LSTM(4, 6, cell="minlstm", zoneout_cell=0.1, backend="torch", path="parallel", seed=0)
    with pytest.raises(unilstm.PathError, match="zoneout keeps old values"):
        layer(require("torch").tensor(numbers(3, 5, 4, dtype="float32")))
    with pytest.raises(unilstm.PathError, match="path='parallel' does not exist on this backend for this cell"):
        unilstm.LSTM(4, 6, backend="torch", path="parallel", seed=0)
