"""Checks against the oracle: outputs, final states, every step's c, gradients, dropout masks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from unilstm.spec import LSTMSpec

from . import execution
from .cases import Case
from .execution import Target, forward, gradients
from .measure import Measurement, compare, compare_states, holds, same_bits
from .problems import OUTPUTS, Array, amplification, growth, problem, reference, state_shapes, valid
from .tolerances import gradient_units, output_units

Measured = list[Measurement]
# One rounding has a standard deviation of 0.2 eps, the oracle's noise of 0.58 NOISE; and one operation of the oracle
# stands for a sum of up to some 20 products: 0.2 / 0.58 · √20 = 1.5. So this is more than 6 standard deviations.
GROWTH = 10.0


def outputs(target: Target, case: Case) -> Measured:
    """y is the oracle's, and exactly 0 at and past each row's length."""
    y = forward(target, case).y
    return [*_outputs(("y", y, reference(case).y), case=case), *_zero_past_length("y", y, case)]


def final_state(target: Target, case: Case) -> Measured:
    """h_n and c_n are the oracle's; those of an empty row are its initial state, bit for bit."""
    run, want = forward(target, case), reference(case)
    measured = _outputs(("h_n", run.h_n, want.h_n), ("c_n", run.c_n, want.c_n), case=case)
    empty = np.array([n == 0 for n in case.row_lengths or ()], dtype=bool)
    if empty.any() and all(m.ok for m in measured):
        initial = _initial_state(case)
        for name, got, start in zip(("h_n", "c_n"), (run.h_n, run.c_n), initial, strict=True):
            measured.append(same_bits(f"{name} of empty rows", got[:, empty], start[:, empty]))
    return measured


def inputs_unchanged(target: Target, case: Case) -> Measured:
    """A call leaves x, h_0, c_0 and lengths as they were, bit for bit."""
    changed = forward(target, case).changed
    return [holds("inputs", not changed, f"the call changed {' and '.join(changed)} in place")]


def gradient(target: Target, case: Case) -> Measured:
    """The outputs while differentiating, and the gradients of x, the initial state and every parameter."""
    return _gradients(target, case, training=False)


def masks(target: Target, case: Case) -> Measured:
    """In training mode a key gives the masks that the project's generator gives, and again the next time.

    One wrong bit in a mask changes the outputs by far more than rounding does. Gradients pass through the masks.
    """
    run, want = forward(target, case, training=True), reference(case, training=True)
    triples = zip(OUTPUTS, run, (want.y, want.h_n, want.c_n), strict=True)
    measured = _outputs(*triples, case=case, training=True)
    assert case.key is not None
    if case.thorough:  # each of these calls is compiled once more where calls are compiled
        again = forward.__wrapped__(target, case, training=True)  # around the cache
        other = forward(target, replace(case, key=case.key ^ 1), training=True)
        measured.append(same_bits("y with the same key", again.y, run.y))
        measured.append(holds("y with another key", bool((other.y != run.y).any()), "is the same: the key is ignored"))
    if target.backend.vjp() is not None:
        measured += _gradients(target, case, training=True)
    return measured


def at_once(target: Target, case: Case) -> Measured:
    """One call of any spec, in training where the case has a key: outputs, and gradients where there are no ties.

    By the bounds of tolerances.py, or by how errors grow in this very case, where that is more.
    """
    training = case.key is not None
    want, grown = reference(case, training), growth(case, training)
    grads: dict[str, Array] = {}
    if target.backend.vjp() is None or has_ties(case.spec):
        run = forward(target, case, training=training)
    else:
        run, grads = gradients(target, case, training=training)

    def measured(what: str, name: str, got: Any, wanted: Array, units: float) -> Measurement:
        largest = np.abs(wanted).max(initial=0.0)
        of_case = GROWTH * grown[name] / largest if largest else 0.0
        return compare(what, got, wanted, max(units, of_case), case.dtype)

    units = output_units(case.spec, case.steps, want.amplification)
    found = [measured(name, name, getattr(run, name), getattr(want, name), units) for name in OUTPUTS]
    units = gradient_units(case.spec, case.steps, case.batch, want.amplification)
    for name, value in want.gradients.items() if grads else ():
        found.append(measured(f"gradient of {name}", name, grads.get(name), value, units))
    return found


_FLAT = ("relu", "thresholded_relu", "hard_sigmoid")  # constant somewhere
_KINKED = (*_FLAT, "leaky_relu", "elu")


def has_ties(spec: LSTMSpec) -> bool:
    """Can c be exactly where a clip or an activation has a kink? Frameworks choose different subgradients there.

    Gates and candidates that are exactly 0 or 1 leave c at its clip, or at 0. Elsewhere no number meets a kink.
    """
    made = {spec.gate_activation.name, spec.cell_activation.name} & set(_FLAT)
    return bool(made) and (spec.cell_clip > 0 or spec.output_activation.name in _KINKED)


def cell_sequence(target: Target, case: Case) -> Measured:
    """With return_cell_sequence=True, every step's c of the last layer, and 0 past the length; y as without it."""
    want, (y, cells) = reference(case), execution.cell_sequence(target, problem(case))
    measured = _outputs(("c", cells, want.c_all), ("y", y, want.y), case=case)
    return [*measured, *_zero_past_length("c", cells, case)]


def _outputs(*triples: tuple[str, Array, Array], case: Case, training: bool = False) -> Measured:
    """Compare outputs, each a name, what was got and what the oracle says."""
    units = output_units(case.spec, case.steps, amplification(case, training))
    measured: Measured = []
    for what, got, want in triples:
        slots = case.spec.slots if what.startswith("c") else 1
        measured += compare_states(what, got, want, slots, units, case.dtype)
    return measured


def _gradients(target: Target, case: Case, *, training: bool) -> Measured:
    (run, got), want = gradients(target, case, training), reference(case, training)
    names = (f"{name} while differentiating" for name in OUTPUTS)
    triples = zip(names, run, (want.y, want.h_n, want.c_n), strict=True)
    measured = _outputs(*triples, case=case, training=training)
    units = gradient_units(case.spec, case.steps, case.batch, want.amplification)
    for name, value in want.gradients.items():
        found: Any = got.get(name)
        measured.append(compare(f"gradient of {name}", found, value, units, case.dtype))
    if measured[0].ok and case.row_lengths is not None:
        measured += _zero_past_length("gradient of x", got["x"], case)
    return measured


def _zero_past_length(what: str, got: Array, case: Case) -> Measured:
    """The part of a sequence that no row has must be 0, exactly."""
    inside = valid(case)
    if inside.all() or got.shape[:2] != inside.shape:  # a wrong shape has been reported by the comparison before
        return []
    past = got[~inside]
    return [compare(f"{what} past the length", past, np.zeros_like(past), 0.0, case.dtype)]


def _initial_state(case: Case) -> tuple[Array, Array]:
    """h_0 and c_0 as the call or the learned parameters give them, else zeros."""
    p, spec = problem(case), case.spec
    if p.h_0 is not None and p.c_0 is not None:
        return p.h_0, p.c_0
    names = [f"l{k}{suffix}" for k in range(spec.num_layers) for suffix in ("", "_reverse")[: spec.num_directions]]
    if not spec.learned_state:
        h, c = (np.zeros(shape, case.dtype) for shape in state_shapes(spec, case.batch))
        return h, c
    h, c = (np.stack([np.stack([p.weights[f"{role}_{n}"]] * case.batch) for n in names]) for role in ("h_0", "c_0"))
    return h, c
