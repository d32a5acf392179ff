"""The parameters that a spec has: names, shapes and meaning, as data; and their initial values.

Canonical names are torch's where torch has one, with `_l{layer}` and, for the second direction, `_reverse`. A cell says
which it has (cells/: `arrays`). Those of cell="lstm", R being the rows of all row groups (spec.row_groups: lane by lane
the gates i f g o that exist, of H rows, or one a block; then r of a highway):

    weight_ih   [R, in]     input to gates
    weight_hh   [R, P|H]    recurrent
    bias_ih, bias_hh [R]    (bias="double"), or bias [R] (bias="single")
    gamma_ih, gamma_hh [R]  scales of the norms of W x and R h (layer_norm joint, normalized-state), or gamma [R] of
                            their sum (per-gate); gamma_c, beta_c [lanes·H] of c's norm (no beta_c without biases)
    weight_ch   [lanes·K·H] diagonal peepholes from c, gates in the order of spec.peephole_names (i f o, as above)
    weight_gg   [K·H, K·H]  from the gates i f o of the step before to those of this one (gate_recurrence)
    weight_xa   [lanes·H, in]  what the lanes attend by; bias_xa [lanes·H] unless bias="none"
    weight_xh   [H, in]     what a highway carries past the cell; bias_xh [H] beside it (bias="double" only, because it
                            is part of the input's bias where there are two)
    weight_hr   [P, H]      projection
    h_0 [P|H], c_0 [H] or [slots, H]   learned initial state
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import SpecError
from .masks import uniform
from .spec import LSTMSpec, parameter_name

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Parameter:
    """One array of one direction of one layer.

    role: the name without layer and direction. gates: the row groups that its first axis is made of, one letter each,
    or ""; sizes: the rows of each.
    """

    role: str
    layer: int
    direction: int
    shape: tuple[int, ...]
    gates: str = ""
    sizes: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return parameter_name(self.role, self.layer, self.direction)

    def rows(self) -> Iterator[tuple[str, slice]]:
        """The row groups: letter, and where they are."""
        start = 0
        for letter, size in zip(self.gates, self.sizes, strict=True):
            yield letter, slice(start, start + size)
            start += size


def layer_parameters(spec: LSTMSpec, layer: int, direction: int) -> tuple[Parameter, ...]:
    """The parameters of one direction of one layer, in torch's order."""
    return tuple(Parameter(a.role, layer, direction, a.shape, a.gates, a.sizes) for a in spec.arrays(layer))


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
    What those systems lack: scales of norms are 1, their shifts and learned states 0, matrices Glorot uniform ("torch":
    as all), and the rest, a cell of one's own included, U(±1/√H).
    """
    scheme = SCHEMES.get(init)
    if scheme is None:
        raise SpecError(f"init={init!r} is unknown. Choose one of: {', '.join(SCHEMES)}.")
    return {name: _initial(scheme, spec, p, _Draw(seed, name)) for name, p in parameters(spec).items()}


def _initial(scheme: Scheme, spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    if p.role.startswith("gamma"):
        return np.ones(p.shape)
    return np.zeros(p.shape) if p.role in ("h_0", "c_0", "beta_c") else scheme(spec, p, draw)


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
    return draw.uniform(p.shape, spec.hidden_size**-0.5)


def _glorot(draw: _Draw, shape: tuple[int, int], fan_in: int, fan_out: int) -> Array:
    return draw.uniform(shape, (6.0 / (fan_in + fan_out)) ** 0.5)


def _forget_one(spec: LSTMSpec, p: Parameter) -> Array:
    values = np.zeros(p.shape)
    if p.role in ("bias_ih", "bias"):  # once, not in both biases: they are added up
        for letter, rows in p.rows():
            values[rows] = letter == "f"
    return values


def _keras(spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    if p.role == "weight_ih":
        return _glorot(draw, (p.shape[0], p.shape[1]), p.shape[1], p.shape[0])
    if p.role == "weight_hh":  # over the fused (H, 4H) matrix, whose transpose this is
        return draw.orthogonal(p.shape[0], p.shape[1])
    return _others(spec, p, draw)


def _orthogonal(spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    if p.role == "weight_ih":
        return _glorot(draw, (p.shape[0], p.shape[1]), p.shape[1], spec.hidden_size)
    if p.role == "weight_hh":
        blocks = []
        for n, (letter, rows) in enumerate(p.rows()):
            one = _Draw(draw.seed, f"{p.name}/{letter}{n if n >= len(set(p.gates)) else ''}")
            blocks.append(one.orthogonal(rows.stop - rows.start, p.shape[1]))
        return np.concatenate(blocks)
    return _others(spec, p, draw)


def _others(spec: LSTMSpec, p: Parameter, draw: _Draw) -> Array:
    if p.role in ("weight_hr", "weight_xh", "weight_xa", "weight_gg"):
        return _glorot(draw, (p.shape[0], p.shape[1]), p.shape[1], p.shape[0])
    if p.role.startswith("bias"):
        return _forget_one(spec, p)
    return draw.uniform(p.shape, spec.hidden_size**-0.5)


Scheme = Callable[[LSTMSpec, Parameter, _Draw], Array]
SCHEMES: dict[str, Scheme] = {
    "torch": _torch,
    "keras": _keras,
    "orthogonal": _orthogonal,
}
