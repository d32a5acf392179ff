"""The oracle's cells: what they have in common, and the sLSTM and the minLSTM. The LSTM is in oracle_lstm.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .tape import Array, Var
from .tape_functions import activated, chosen, exp, joined, larger, log_sigmoid

if TYPE_CHECKING:
    from unilstm.spec import LSTMSpec

State = tuple[Var, ...]  # c: its slots, each a vector of H
Parameter = Callable[[str, tuple[int, ...]], Var]  # a direction's parameter by role, of the shape that it must have


class Cell(Protocol):
    """One direction of one layer: its equations and its parameters.

    slots: how many vectors of H make up c. cells: how many of them, counted from the first, zoneout acts on.
    h_0 [P], c_0: the initial state. amplification: see Result in oracle.py; of all steps until now.
    """

    slots: int
    cells: int
    amplification: float
    h_0: Var
    c_0: State

    def step(self, x: Var, h: Var, c: State, mask: Array | None) -> tuple[Var, State]:
        """One step: the new h and c from x and the old ones. mask: of the recurrent dropout, in training."""


def slots_of(c: Var, slots: int) -> State:
    """A state c, [H] or [slots, H], as its slots."""
    return (c,) if slots == 1 else tuple(c[n] for n in range(slots))


def initial_state(spec: LSTMSpec, parameter: Parameter, slots: int) -> tuple[Var, State]:
    """The learned one, or zeros."""
    H, P = spec.hidden_size, spec.proj_size or spec.hidden_size
    if not spec.learned_state:
        return Var(np.zeros(P)), tuple(Var(np.zeros(H)) for _ in range(slots))
    return parameter("h_0", (P,)), slots_of(parameter("c_0", (slots, H) if slots > 1 else (H,)), slots)


class WeightedCell:
    """The weights that are the same for all cells, and the initial state."""

    slots = cells = 1
    amplification = 1.0

    def __init__(self, spec: LSTMSpec, parameter: Parameter, input_size: int, rows: int, read: int) -> None:
        """rows: of the weights. read: how many features of h each of them reads, 0 where there is no weight_hh."""
        self.spec = spec
        self.H, self.P = spec.hidden_size, spec.proj_size or spec.hidden_size
        self.W = parameter("weight_ih", (rows, input_size))
        self.R = parameter("weight_hh", (rows, read)) if read else None
        roles = {"double": ("bias_ih", "bias_hh"), "single": ("bias",), "none": ()}[str(spec.bias)]
        self.biases = [parameter(role, (rows,)) for role in roles]
        self.h_0, self.c_0 = initial_state(spec, parameter, self.slots)

    def biased(self, a: Var, rows: slice) -> Var:
        for b in self.biases:
            a = a + b[rows]
        return a


class SLSTMCell(WeightedCell):
    """The sLSTM of xLSTM (Beck et al. 2024, section 2.2): exponential gates, a normaliser n and a stabiliser m."""

    slots = cells = 3

    def __init__(self, spec: LSTMSpec, parameter: Parameter, input_size: int) -> None:
        self.size = spec.hidden_size // spec.num_heads
        super().__init__(spec, parameter, input_size, 4 * spec.hidden_size, self.size)

    def preactivation(self, letter: str, x: Var, h: Var) -> Var:
        """W x + R h + b of one gate, head by head: each reads its own part of h."""
        assert self.R is not None
        start, out = "ifgo".index(letter) * self.H, []
        for first in range(0, self.H, self.size):
            rows = slice(start + first, start + first + self.size)
            out.append(self.biased(self.W[rows] @ x + self.R[rows] @ h[first : first + self.size], rows))
        return joined(*out)

    def step(self, x: Var, h: Var, c: State, mask: Array | None) -> tuple[Var, State]:
        """Eqs. 8-17 there, the gates i f g o being their i f z o, c the cell, n the normaliser, m the stabiliser:

            m' = max(log f + m, z_i), where log f = log σ(z_f), or z_f with an exponential forget gate
            i = exp(z_i - m'),  f = exp(log f + m - m'),  g = tanh(z_g),  o = σ(z_o)
            c' = f ⊙ c + i ⊙ g
            n' = f ⊙ n + i
            h' = o ⊙ c' / n'

        Where n is 0 nothing has been read yet, and nothing is kept: m' = z_i and f = 0.
        """
        h = h if mask is None else h.scaled(mask)
        z = {letter: self.preactivation(letter, x, h) for letter in "ifgo"}
        g, o = activated(z["g"], "tanh", None, None), activated(z["o"], "sigmoid", None, None)
        cell, n, m = c
        nothing = Var(np.zeros(self.H))
        kept = (z["f"] if self.spec.exponential_forget else log_sigmoid(z["f"])) + m
        fresh = n.value == 0.0
        m = chosen(fresh, z["i"], larger(kept, z["i"]))
        # The exponentials make an absolute error of their arguments a relative one of their values.
        self.amplification = max(self.amplification, *(float(np.abs(v.value).max()) for v in (z["i"], z["f"], kept, m)))
        i, f = exp(z["i"] - m), chosen(fresh, nothing, exp(chosen(fresh, nothing, kept - m)))
        cell, n = f * cell + i * g, f * n + i
        return o * cell / n, (cell, n, m)


class MinLSTMCell(WeightedCell):
    """The minLSTM (Feng et al. 2024, section 3.2): its gates do not see h, and they add up to 1."""

    def __init__(self, spec: LSTMSpec, parameter: Parameter, input_size: int) -> None:
        super().__init__(spec, parameter, input_size, 3 * spec.hidden_size, 0)

    def step(self, x: Var, h: Var, c: State, mask: Array | None) -> tuple[Var, State]:
        """With i and f the σ, and g the φ, of W x + b: c' = f / (f + i) ⊙ c + i / (f + i) ⊙ g, and h' = c'."""
        z_i, z_f, z_g = (self.biased(self.W[r] @ x, r) for r in (slice(n * self.H, (n + 1) * self.H) for n in range(3)))
        i, f = activated(z_i, "sigmoid", None, None), activated(z_f, "sigmoid", None, None)
        kind = self.spec.cell_activation
        g = activated(z_g, kind.name, kind.alpha, kind.beta)
        new = f / (f + i) * c[0] + i / (f + i) * g
        return new, (new,)
