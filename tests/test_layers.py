"""Contract 3 on every backend and path: lengths, states, masks, unbatched input, streaming. And what a layer says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import Driver, close, numbers, require
from unilstm import LSTMSpec, Weights
from unilstm_kernels import library

VARIANTS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "bidirectional-2": {"num_layers": 2, "direction": "bidirectional"},
    "bidirectional-sum": {"direction": "bidirectional", "merge": "sum", "bias": "single"},
    "bidirectional-mul": {"direction": "bidirectional", "merge": "mul"},
    "bidirectional-average-2": {"num_layers": 2, "direction": "bidirectional", "merge": "average"},
    "reverse-projected": {"direction": "reverse", "proj_size": 3, "bias": False},
    "alternating-3": {"num_layers": 3, "direction": "alternating", "batch_first": False},
    "peephole-clipped": {"peephole": True, "gate_clip": 0.4, "cell_clip": 0.2, "learned_state": True},
    "no-forget-gate": {"gates": ("input", "output"), "peephole": True},
    "no-gates-residual-3": {"gates": (), "num_layers": 3, "residual": True},
    "highway-alternating-2": {"highway": True, "direction": "alternating", "num_layers": 2},
    "highway-projected": {"highway": True, "direction": "bidirectional", "proj_size": 3, "bias": "single"},
    "blocks-peephole-bidirectional": {"num_blocks": 3, "peephole": True, "direction": "bidirectional"},
    "lanes-argmax-projected": {"lanes": 3, "lane_pooling": "argmax", "proj_size": 2, "learned_state": True},
    "norms-zoneout-reverse": {
        "layer_norm": "joint",
        "zoneout_hidden": 0.2,
        "zoneout_cell": 0.3,
        "direction": "reverse",
    },
    "gate-recurrence-2": {"gate_recurrence": True, "num_layers": 2, "zoneout_cell": 0.1},
    "slstm-heads-2": {"cell": "slstm", "num_heads": 2, "num_layers": 2, "direction": "bidirectional"},
    "minlstm-bidirectional": {"cell": "minlstm", "direction": "bidirectional"},
    "coupled": {"coupled_gates": True, "peephole": True, "cell_activation": ("elu", 0.7), "proj_size": 2},
}


@pytest.fixture(params=VARIANTS)
def spec(request: pytest.FixtureRequest) -> LSTMSpec:
    return LSTMSpec(4, 6, **VARIANTS[request.param])


@pytest.fixture
def driver(backend_path: Any, spec: LSTMSpec) -> Driver:
    backend, path = backend_path
    served = path == "composed" or not (spec.beyond_standard or (backend.name == "paddle" and spec.proj_size))
    if not served:
        pytest.skip(f"{backend.name} has no native path for this spec")
    return Driver(backend, spec, path)


def batch(spec: LSTMSpec, rows: int = 3, steps: int = 5) -> tuple[Any, tuple[Any, Any]]:
    x = numbers(rows, steps, 4, stream=1)
    lead = spec.num_layers * spec.num_directions
    c = (spec.slots, 6) if spec.slots > 1 else (6,)
    state = numbers(lead, rows, spec.state_size, stream=2), numbers(lead, rows, *c, stream=3)
    if spec.cell == "slstm":  # its normaliser is a sum of exponentials
        state[1][:, :, 1] = 1.0 + abs(state[1][:, :, 1])
    return (x if spec.batch_first else x.swapaxes(0, 1)), state


def time_major(spec: LSTMSpec, sequence: Any) -> Any:
    return sequence.swapaxes(0, 1) if spec.batch_first else sequence


def test_a_row_is_the_same_cut_to_its_length(driver: Driver, spec: LSTMSpec) -> None:
    x, (h_0, c_0) = batch(spec)
    lengths = [2, 5, 1]
    y, (h, c) = driver(x, (h_0, c_0), lengths=lengths)
    for row, n in enumerate(lengths):
        cut = x[row : row + 1, :n] if spec.batch_first else x[:n, row : row + 1]
        alone, (h_1, c_1) = driver(np.ascontiguousarray(cut), (h_0[:, row : row + 1], c_0[:, row : row + 1]))
        close(time_major(spec, y)[:n, row], time_major(spec, alone)[:, 0])
        close(h[:, row], h_1[:, 0])
        close(c[:, row], c_1[:, 0])


def test_past_its_length_a_row_is_zero_and_its_padding_is_never_seen(driver: Driver, spec: LSTMSpec) -> None:
    x, state = batch(spec)
    lengths = [2, 0, 5]
    y, (h, c) = driver(x, state, lengths=lengths)
    spoilt = time_major(spec, x.copy())
    for row, n in enumerate(lengths):
        assert not time_major(spec, y)[n:, row].any()
        spoilt[n:, row] = np.nan
    again, (h_2, c_2) = driver(np.ascontiguousarray(time_major(spec, spoilt)), state, lengths=lengths)
    close(again, y, 0.0)
    close(h_2, h, 0.0)
    close(c_2, c, 0.0)


def test_length_zero_returns_the_initial_state(driver: Driver, spec: LSTMSpec) -> None:
    x, state = batch(spec)
    y, (h, c) = driver(x, state, lengths=[0, 0, 0])
    assert not y.any()
    close(h, state[0], 0.0)
    close(c, state[1], 0.0)


@pytest.mark.parametrize("kind", ["list", "array", "native"])
def test_lengths_may_be_a_list_an_array_or_a_tensor(driver: Driver, spec: LSTMSpec, kind: str) -> None:
    x, _ = batch(spec)
    given: Any = np.array([3, 1, 5], "int32")
    with driver.scope():
        given = {"list": [3, 1, 5], "array": given, "native": driver.backend.tensor(given)}[kind]
    close(driver(x, lengths=given)[0], driver(x, lengths=np.array([3, 1, 5]))[0], 0.0)


def test_unbatched_input_is_a_batch_of_one(driver: Driver, spec: LSTMSpec) -> None:
    x, (h_0, c_0) = batch(spec, rows=1)
    y, (h, c) = driver(x, (h_0, c_0))
    one, (h_1, c_1) = driver(np.ascontiguousarray(time_major(spec, x)[:, 0]), (h_0[:, 0], c_0[:, 0]))
    close(one, time_major(spec, y)[:, 0], 0.0)
    close(h_1, h[:, 0], 0.0)
    close(c_1, c[:, 0], 0.0)


def test_no_state_means_zeros_or_the_learned_one(driver: Driver, spec: LSTMSpec) -> None:
    x, state = batch(spec)
    zeros = tuple(np.zeros_like(s) for s in state)
    if spec.learned_state:
        arrays = {n: a + 0.3 if n.startswith(("h_0", "c_0")) else a for n, a in driver.layer.weights().items()}
        driver = Driver(driver.backend, Weights(spec, arrays), driver.layer.path)
        zeros = tuple(z + 0.3 for z in zeros)
    close(driver(x)[0], driver(x, zeros)[0], 0.0)


def test_streaming_gives_the_numbers_of_the_whole(driver: Driver, spec: LSTMSpec) -> None:
    x, state = batch(spec)
    if any(any(spec.reversed_directions(k)) for k in range(spec.num_layers)):
        with pytest.raises(unilstm.InputError, match=r"step\(\) streams forward in time, but direction="):
            driver(np.ascontiguousarray(time_major(spec, x)[0]), state, method="step")
        return
    y, finals = driver(x, state)
    steps, now = [], state
    for x_t in time_major(spec, x):
        h, now = driver(np.ascontiguousarray(x_t), now, method="step")
        steps.append(h)
    close(np.stack(steps), time_major(spec, y))
    close(now[0], finals[0])
    close(now[1], finals[1])
    one, _ = driver(np.ascontiguousarray(time_major(spec, x)[0, 0]), (state[0][:, 0], state[1][:, 0]), method="step")
    close(one, steps[0][0])


def test_the_cell_sequence_ends_in_the_final_cell(backend: Any, spec: LSTMSpec) -> None:
    driver = Driver(backend, spec)
    x, state = batch(spec)
    y, (h, c), every_c = driver(x, state, lengths=[5, 2, 0], return_cell_sequence=True)
    plain, (h_2, c_2) = driver(x, state, lengths=[5, 2, 0])
    close(y, plain)
    close(c, c_2)
    close(h, h_2)
    every_c, count = time_major(spec, every_c), spec.num_directions
    assert every_c.shape == ((5, 3, 6 * count) if spec.slots == 1 else (5, 3, count * spec.slots, 6))
    every_c = every_c.reshape(5, 3, count, *c.shape[2:])
    for d, reverse in enumerate(spec.reversed_directions(spec.num_layers - 1)):
        part, final = every_c[:, :, d], c[d - count]
        close(part[0 if reverse else 4, 0], final[0])
        close(part[0 if reverse else 1, 1], final[1])
        assert not part[2:, 1].any()
        assert not part[:, 2].any()


def test_inputs_are_left_as_they_were(driver: Driver, spec: LSTMSpec) -> None:
    x, state = batch(spec)
    with driver.scope():
        tensors = [driver.backend.tensor(a) for a in (x, *state)]
        driver.layer(tensors[0], tuple(tensors[1:]), lengths=[5, 0, 2])
        for before, after in zip((x, *state), tensors, strict=True):
            assert driver.backend.array(after).tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_in_is_dtype_out(driver: Driver, spec: LSTMSpec, dtype: str) -> None:
    driver = Driver(driver.backend, spec, driver.layer.path, dtype)
    x, _ = batch(spec)
    y, (h, c) = driver(x.astype(dtype))
    assert {str(a.dtype) for a in (y, h, c)} == {dtype}


def test_explain_names_the_path_of_every_layer_and_why(backend: Any) -> None:
    plain = unilstm.LSTM(4, 6, num_layers=2, backend=backend.name, seed=0).explain()
    assert [d.layer for d in plain] == [0, 1]
    kernel = [] if library.missing() else ["kernel"]
    usable = [path for path in backend.paths() if path in ("native", "composed", *kernel)]
    assert {d.path for d in plain} == {usable[0]}
    normed = unilstm.LSTM(4, 6, layer_norm="joint", backend=backend.name, seed=0).explain()
    assert str(normed).startswith(f"layer 0: {'composed' if library.missing() else 'kernel'}")


@pytest.mark.parametrize(("name", "fields"), [("torch", {"peephole": True}), ("paddle", {"proj_size": 2})])
def test_a_path_that_cannot_serve_says_why(name: str, fields: dict[str, Any]) -> None:
    require(name)
    layer = unilstm.LSTM(4, 6, backend=name, path="native", seed=0, dtype="float64", **fields)
    with pytest.raises(unilstm.PathError, match=r"path='native' cannot serve layer 0: .*no p.*Use path='auto'"):
        layer(require(name).tensor(numbers(3, 5, 4)))


@pytest.mark.parametrize(("path", "words"), [("fast", "is unknown. Choose one of"), ("parallel", "does not exist on")])
def test_a_path_that_is_not_there_says_so(backend: Any, path: str, words: str) -> None:
    with pytest.raises(unilstm.PathError, match=words):
        unilstm.LSTM(4, 6, backend=backend.name, path=path, seed=0)
