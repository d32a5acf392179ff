"""How far from float64 a framework's float32 is: outputs, final states and every gradient of one standard layer.

The float64 numbers are the conformance oracle's, which shares no code with anything here. An error is the largest
difference of an array, in float32 eps of the array's largest number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import unilstm
from unilstm import LSTMSpec, Weights
from unilstm_conformance import oracle

from .subject import Shape

# By the names of the tables: what the oracle calls them. Both biases have the same gradient.
QUANTITIES = {
    "y": "y", "h_n": "h_n", "c_n": "c_n", "dx": "x", "dh_0": "h_0", "dc_0": "c_0", "dW_ih": "weight_ih_l0",
    "dW_hh": "weight_hh_l0", "db": "bias_ih_l0",
}  # fmt: skip
Values = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A layer, what it is given, and the weights of the sum over its outputs that is differentiated. All float32."""

    weights: Weights
    x: Any  # [B, T, I]
    state: tuple[Any, Any]  # [1, B, H] each
    probes: dict[str, Any]  # of y, h_n, c_n

    @classmethod
    def of(cls, shape: Shape, seed: int = 0) -> Case:
        b, t, i, h = shape
        draw = np.random.default_rng(seed)
        weights = Weights.initial(LSTMSpec(i, h), seed=seed, dtype="float32")
        x, y, *states = (draw.standard_normal(s).astype("f4") for s in ((b, t, i), (b, t, h), *4 * [(1, b, h)]))
        return cls(weights, x, (states[0] / 2, states[1] / 2), {"y": y, "h_n": states[2], "c_n": states[3]})


def exact(case: Case) -> Values:
    """The float64 numbers, by the names of QUANTITIES."""
    found = oracle.run(case.weights.spec, case.weights, case.x, *case.state, probes=case.probes)
    return {
        name: found.gradients[of] if of in found.gradients else getattr(found, of) for name, of in QUANTITIES.items()
    }


def errors(got: Mapping[str, Any], want: Mapping[str, Any]) -> dict[str, float]:
    eps = float(np.finfo("float32").eps)
    return {
        name: float(np.abs(np.asarray(got[name], "f8") - one).max() / np.abs(one).max()) / eps
        for name, one in want.items()
    }


def kernel(case: Case) -> Values:
    """Of the kernel, whose bits are the same in all frameworks."""
    layer = unilstm.LSTM(case.weights, backend="numpy", path="kernel")
    (y, (h, c)), pull = layer.vjp(case.x, case.state)
    gradients = pull(case.probes["y"], (case.probes["h_n"], case.probes["c_n"]))
    outputs = {"y": y, "h_n": h, "c_n": c}
    return {name: outputs[of] if of in outputs else gradients[of] for name, of in QUANTITIES.items()}


def torch_lstm(case: Case) -> Values:
    import torch

    layer = torch.nn.LSTM(case.x.shape[2], case.state[0].shape[2], batch_first=True)
    layer.load_state_dict({name: torch.tensor(value) for name, value in case.weights.items()})
    x, h_0, c_0 = (torch.tensor(value, requires_grad=True) for value in (case.x, *case.state))
    y, (h, c) = layer(x, (h_0, c_0))
    sum((out * torch.tensor(by)).sum() for out, by in zip((y, h, c), case.probes.values(), strict=True)).backward()
    outputs = [value.detach().numpy() for value in (y, h, c)]
    leaves = (x, h_0, c_0, layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)
    return dict(zip(QUANTITIES, (*outputs, *(leaf.grad.numpy() for leaf in leaves)), strict=True))


def paddle_lstm(case: Case) -> Values:
    import paddle

    layer = paddle.nn.LSTM(case.x.shape[2], case.state[0].shape[2])
    layer.set_state_dict({name: paddle.to_tensor(value) for name, value in case.weights.items()})
    x, h_0, c_0 = (paddle.to_tensor(value, stop_gradient=False) for value in (case.x, *case.state))
    y, (h, c) = layer(x, (h_0, c_0))
    sum((out * paddle.to_tensor(by)).sum() for out, by in zip((y, h, c), case.probes.values(), strict=True)).backward()
    outputs = [value.numpy() for value in (y, h, c)]
    leaves = (x, h_0, c_0, layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)
    return dict(zip(QUANTITIES, (*outputs, *(leaf.grad.numpy() for leaf in leaves)), strict=True))


def flax_rnn(case: Case) -> Values:
    """A jitted scan: flax's RNN. Its one bias, on the side of h, is the sum of both."""
    import jax
    from flax import linen

    w, hidden = case.weights, case.state[0].shape[2]
    cell: dict[str, dict[str, Any]] = {}
    for n, gate in enumerate("ifgo"):
        rows = slice(n * hidden, (n + 1) * hidden)
        cell["i" + gate] = {"kernel": w["weight_ih_l0"][rows].T}
        cell["h" + gate] = {"kernel": w["weight_hh_l0"][rows].T, "bias": (w["bias_ih_l0"] + w["bias_hh_l0"])[rows]}
    rnn = linen.RNN(linen.OptimizedLSTMCell(hidden), return_carry=True)

    def run(cell: Any, x: Any, h: Any, c: Any) -> Any:
        (c, h), y = rnn.apply({"params": {"cell": cell}}, x, initial_carry=(c, h))
        return y, h, c

    @jax.jit
    def both(*given: Any) -> Any:
        outputs, pull = jax.vjp(run, *given)
        return outputs, pull(
            tuple(by.reshape(out.shape) for out, by in zip(outputs, case.probes.values(), strict=True))
        )

    outputs, (of_cell, *of_given) = both(cell, case.x, *(one[0] for one in case.state))
    of_weights = [
        np.concatenate([of_cell[side + gate][kind].T for gate in "ifgo"])
        for side, kind in (("i", "kernel"), ("h", "kernel"), ("h", "bias"))
    ]
    found = dict(zip(QUANTITIES, (*outputs, *of_given, *of_weights), strict=True))
    return {n: np.asarray(v)[None] if n in ("h_n", "c_n", "dh_0", "dc_0") else v for n, v in found.items()}


PEERS: dict[str, Callable[[Case], Values]] = {"torch": torch_lstm, "paddle": paddle_lstm, "jax": flax_rnn}
