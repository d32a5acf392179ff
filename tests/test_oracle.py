"""One unit is a scalar LSTM done by hand; rows, layers and directions are each what they are alone."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unilstm import LSTMSpec
from unilstm.parameters import parameters
from unilstm_conformance import oracle

pytestmark = pytest.mark.filterwarnings("error")

Array = np.ndarray[Any, np.dtype[Any]]


# By hand: one unit, one row, plain floats.


@pytest.mark.parametrize("peephole", [False, True], ids=["plain", "peephole"])
@pytest.mark.parametrize("coupled", [False, True], ids=["full", "coupled"])
@pytest.mark.parametrize("clips", [(0.0, 0.0), (0.4, 0.0), (0.0, 0.1), (0.4, 0.1)], ids=str)
def test_one_unit_equals_plain_floats(peephole: bool, coupled: bool, clips: tuple[float, float]) -> None:
    gate_clip, cell_clip = clips
    spec = LSTMSpec(1, 1, peephole=peephole, coupled_gates=coupled, gate_clip=gate_clip, cell_clip=cell_clip)
    arrays, xs = random_arrays(spec, 3), [0.7, -1.9, 1.3, 2.1]
    flat = {name: dict(zip(p.gates, arrays[name].ravel(), strict=True)) for name, p in parameters(spec).items()}
    W, R, b, bb = (flat[f"{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    V = flat.get("weight_ch_l0", {})

    def limit(v: float, bound: float) -> float:
        return max(-bound, min(bound, v)) if bound else v

    def pre(gate: str, x: float, h: float, c: float) -> float:
        return limit(W[gate] * x + b[gate] + R[gate] * h + bb[gate] + V.get(gate, 0.0) * c, gate_clip)

    def σ(a: float) -> float:
        return 1 / (1 + math.exp(-a))

    h = c = 0.0
    for t, x in enumerate(xs):
        i = σ(pre("i", x, h, c))
        f = 1 - i if coupled else σ(pre("f", x, h, c))
        c = limit(f * c + i * math.tanh(pre("g", x, h, c)), cell_clip)
        h = σ(pre("o", x, h, c)) * math.tanh(c)
        result = oracle.run(spec, arrays, np.reshape(xs[: t + 1], (1, -1, 1)))
        assert (result.h_n.item(), result.c_n.item()) == pytest.approx((h, c), rel=1e-14)
        assert (result.y[0, t, 0], result.c_all[0, t, 0]) == (result.h_n.item(), result.c_n.item())


# What one part says about another: lengths, directions, stacking, states.


def random_arrays(spec: LSTMSpec, seed: int) -> dict[str, Array]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(0, 0.6, p.shape) for name, p in parameters(spec).items()}


def part(arrays: dict[str, Array], own: str) -> dict[str, Array]:
    """One layer's or direction's parameters, named as those of a single forward layer."""
    kept = {k[: -len(own)] + "_l0": v for k, v in arrays.items() if k.endswith(own)}
    assert kept
    return kept


EVERYTHING: dict[str, Any] = {
    "bias": "single",
    "proj_size": 3,
    "peephole": True,
    "gate_clip": 1.5,
    "cell_clip": 0.8,
    "proj_clip": 0.5,
    "learned_state": True,
}


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch_first", "time_major"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional", "alternating"])
def test_a_row_is_what_it_is_alone_and_cut_to_its_length(direction: str, batch_first: bool) -> None:
    spec = LSTMSpec(4, 5, num_layers=3, direction=direction, batch_first=batch_first, **EVERYTHING)
    arrays, lengths = random_arrays(spec, 1), np.array([4, 0, 6, 1])
    x = np.random.default_rng(2).normal(size=(4, 6, 4))
    x[0, 4:], x[1], x[3, 1:] = np.nan, np.inf, np.nan  # what is past a length is never looked at
    whole = oracle.run(spec, arrays, x if batch_first else x.swapaxes(0, 1), lengths=lengths)
    y, c_all = (a if batch_first else a.swapaxes(0, 1) for a in (whole.y, whole.c_all))
    for b, n in enumerate(lengths):
        alone = oracle.run(spec.replace(batch_first=True), arrays, x[b : b + 1, :n])
        for name, rows in (("y", y), ("c_all", c_all)):
            np.testing.assert_array_equal(rows[b, :n], getattr(alone, name)[0], err_msg=f"{name}, row {b}")
            assert not rows[b, n:].any(), f"{name} past the length of row {b}"
        np.testing.assert_array_equal(whole.h_n[:, b], alone.h_n[:, 0])
        np.testing.assert_array_equal(whole.c_n[:, b], alone.c_n[:, 0])


@pytest.mark.parametrize("given", [True, False], ids=["given", "learned"])
def test_length_0_returns_the_initial_state_and_passes_its_gradient(given: bool) -> None:
    spec = LSTMSpec(4, 5, num_layers=2, direction="bidirectional", **EVERYTHING)
    draw, arrays = np.random.default_rng(4), random_arrays(spec, 5)
    h, c = (draw.normal(size=(4, 2, 3)), draw.normal(size=(4, 2, 5))) if given else (None, None)
    probes = {"h_n": draw.normal(size=(4, 2, 3)), "c_n": draw.normal(size=(4, 2, 5))}
    result = oracle.run(spec, arrays, np.ones((2, 3, 4)), h, c, [0, 0], probes=probes)
    for n, own in enumerate(["_l0", "_l0_reverse", "_l1", "_l1_reverse"]):
        for final, probe, state, name in (("h_n", "h_n", h, "h_0"), ("c_n", "c_n", c, "c_0")):
            initial = arrays[name + own] if state is None else state[n]
            np.testing.assert_array_equal(getattr(result, final)[n], np.broadcast_to(initial, probes[probe][n].shape))
            expected = np.zeros_like(arrays[name + own]) if given else probes[probe][n].sum(0)
            np.testing.assert_allclose(result.gradients[name + own], expected, rtol=1e-15)
    if given:
        np.testing.assert_array_equal(result.gradients["h_0"], probes["h_n"])
        np.testing.assert_array_equal(result.gradients["c_0"], probes["c_n"])


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "average"])
def test_bidirectional_is_forward_and_flipped_joined(merge: str) -> None:
    spec = LSTMSpec(4, 5, direction="bidirectional", merge=merge, **EVERYTHING)
    arrays, x = random_arrays(spec, 6), np.random.default_rng(7).normal(size=(3, 6, 4))
    both, one = oracle.run(spec, arrays, x), spec.replace(direction="forward", merge="concat")
    forward = oracle.run(one, part(arrays, "_l0"), x)
    backward = oracle.run(one, part(arrays, "_l0_reverse"), x[:, ::-1])
    a, b = forward.y, backward.y[:, ::-1]
    joined = {"concat": np.concatenate([a, b], 2), "sum": a + b, "mul": a * b, "average": (a + b) / 2}[merge]
    np.testing.assert_array_equal(both.y, joined)
    np.testing.assert_array_equal(both.h_n, np.concatenate([forward.h_n, backward.h_n]))
    np.testing.assert_array_equal(both.c_all, np.concatenate([forward.c_all, backward.c_all[:, ::-1]], 2))


@pytest.mark.parametrize("direction", ["forward", "reverse", "alternating"])
def test_a_stack_is_its_layers_one_after_another_with_masks_between(direction: str) -> None:
    spec = LSTMSpec(4, 5, num_layers=3, direction=direction, dropout=0.5, **EVERYTHING)
    draw, arrays = np.random.default_rng(8), random_arrays(spec, 9)
    x, masks = draw.normal(size=(2, 6, 4)), {f"dropout_l{k}": 2.0 * draw.integers(0, 2, (6, 2, 3)) for k in (1, 2)}
    stack, y = oracle.run(spec, arrays, x, masks=masks), x
    for k in range(3):
        way = "reverse" if direction == "reverse" or (direction == "alternating" and k == 1) else "forward"
        one = spec.replace(input_size=y.shape[2], num_layers=1, direction=way, dropout=0.0)
        y = y * masks[f"dropout_l{k}"].swapaxes(0, 1) if k else y
        layer = oracle.run(one, part(arrays, f"_l{k}"), y)
        y = layer.y
        np.testing.assert_array_equal(stack.h_n[k], layer.h_n[0])
        np.testing.assert_array_equal(stack.c_n[k], layer.c_n[0])
    np.testing.assert_array_equal(stack.y, y)
    np.testing.assert_array_equal(stack.c_all, layer.c_all)


def test_projection_is_clipped_after_it_is_made() -> None:
    spec = LSTMSpec(2, 3, proj_size=2)
    arrays, x = random_arrays(spec, 10), np.random.default_rng(11).normal(size=(1, 1, 2))
    free, bound = oracle.run(spec, arrays, x), 0.02
    clipped = oracle.run(spec.replace(proj_clip=bound), arrays, x)
    assert np.abs(free.y).max() > bound
    np.testing.assert_array_equal(clipped.y, np.clip(free.y, -bound, bound))
    np.testing.assert_array_equal(clipped.c_n, free.c_n)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrays": {}}, "weight_ih_l0 is not among"),
        ({"extra": np.zeros(3)}, "no parameters extra"),
        ({"x": np.zeros((2, 3, 5))}, "x has shape"),
        ({"h_0": np.zeros((2, 2, 5))}, "h_0 has shape"),
        ({"lengths": [4, 1]}, "lengths="),
        ({"masks": {"dropout_l0": np.ones((3, 2, 4))}}, "masks are \\['dropout_l0'\\], but the spec has \\[\\]"),
        ({"spec": LSTMSpec(4, 5, input_dropout=0.5), "masks": {}}, "the spec has \\['input_l0'\\]"),
        ({"probes": {"h": np.ones(1)}}, "h is not an output"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    spec = LSTMSpec(4, 5)
    call: dict[str, Any] = {"arrays": random_arrays(spec, 12), "x": np.zeros((2, 3, 4))}
    if "extra" in change:
        change = {"arrays": call["arrays"] | change}
    with pytest.raises(ValueError, match=message):
        oracle.run(**{"spec": spec, **call, **change})


def test_oracle_shares_no_code_with_what_it_judges() -> None:
    """It and all that it imports need NumPy and the standard library; each module of it is looked into.

    But that a user's own cell is looked up where users register them.
    """
    waiting, read = ["oracle"], set()
    while waiting:
        module = waiting.pop()
        read.add(module)
        outside, own = imports(Path(str(oracle.__file__)).with_name(f"{module}.py"))
        allowed = {
            "__future__",
            "contextlib",
            "contextvars",
            "operator",
            "collections.abc",
            "dataclasses",
            "typing",
            "numpy",
            "numpy.typing",
        }
        assert outside <= (allowed | {"unilstm.cells"} if module == "oracle_own" else allowed), module
        waiting += own - read
    assert {"oracle_lstm", "oracle_cells", "oracle_own", "oracle_shapes", "tape", "tape_functions"} <= read


def imports(path: Path) -> tuple[set[str], set[str]]:
    """The modules that a module imports when it runs: those of other packages, and those beside it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    typing_only = {id(n) for guard in guards for n in ast.walk(guard)}
    outside, own = set(), set()
    for n in ast.walk(tree):
        if isinstance(n, ast.Import) and id(n) not in typing_only:
            outside |= {alias.name for alias in n.names}
        elif isinstance(n, ast.ImportFrom) and id(n) not in typing_only:
            (own if n.level else outside).add(n.module or "")
    return outside, own
