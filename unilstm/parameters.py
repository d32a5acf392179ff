"""The parameters that a spec has: names, shapes and meaning, as data; and their initial values.

Canonical names are torch's where torch has one, with `_l{layer}` and, for the second direction, `_reverse`:

    weight_ih   [G·H, in]   input to gates, gates in the order of spec.gate_names (i f g o r, those that exist)
    weight_hh   [G·H, P|H]  recurrent
    bias_ih, bias_hh [G·H]  (bias="double"), or bias [G·H] (bias="single")
    weight_ch   [K·H]       diagonal peepholes from c, gates in the order of spec.peephole_names (i f o, as above)
    weight_xh   [H, in]     what a highway carries past the cell; bias_xh [H] beside it (bias="double" only, because it
                            is part of the input's bias where there are two)
    weight_hr   [P, H]      projection
    h_0 [P|H], c_0 [H]      learned initial state
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import SpecError
from .masks import uniform
from .spec import LSTMSpec

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Parameter:
    """One array of one direction of one layer.

    role: the name without layer and direction. gates: the gates its first axis is made of, one letter each, or "".
    """

    role: str
    layer: int
    direction: int
    shape: tuple[int, ...]
    gates: str = ""

    @property
    def name(self) -> str:
        return f"{self.role}_l{self.layer}{'_reverse' if self.direction else ''}"


def layer_parameters(spec: LSTMSpec, layer: int, direction: int) -> tuple[Parameter, ...]:
    """The parameters of one direction of one layer, in torch's order."""
    hidden, state = spec.hidden_size, spec.state_size
    gates, peepholes = spec.gate_names, spec.peephole_names
    rows = len(gates) * hidden
    shapes: list[tuple[str, tuple[int, ...], str]] = [
        ("weight_ih", (rows, spec.layer_input_size(layer)), gates),
        ("weight_hh", (rows, state), gates),
    ]
    if spec.bias == "double":
        shapes += [("bias_ih", (rows,), gates), ("bias_hh", (rows,), gates)]
    elif spec.bias == "single":
        shapes += [("bias", (rows,), gates)]
    if peepholes:
        shapes += [("weight_ch", (len(peepholes) * hidden,), peepholes)]
    if spec.highway:
        shapes += [("weight_xh", (hidden, spec.layer_input_size(layer)), "")]
        shapes += [("bias_xh", (hidden,), "")] if spec.bias == "double" else []
    if spec.proj_size:
        shapes += [("weight_hr", (spec.proj_size, hidden), "")]
    if spec.learned_state:
        shapes += [("h_0", (state,), ""), ("c_0", (hidden,), "")]
    return tuple(Parameter(role, layer, direction, shape, g) for role, shape, g in shapes)


def parameters(spec: LSTMSpec) -> dict[str, Parameter]:
    """Every parameter of a spec by canonical name, layer by layer, direction by direction."""
    found = [
        p for k in range(spec.num_layers) for d in range(spec.num_directions) for p in layer_parameters(spec, k, d)
    ]
    return {p.name: p for p in found}


def parameter_count(spec: LSTMSpec) -> int:
    return sum(int(np.prod(p.shape, dtype=np.int64)) for p in parameters(spec).values())


# Initial values. They are drawn in float64 from the project's own counter-based generator (masks.py) and rounded once,
# so that a seed gives the same weights on every backend, dtype by dtype, and with every version of NumPy. Each
# parameter has a stream of its own, so that adding a layer does not change the others.


def initial_values(spec: LSTMSpec, seed: int, init: str = "torch") -> dict[str, Array]:
    """Float64 initial values by canonical name.

    init: "torch" — U(-1/√H, 1/√H) for all (torch, Paddle, equinox);
    "keras" — Glorot uniform over the fused (in, 4H) kernel, orthogonal over the fused (H, 4H) recurrent kernel,
    biases 0 but 1 for the forget gate;
    "orthogonal" — gate by gate: Glorot uniform, orthogonal, biases 0 but 1 for the forget gate (haste's).
    Peepholes and learned states, which those systems lack, are U(±1/√H) and 0.
    """
    scheme = SCHEMES.get(init)
    if scheme is None:
        raise SpecError(f"init={init!r} is unknown. Choose one of: {', '.join(SCHEMES)}.")
    return {name: scheme(spec, p, _Draw(seed, name)) for name, p in parameters(spec).items()}


class _Draw:
    """Random numbers for one parameter."""

    def __init__(self, seed: int, name: str) -> None:
        self.seed, self.stream = seed, zlib.crc32(name.encode())

    def uniform(self, shape: tuple[int, ...], bound: float) -> Array:
        return (2.0 * uniform(self.seed, self.stream, shape) - 1.0) * bound

    def orthogonal(self, rows: int, columns: int) -> Array:
        """Saxe et al. 2014: the Q of a normal matrix, signs fixed so that it is uniformly distributed."""
        tall, thin = max(rows, columns), min(rows, columns)
        u = uniform(self.seed, self.stream, (2, tall, thin))
        normal = np.sqrt(-2.0 * np.log1p(-u[0])) * np.cos(2.0 * np.pi * u[1])  # Box & Muller 1958
        q, r = np.linalg.qr(normal)
        q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
        return np.ascontiguousarray(q if rows >= columns else q.T)


def _torch(spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    if p.role in ("h_0", "c_0"):
        return np.zeros(p.shape)
    return draw.uniform(p.shape, spec.hidden_size**-0.5)


def _glorot(draw: _Draw, shape: tuple[int, int], fan_in: int, fan_out: int) -> Array:
    return draw.uniform(shape, (6.0 / (fan_in + fan_out)) ** 0.5)


def _forget_one(spec: LSTMSpec, p: Parameter) -> Array:
    values = np.zeros(p.shape)
    if p.role in ("bias_ih", "bias") and "f" in p.gates:  # once, not in both biases: they are added up
        at = p.gates.index("f") * spec.hidden_size
        values[at : at + spec.hidden_size] = 1.0
    return values


def _keras(spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    if p.role == "weight_ih":
        return _glorot(draw, (p.shape[0], p.shape[1]), p.shape[1], p.shape[0])
    if p.role == "weight_hh":  # over the fused (H, 4H) matrix, whose transpose this is
        return draw.orthogonal(p.shape[0], p.shape[1])
    return _others(spec, p, draw)


def _orthogonal(spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    hidden, count = spec.hidden_size, len(p.gates)
    if p.role == "weight_ih":
        return _glorot(draw, (p.shape[0], p.shape[1]), p.shape[1], hidden)
    if p.role == "weight_hh":
        blocks = []
        for gate in range(count):
            one = _Draw(draw.seed, f"{p.name}/{p.gates[gate]}")
            blocks.append(one.orthogonal(hidden, p.shape[1]))
        return np.concatenate(blocks)
    return _others(spec, p, draw)


def _others(spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    if p.role in ("weight_hr", "weight_xh"):
        return _glorot(draw, (p.shape[0], p.shape[1]), p.shape[1], p.shape[0])
    if p.role == "weight_ch":
        return draw.uniform(p.shape, spec.hidden_size**-0.5)
    return _forget_one(spec, p)


SCHEMES: dict[str, Callable[[LSTMSpec, Parameter, _Draw], Array]] = {
    "torch": _torch,
    "keras": _keras,
    "orthogonal": _orthogonal,
}
