"""The minLSTM: gates that see x alone, so that all steps can run at once (Feng et al. 2024, Were RNNs All We Needed?).

    i = σ(W_i x + b_i)    f = σ(W_f x + b_f)    g = φ(W_g x + b_g)
    c = f / (f + i) * c' + i / (f + i) * g    h = c

h' is read by nothing: c carries the state. c = a * c' + b with a and b of x alone is associative, (a, b) after (a', b')
being (a·a', a·b' + b), so that T steps take far fewer than T rounds (parallel.py).
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
    """One step. x: [B, I]; state: (h [B, H], c [B, H]). Returns (h, c), which are equal."""
    return advance(ops, spec, p, linear(ops, spec, p, x), state)


def linear(ops: Ops, spec: LSTMSpec, p: Parameters, x: Tensor) -> tuple[Tensor, Tensor]:
    """a and b of c = a * c' + b, of one step or of all: [..., I] → [..., H] each."""
    z_i, z_f, z_g = ops.split(inputs(ops, p, x), 3)
    i, f = ops.sigmoid(z_i), ops.sigmoid(z_f)
    total = f + i
    return f / total, i / total * spec.cell_activation(ops, z_g)


def advance(ops: Ops, spec: LSTMSpec, p: Parameters, given: tuple[Tensor, Tensor], state: State) -> State:
    a, b = given
    c = a * state[1] + b
    return c, c


def arrays(spec: LSTMSpec, input_size: int) -> tuple[Array, ...]:
    rows, gates = 3 * spec.hidden_size, ("ifg", (spec.hidden_size,) * 3)
    biases = tuple(Array(role, (rows,), *gates) for role in BIASES[str(spec.bias)])
    return (Array("weight_ih", (rows, input_size), *gates), *biases)


CELL = Cell(
    "minlstm",
    step,
    arrays,
    frozenset({"bias", "cell_activation"}),
    reads_h=False,
    source="Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, Were RNNs All We Needed?",
    prepare=linear,
    advance=advance,
    linear=linear,
)
