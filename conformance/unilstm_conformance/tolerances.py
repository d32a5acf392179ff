"""How far a result may be from the oracle's, and why exactly so far.

The unit is eps·max|reference|: the dtype's eps (2⁻²³ for float32, 2⁻⁵² for float64) times the largest magnitude in the
tensor that is judged. Distance in units in the last place, element by element, says nothing here: y has values near 0,
whose last place is far finer than the terms they were summed from.

**Outputs.** Every operation rounds, with a relative error of at most u = eps/2. Higham & Mary 2019 (A New Approach to
Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41(5), A2815-A2835): where N roundings in a chain are
independent and of mean zero, their joint effect is below λ·√N·u but for a probability of 2·exp(-λ²/2). In the worst
case, all roundings one way, the same chain gives N·u.

N, for one element of y: a step of one direction sums I + H products (P instead of H under a projection, and H more for
the projection itself) and rounds about 10 times besides (two biases, three peephole terms, three activations,
f·c + i·g, o·ψ(c)); T steps and L layers make the longest chain,

    N = T · Σ over layers (in + H + 10 [+ H, projected]).

λ = 2 in units of u, which is 1 in units of eps. A rounding error is spread over [-u, u], relative to a significand that
is spread over [1, 2): its standard deviation is about 0.4 u. So 2·√N·u is 5 standard deviations of the chain's error,
which one in two million values exceeds. The chain is not carried to its end: f < 1 damps what earlier steps did, and
matrix products are summed in blocks. N counts too many, therefore, and sound implementations stay well within: the
largest error over the default cases was 0.68 of the bound (JAX, without an output gate, so that h is as large as tanh
lets it be), and 0.41 with one. What computes in less than it should does not: float16 within float32 is 8192 times as
rough, TF32 likewise, bfloat16 more.

**Gradients.** A chain passes each step once forward and once back. On the way back, the sum for the gradients of x and
h runs over the G·H pre-activations of the gates, and a weight's gradient adds up T·B rows more:

    N' = N + T · Σ over layers (G·H + 10) + T·B.

The way back also multiplies by the slopes s·(1-s) and 1-g². They are computed from forward values that carry errors
already, and amplify a relative error of s or g up to twice. Hence 2·√N' in units of eps, λ being as above. The largest
error over all wide cases was 0.37 of it.

**Two computations against each other** (path against path, a row alone against the row in its batch, a golden vector):
errors of independent chains add in quadrature, √2 times the bound of one.

**Zero.** Where the reference is 0 throughout, nothing was rounded: the result must be exactly 0. So must, row by row,
outputs past a row's length and the gradient of x there; and the state of an empty row must be its initial state.
"""

from __future__ import annotations

import math

import numpy as np

from unilstm.spec import LSTMSpec

LAMBDA = 1.0  # in units of eps; see above
GRADIENT_FACTOR = 2.0
PAIR_FACTOR = math.sqrt(2.0)
_OTHER_ROUNDINGS = 10  # of a step, beside the sums over I and H


def eps(dtype: str) -> float:
    """The distance from 1 to the next number of the dtype."""
    return float(np.finfo(dtype).eps)


def roundings(spec: LSTMSpec, steps: int) -> int:
    """N: roundings on the longest chain to one element of an output."""
    projection = spec.hidden_size if spec.proj_size else 0
    a_step = (
        spec.layer_input_size(k) + spec.state_size + projection + _OTHER_ROUNDINGS for k in range(spec.num_layers)
    )
    return steps * sum(a_step)


def gradient_roundings(spec: LSTMSpec, steps: int, rows: int) -> int:
    """N': roundings on the longest chain, forward and back, to one element of a gradient."""
    back = len(spec.gate_names) * spec.hidden_size + _OTHER_ROUNDINGS
    return roundings(spec, steps) + steps * spec.num_layers * back + steps * rows


def output_units(spec: LSTMSpec, steps: int) -> float:
    """The bound for y, h_n, c_n and c of every step, in units of eps·max|reference|."""
    return LAMBDA * math.sqrt(roundings(spec, steps))


def gradient_units(spec: LSTMSpec, steps: int, rows: int) -> float:
    """The bound for gradients, in units of eps·max|reference|."""
    return LAMBDA * GRADIENT_FACTOR * math.sqrt(gradient_roundings(spec, steps, rows))
