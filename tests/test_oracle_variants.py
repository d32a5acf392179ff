"""What absent gates, highway, residual and recurrent dropout mean to the oracle: by hand, and by equivalence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from test_oracle import part, random_arrays
from unilstm import LSTMSpec
from unilstm.parameters import parameters
from unilstm_conformance import oracle


@pytest.mark.parametrize("recurrent", [0.0, 0.5], ids=["", "mask"])
@pytest.mark.parametrize("highway", [False, True], ids=["plain", "highway"])
@pytest.mark.parametrize(
    "gates", [(), ("input",), ("forget", "output"), ("input", "output"), ("input", "forget")], ids=str
)
def test_one_unit_without_some_gates_equals_plain_floats(
    gates: tuple[str, ...], highway: bool, recurrent: float
) -> None:
    fields: dict[str, Any] = {"gates": gates, "highway": highway, "peephole": bool(gates), "gate_clip": 0.7}
    spec = LSTMSpec(1, 1, recurrent_dropout=recurrent, **fields)
    arrays, xs, mask = random_arrays(spec, 3), [0.7, -1.9, 1.3, 2.1], 1.7 if recurrent else 1.0
    flat = {name: dict(zip(p.gates, arrays[name].ravel(), strict=False)) for name, p in parameters(spec).items()}
    W, R, b, bb = (flat[f"{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    V = flat.get("weight_ch_l0", {})

    def pre(gate: str, x: float, h: float, c: float) -> float:
        return max(-0.7, min(0.7, W[gate] * x + b[gate] + R[gate] * h * mask + bb[gate] + V.get(gate, 0.0) * c))

    def opened(gate: str, x: float, h: float, c: float) -> float:
        return 1 / (1 + math.exp(-pre(gate, x, h, c))) if gate in W else 1.0

    h, c = 0.4, -0.3
    masks: dict[str, Any] = {"masks": {"recurrent_l0": [[mask]]}} if recurrent else {}
    for t, x in enumerate(xs):
        old_h = h
        c = opened("f", x, h, c) * c + opened("i", x, h, c) * math.tanh(pre("g", x, h, c))
        h = opened("o", x, old_h, c) * math.tanh(c)
        if highway:
            r = opened("r", x, old_h, c)
            h = r * h + (1 - r) * (arrays["weight_xh_l0"].item() * x + arrays["bias_xh_l0"].item())
        result = oracle.run(spec, arrays, np.reshape(xs[: t + 1], (1, -1, 1)), [[[0.4]]], [[[-0.3]]], **masks)
        assert (result.h_n.item(), result.c_n.item()) == pytest.approx((h, c), rel=1e-14)
        assert result.y[0, t, 0] == result.h_n.item()


def test_residual_adds_the_layers_input_as_it_was_before_dropout() -> None:
    spec = LSTMSpec(
        4, 5, num_layers=3, residual=True, dropout=0.5, direction="bidirectional", merge="sum", highway=True
    )
    draw, arrays = np.random.default_rng(13), random_arrays(spec, 14)
    x, masks = draw.normal(size=(3, 6, 4)), {f"dropout_l{k}": 2.0 * draw.integers(0, 2, (6, 3, 5)) for k in (1, 2)}
    lengths = [6, 0, 2]
    stack, y = oracle.run(spec, arrays, x, lengths=lengths, masks=masks), x
    for k in range(3):
        one = spec.replace(input_size=y.shape[2], num_layers=1, residual=False, dropout=0.0)
        own = part(arrays, f"_l{k}") | {n + "_reverse": v for n, v in part(arrays, f"_l{k}_reverse").items()}
        layer = oracle.run(one, own, y * masks[f"dropout_l{k}"].swapaxes(0, 1) if k else y, lengths=lengths)
        y = layer.y + y if k else layer.y
        np.testing.assert_array_equal(stack.h_n[2 * k : 2 * k + 2], layer.h_n)
        np.testing.assert_array_equal(stack.c_n[2 * k : 2 * k + 2], layer.c_n)
    np.testing.assert_array_equal(stack.y, y)
    np.testing.assert_array_equal(stack.c_all, layer.c_all)
    assert not stack.y[1].any()
    assert not stack.y[2, 2:].any()


@pytest.mark.parametrize("name", ["recurrent_l1", "recurrent_l0_reverse", "recurrent", "dropout_l0"])
def test_a_mask_that_the_spec_does_not_have_is_refused(name: str) -> None:
    spec = LSTMSpec(4, 5, proj_size=3, recurrent_dropout=0.5)
    arrays, x, ones = random_arrays(spec, 12), np.ones((2, 3, 4)), np.ones((2, 3))
    with pytest.raises(ValueError, match="but the spec has \\['recurrent_l0'\\]"):
        oracle.run(spec, arrays, x, masks={"recurrent_l0": ones, name: ones})
    with pytest.raises(ValueError, match="mask recurrent_l0 has shape"):
        oracle.run(spec, arrays, x, masks={"recurrent_l0": np.ones((2, 5))})
    same = oracle.run(spec, arrays, x, masks={"recurrent_l0": ones})
    np.testing.assert_array_equal(same.y, oracle.run(spec, arrays, x).y)
