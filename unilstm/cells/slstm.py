"""The sLSTM: exponential gates, a normaliser and a stabiliser (Beck et al. 2024, xLSTM, section 2.2).

    z = tanh(z_g)    o = σ(z_o)    log f = log σ(z_f), or z_f with exponential_forget
    m = max(log f + m', z_i)                     the stabiliser
    i = exp(z_i - m)    f = exp(log f + m' - m)  both scaled by exp(-m), which c / n takes out again
    c = f * c' + i * z    n = f * n' + i    h = o * c / n

with z_a = W_a x + R_a h' + b_a. R is block-diagonal: num_heads heads, each of which reads its own part of h'. A state
of zeros is a fresh one: where n' is 0 there is nothing to keep, f = 0 and m = z_i, so that n = 1 whatever z_i is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..ops import Ops, Tensor
from .cell import Array, Cell
from .lstm import BIASES, inputs

if TYPE_CHECKING:
    from ..spec import LSTMSpec

Parameters = Mapping[str, Tensor]
State = tuple[Tensor, Tensor]


def step(ops: Ops, spec: LSTMSpec, p: Parameters, x: Tensor, state: State) -> State:
    """One step. x: [B, I]; state: (h [B, H], c, n and m one after the other [B, 3·H]). Returns the same."""
    return advance(ops, spec, p, prepare(ops, spec, p, x), state)


def prepare(ops: Ops, spec: LSTMSpec, p: Parameters, x: Tensor) -> tuple[Tensor]:
    """W x + b, of one step or of all: [..., I] → [..., 4·H]."""
    return (inputs(ops, p, x),)


def advance(ops: Ops, spec: LSTMSpec, p: Parameters, given: tuple[Tensor], state: State) -> State:
    h, memory = state
    c, n, m_before = ops.split(memory, 3)
    z_i, z_f, z_g, z_o = ops.split(given[0] + _by_heads(ops, spec, p["weight_hh"], h), 4)
    log_f = z_f if spec.exponential_forget else _log_sigmoid(ops, z_f)
    kept = log_f + m_before
    fresh = n == 0
    m = ops.where(fresh, z_i, ops.where(z_i > kept, z_i, kept))
    # A fresh state has nothing to keep, and exp(kept - z_i) may be infinite, which would poison results and gradients.
    zero = ops.full(0.0, n)
    f = ops.where(fresh, zero, ops.exp(ops.where(fresh, zero, kept - m)))
    i = ops.exp(z_i - m)
    c = f * c + i * ops.tanh(z_g)
    n = f * n + i
    return ops.sigmoid(z_o) * c / n, ops.concat([c, n, m])


def _log_sigmoid(ops: Ops, v: Tensor) -> Tensor:
    return ops.minimum(v, 0.0) - ops.log1p(ops.exp(-ops.abs(v)))


def _by_heads(ops: Ops, spec: LSTMSpec, weight: Tensor, h: Tensor) -> Tensor:
    """R h, R [4·H, H / heads] block-diagonal: rows of head k read the part of h of head k."""
    heads, hidden = spec.num_heads, spec.hidden_size
    if heads == 1:
        return ops.linear(h, weight)
    size, parts = hidden // heads, []
    for start in range(0, 4 * hidden, size):
        at = start % hidden
        parts.append(ops.linear(h[:, at : at + size], weight[start : start + size]))
    return ops.concat(parts)


def arrays(spec: LSTMSpec, input_size: int) -> tuple[Array, ...]:
    rows, gates = 4 * spec.hidden_size, ("ifgo", (spec.hidden_size,) * 4)
    weights = (
        Array("weight_ih", (rows, input_size), *gates),
        Array("weight_hh", (rows, spec.hidden_size // spec.num_heads), *gates),
    )
    return weights + tuple(Array(role, (rows,), *gates) for role in BIASES[str(spec.bias)])


CELL = Cell(
    "slstm",
    step,
    arrays,
    frozenset({"bias", "num_heads", "exponential_forget"}),
    3,
    source="Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter 2024, xLSTM",
    prepare=prepare,
    advance=advance,
)
