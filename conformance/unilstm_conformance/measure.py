"""One comparison of two arrays: the largest error, where it is, and the bound it is held to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .tolerances import eps

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Measurement:
    """How far an array is from what it must be.

    what: which array. error: the largest |got - want|; infinite where the arrays cannot be compared or a value is not
    a number, and then note says why. bound: what the error may be. unit: eps·max|want|. index, got, want: of the
    largest error.
    """

    what: str
    error: float
    bound: float
    unit: float = 0.0
    index: tuple[int, ...] = ()
    got: float = math.nan
    want: float = math.nan
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.error <= self.bound

    @property
    def ratio(self) -> float:
        """error / bound: above 1 fails. 0 where both are 0."""
        if self.error == 0.0:
            return 0.0
        return self.error / self.bound if self.bound else math.inf

    def __str__(self) -> str:
        """The sentence a failure prints."""
        if self.note:
            return f"{self.what}: {self.note}"
        where = f"[{', '.join(map(str, self.index))}]"
        text = f"{self.what}: largest error {self.error:.3g} at {where}: got {self.got!r}, want {self.want!r}; "
        if not self.bound:
            return text + "the bound is 0, it must be exact"
        return text + (
            f"bound {self.bound:.3g} = {self.bound / self.unit:.1f} units of eps·max|want| = {self.unit:.3g}; "
            f"measured {self.error / self.unit:.1f} units"
        )


def compare(what: str, got: Any, want: Array, units: float, dtype: str, within: Array | None = None) -> Measurement:
    """Measure got against want. units: the bound in units of eps·max|want|; where want is all 0, got must be, too.

    got must have the dtype and the shape it should have; a NaN or an infinity in it is an infinite error.
    within: the whole tensor, where want is a part of it, whose max counts then: one row of it may have cancelled out
    to nearly nothing, and its error is that of the terms it was summed from.
    """
    problem = _misfit(got, want.shape, dtype)
    if problem:
        return Measurement(what, math.inf, 0.0, note=problem)
    if want.size == 0:
        return Measurement(what, 0.0, 0.0)
    reference = want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.astype(np.float64) - reference)
    difference = np.where(np.isnan(difference), math.inf, difference)
    unit = eps(dtype) * float(np.max(np.abs(reference if within is None else within)))
    at = np.unravel_index(int(np.argmax(difference)), difference.shape)
    index = tuple(int(i) for i in at)
    return Measurement(what, float(difference[at]), units * unit, unit, index, float(got[at]), float(reference[at]))


def compare_states(
    what: str, got: Any, want: Array, slots: int, units: float, dtype: str, within: Array | None = None
) -> list[Measurement]:
    """compare(), slot by slot where c has several, [..., slots or several times slots, H].

    Each is measured by its own largest number: they may be of different kinds, such as an sLSTM's c, n and m.
    """
    if slots == 1 or _misfit(got, want.shape, dtype):
        return [compare(what, got, want, units, dtype, within)]
    parts = [(a[..., n::slots, :] for a in (got, want, want if within is None else within)) for n in range(slots)]
    return [compare(f"{what} (slot {n})", g, w, units, dtype, all_) for n, (g, w, all_) in enumerate(parts)]


def same_bits(what: str, got: Any, want: Array) -> Measurement:
    """got must be want, bit for bit."""
    problem = _misfit(got, want.shape, want.dtype.name)
    if problem:
        return Measurement(what, math.inf, 0.0, note=problem)
    if got.tobytes() == want.tobytes():
        return Measurement(what, 0.0, 0.0)
    measured = compare(what, got, want, 0.0, want.dtype.name)
    if measured.error > 0:
        return measured
    return Measurement(what, math.inf, 0.0, note="equal values, but other bits (a zero of the other sign, or a NaN)")


def failed(what: str, note: str) -> Measurement:
    """A claim that does not hold and has no numbers."""
    return Measurement(what, math.inf, 0.0, note=note)


def holds(what: str, claim: bool, note: str) -> Measurement:
    """A claim without numbers; note is what to say where it does not hold."""
    return Measurement(what, 0.0, 0.0) if claim else failed(what, note)


def _misfit(got: Any, shape: tuple[int, ...], dtype: str) -> str:
    if not isinstance(got, np.ndarray):
        return f"is a {type(got).__name__}, but must become a NumPy array"
    if got.shape != shape:
        return f"has shape {list(got.shape)}, but must have {list(shape)}"
    if got.dtype.name != dtype:
        return f"is {got.dtype.name}, but must be {dtype}"
    return ""
