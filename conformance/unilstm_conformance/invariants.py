"""Checks of a backend against itself and against NumPy: what must not matter to the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import numpy as np

import unilstm
from unilstm import plugins
from unilstm.weights import Weights

from .cases import Case
from .execution import Run, Target, call, differentiate, forward, gradients, stream
from .measure import Measurement, compare, compare_states, same_bits
from .problems import OUTPUTS, Array, Problem, amplification, problem, valid
from .tolerances import PAIR_FACTOR, gradient_units, output_units

Measured = list[Measurement]


def path_agreement(target: Target, case: Case) -> Measured:
    """This path and the composed one give the same outputs and gradients."""
    composed = replace(target, path="composed")
    measured = _agree(forward(target, case), forward(composed, case), case)
    if target.vjp(case.spec) is None or composed.vjp(case.spec) is None:
        return measured
    got, want = gradients(target, case)[1], gradients(composed, case)[1]
    units = PAIR_FACTOR * gradient_units(case.spec, case.steps, case.batch, amplification(case))
    measured += [compare(f"gradient of {n}", got.get(n), value, units, case.dtype) for n, value in want.items()]
    return measured


def backend_agreement(target: Target, case: Case) -> Measured:
    """This backend and NumPy's give the same outputs."""
    return _agree(forward(target, case), forward(numpy_target(), case), case)


def bit_identity(target: Target, case: Case) -> Measured:
    """The kernel gives the bits that it gives NumPy, with gradients and without; again; and for some rows alone."""
    measured, (run, grads) = [], gradients(target, case)
    beside = gradients.__wrapped__(replace(numpy_target(), path="kernel"), case)
    for of, other in (("", beside), (" again", gradients.__wrapped__(target, case))):
        measured += [same_bits(f"{n}{of}", got, want) for n, got, want in zip(OUTPUTS, run, other[0], strict=True)]
        measured += [same_bits(f"gradient of {n}{of}", grads.get(n), value) for n, value in other[1].items()]
    plain = zip(OUTPUTS, forward(target, case), beside[0], strict=True)
    measured += [same_bits(f"{n} without gradients", got, want) for n, got, want in plain]
    if case.batch > 1:
        rows = slice(1, None)
        part, of_part = differentiate(target, _part(case, rows))
        whole = {"y": _rows(case, run.y, rows), "h_n": run.h_n[:, rows], "c_n": run.c_n[:, rows]}
        whole["gradient of x"] = _rows(case, grads["x"], rows)
        whole |= {f"gradient of {n}": grads[n][:, rows] for n in ("h_0", "c_0") if n in grads}
        alone = dict(zip(OUTPUTS, part, strict=True)) | {f"gradient of {n}": value for n, value in of_part.items()}
        measured += [same_bits(f"{n} of some rows", alone.get(n), value) for n, value in whole.items()]
    return measured


def streaming(target: Target, case: Case) -> Measured:
    """step() once for each step of the sequence gives what one call gives, and the same state at the end."""
    case = replace(case, lengths="none", steps=min(case.steps, 3))
    streamed = stream(target, problem(case), 1 if case.spec.batch_first else 0)
    return _agree(streamed, forward(target, case), case)


def batch_independence(target: Target, case: Case) -> Measured:
    """A row alone, as a batch of one, gives what it gives within the batch."""
    whole, measured = forward(target, case), []
    for b in sorted({0, case.batch - 1}):  # two of them: one may hold the maximum that couples it with the others
        row = slice(b, b + 1)
        one = Run(_rows(case, whole.y, row), whole.h_n[:, row], whole.c_n[:, row])
        measured += _agree(call(target, _part(case, row)), one, case, whole, f" of row {b}")
    return measured


def unbatched(target: Target, case: Case) -> Measured:
    """One sequence [T, I], cut to its length, gives what its row gives within the batch, one axis fewer."""
    lengths, axis = case.row_lengths or (case.steps,), 0 if case.spec.batch_first else 1
    b = next((b for b, steps in enumerate(lengths) if steps), 0)  # a sequence has a step at least
    part, whole, steps = _part(case, slice(b, b + 1)), forward(target, case), lengths[b]
    h_0, c_0 = (None if state is None else state[:, 0] for state in (part.h_0, part.c_0))
    alone = call(target, replace(part, x=part.x.squeeze(axis)[:steps], h_0=h_0, c_0=c_0, lengths=None))
    y = whole.y.take(b, axis)[:steps]
    return _agree(alone, Run(y, whole.h_n[:, b], whole.c_n[:, b]), case, whole)


def padding(target: Target, case: Case) -> Measured:
    """What x holds at and past a row's length, NaN even, changes no result."""
    pairs = zip(OUTPUTS, call(target, _with_nan_padding(case)), forward(target, case), strict=True)
    return [compare(name, got, want, 0.0, case.dtype) for name, got, want in pairs]


def padding_gradients(target: Target, case: Case) -> Measured:
    """What x holds at and past a row's length, NaN even, changes no gradient."""
    got, want = differentiate(target, _with_nan_padding(case))[1], gradients(target, case)[1]
    return [compare(f"gradient of {n}", got.get(n), value, 0.0, case.dtype) for n, value in want.items()]


def weights_round_trip(target: Target, case: Case) -> Measured:
    """The weights come back from a layer as they went in, bit for bit: directly, after a call, and ported by NumPy."""
    p = problem(case)
    with target.scope(case.dtype):
        layer = target.layer(p.weights)
        back = target.layer(unilstm.port(layer, to="numpy").weights())
        measured = list(_same_weights("weights()", layer.weights(), p.weights))
        measured += _same_weights("weights() after a call", forward(target, case).weights, p.weights)
        return [*measured, *_same_weights("weights() there and back", back.weights(), p.weights)]


def _same_weights(what: str, got: Mapping[str, Array], want: Weights) -> Iterator[Measurement]:
    for name, array in want.items():
        yield same_bits(f"{what} {name}", got.get(name), array)


def _agree(got: Run, want: Run, case: Case, whole: Run | None = None, of: str = "") -> Measured:
    """Compare two computations. whole: the run that want is a part of."""
    units = PAIR_FACTOR * output_units(case.spec, case.steps, amplification(case))
    measured: Measured = []
    for name, one, other, within in zip(OUTPUTS, got, want, whole or want, strict=True):
        slots = case.spec.slots if name == "c_n" else 1
        measured += compare_states(f"{name}{of}", one, other, slots, units, case.dtype, within)
    return measured


def _part(case: Case, rows: slice) -> Problem:
    """Some rows of a case, as a problem of their own."""
    p = problem(case)
    h_0, c_0 = (None if state is None else state[:, rows] for state in (p.h_0, p.c_0))
    probes = {n: v[:, rows] if n in ("h_n", "c_n") else _rows(case, v, rows) for n, v in p.probes.items()}
    lengths = None if p.lengths is None else p.lengths[rows]
    return replace(p, x=_rows(case, p.x, rows), h_0=h_0, c_0=c_0, lengths=lengths, probes=probes)


def _with_nan_padding(case: Case) -> Problem:
    p = problem(case)
    return replace(p, x=np.where(valid(case)[..., None], p.x, np.asarray(np.nan, case.dtype)))


def _rows(case: Case, sequence: Array, rows: slice) -> Array:
    return sequence[rows] if case.spec.batch_first else sequence[:, rows]


@cache
def numpy_target() -> Target:
    return Target("numpy", plugins.get("numpy"), "composed")
