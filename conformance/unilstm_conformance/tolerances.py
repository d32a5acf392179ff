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

    N = T · Σ over layers (in + P + 10 + A),

where A is what a variant adds to a step:

    projection            H       W_hr m
    gate recurrence       n·H     each of the n gates sees the H activations of all n
    blocks with peephole  H/K     a gate's sum over its block
    lanes                 lanes   their sum; attention 2·lanes + 4 besides: the softmax, its product with a gate, 1 - f.
                                  (The I products of the attention itself stand beside those of the gates, not behind.)
    layer norm            2·R+6 and 2·H+6   a mean and a variance, of the R pre-activations (per-gate: H at most) and of
                                  c; a difference, a sum, a root, a quotient, a scale and a shift
    masks and zoneout     1 each; zoneout 3 each: a difference, a product and a sum, in evaluation, too
    sLSTM                 8, its H products being H/heads: it has two exponentials, a log σ of three, a maximum, two
                                  differences, a second sum and a quotient in place of a peephole and an activation

and a user's own cell, of which only the parameters are known, has the columns of each matrix, one for each vector, and
10 besides in place of in + P + 10.

λ = 2 in units of u, which is 1 in units of eps. A rounding error is spread over [-u, u], relative to a significand that
is spread over [1, 2): its standard deviation is about 0.4 u. So 2·√N·u is 5 standard deviations of the chain's error,
which one in two million values exceeds. The chain is not carried to its end: f < 1 damps what earlier steps did, and
matrix products are summed in blocks. N counts too many, therefore, and sound implementations stay well within: the
largest error over the default cases was 0.68 of the bound (JAX, without an output gate, so that h is as large as tanh
lets it be), and 0.41 with one. What computes in less than it should does not: float16 within float32 is 8192 times as
rough, TF32 likewise, bfloat16 more.

**Amplification.** Two operations make a relative error larger than those of their operands, by as much as the numbers
that meet there say; the oracle notes by how much, at worst, in all steps and rows of a call (Result.amplification), and
the bound is that many times as large. A norm takes the mean away: where v is large beside its deviations, what is left
of v is as wrong as v was. It divides by s = sqrt(var v + ε), so |v|/s, relative to the largest |N(v)|, or to 1 where
that is smaller. And an exponential turns the absolute error of its argument into a relative one, the sLSTM's: the
largest of |z_i|, |z_f|, |log f + m| and |m|. All else is 1, whose amplification λ has room for.

**Gradients.** A chain passes each step once forward and once back. On the way back, the sum for the gradients of x and
h runs over the R rows of the pre-activations, as many as the gates have units, the sums named above run the other way,
and a weight's gradient adds up T·B rows more:

    N' = N + T · Σ over layers (R + 10 + A') + T·B,

where A' is A, a norm's two sums on the way back being as long as its two on the way forward, with P in place of H for a
projection, which is transposed, and lanes·H for attention, whose x it reaches too.

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

from unilstm.parameters import layer_parameters
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
    a_step = (_products(spec, k) + _OTHER_ROUNDINGS + added(spec) for k in range(spec.num_layers))
    return steps * sum(a_step)


def gradient_roundings(spec: LSTMSpec, steps: int, rows: int) -> int:
    """N': roundings on the longest chain, forward and back, to one element of a gradient."""
    back = (_rows(spec, k) + _OTHER_ROUNDINGS + added(spec, back=True) for k in range(spec.num_layers))
    return roundings(spec, steps) + steps * sum(back) + steps * rows


def added(spec: LSTMSpec, *, back: bool = False) -> int:
    """A, or A': what a variant adds to the roundings of a step. See above for the terms."""
    H, P, lanes = spec.hidden_size, spec.state_size, spec.lanes
    gates = len([letter for letter in spec.gate_names if letter in "ifo"])
    terms = {
        "projection": (P if back else H) * bool(spec.proj_size),
        "gate recurrence": gates * H * spec.gate_recurrence,
        "blocks": H // spec.num_blocks if spec.num_blocks and spec.peephole else 0,
        "lanes": lanes * (lanes > 1),
        "attention": (2 * lanes + 4 + lanes * H * back) * spec.lane_pooling.startswith("attention"),
        "norm": _norm(spec),
        "masks": sum(p > 0 for p in (spec.dropout, spec.input_dropout, spec.recurrent_dropout, spec.weight_dropout)),
        "zoneout": 3 * ((spec.zoneout_hidden > 0) + (spec.zoneout_cell > 0)),
        "sLSTM": 8 * (spec.cell == "slstm"),
    }
    return sum(terms.values())


def _norm(spec: LSTMSpec) -> int:
    if spec.layer_norm == "none":
        return 0
    of_gates = spec.hidden_size if spec.layer_norm == "per-gate" else _rows(spec, 0)
    return 2 * of_gates + 6 + 2 * spec.hidden_size + 6


def _products(spec: LSTMSpec, layer: int) -> int:
    """Products that are summed up in a step."""
    if spec.cell in ("lstm", "slstm", "minlstm"):
        return spec.layer_input_size(layer) + (spec.state_size // spec.num_heads) * (spec.cell != "minlstm")
    return sum(p.shape[-1] if len(p.shape) > 1 else 1 for p in layer_parameters(spec, layer, 0))


def _rows(spec: LSTMSpec, layer: int) -> int:
    """Rows of the pre-activations; of a user's own cell, of all matrices."""
    shapes = {p.role: p.shape for p in layer_parameters(spec, layer, 0)}
    if spec.cell in ("lstm", "slstm", "minlstm"):
        return shapes["weight_ih"][0]
    return sum(shape[0] if len(shape) > 1 else 1 for shape in shapes.values())


def output_units(spec: LSTMSpec, steps: int, amplification: float = 1.0) -> float:
    """The bound for y, h_n, c_n and c of every step, in units of eps·max|reference|."""
    return LAMBDA * amplification * math.sqrt(roundings(spec, steps))


def gradient_units(spec: LSTMSpec, steps: int, rows: int, amplification: float = 1.0) -> float:
    """The bound for gradients, in units of eps·max|reference|."""
    return LAMBDA * GRADIENT_FACTOR * amplification * math.sqrt(gradient_roundings(spec, steps, rows))
