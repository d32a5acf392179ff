"""The matrix: which check runs on which case for which path of which backend. A cell is one of them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from unilstm import plugins
from unilstm.cells import get as registered
from unilstm.errors import BackendUnavailable
from unilstm.hookspecs import Backend
from unilstm.paths import PATHS

from . import vectors
from .cases import Case
from .checks import CHECKS, Check
from .execution import NotApplicable, Target, refusal
from .report import Result
from .selection import Predicate, SelectionError, selector
from .vectors import Vector

ALL = selector(None)


@dataclass(frozen=True)
class Missing:
    """A backend that is registered but cannot be used here, and why."""

    name: str
    reason: str

    @property
    def id(self) -> str:
        return f"available[{self.name}]"

    def run(self, strict: bool) -> Result:
        """Skipped, visibly; failed where nothing may be missing."""
        status = "failed" if strict else "skipped"
        return Result(self.id, "available", self.name, "", "", status=status, reason=self.reason)


@dataclass(frozen=True)
class Cell:
    """One check of one case on one target. reason: why it cannot run there, where that is known before."""

    check: Check
    target: Target
    case: Case | Vector
    reason: str = ""

    @property
    def id(self) -> str:
        return cell_id(self.check.name, self.target, self.case.id)

    def run(self, strict: bool = False) -> Result:
        """Measure. Never raises for what a backend does: that is a result, too."""
        started = time.perf_counter()
        status, reason, measured = "skipped", self.reason, []
        if not self.reason:
            try:
                measured = self.check.run(self.target, self.case)
                status = "passed" if all(m.ok for m in measured) else "failed"
            except NotApplicable as refused:
                reason = str(refused)
            except Exception:
                status, reason = "error", traceback.format_exc()
        return Result(
            self.id,
            self.check.name,
            self.target.name,
            self.target.path,
            self.case.id,
            variant=self.case.variant,
            spec=repr(self.case.spec),
            seed=self.case.seed,
            status=status,
            reason=reason,
            seconds=time.perf_counter() - started,
            measurements=tuple(measured),
        )


def resolve(
    backends: Iterable[str | Backend] | None, device: Any = None, paths: Iterable[str] | None = None
) -> list[Target | Missing]:
    """A target for each path of each backend. backends: names or objects; None is all that are registered.

    paths: only these, also one that a backend has by name alone.

    Raises UnknownBackend for a name that is not registered; SelectionError for a path that is none.
    """
    unknown = [path for path in paths or () if path not in PATHS]
    if unknown:
        raise SelectionError(f"path {unknown[0]!r} is unknown. Choose of: {', '.join(PATHS)}.")
    found: list[Target | Missing] = []
    for one in plugins.names() if backends is None else backends:
        name = one if isinstance(one, str) else one.name
        try:
            backend = plugins.get(one) if isinstance(one, str) else one
        except BackendUnavailable as problem:
            found.append(Missing(name, str(problem)))
            continue
        found += [Target(name, backend, path, device) for path in (backend.paths() if paths is None else paths)]
    return found


def cells(
    targets: Sequence[Target], cases: Iterable[Case], *, golden: bool = True, chosen: Predicate = ALL
) -> Iterator[Cell]:
    """Every cell, case by case: a case's oracle result is then worked out once and serves all targets.

    golden: the golden vectors, too? chosen: a test of ids. Layers are built, and golden vectors read, only where some
    cell is chosen.
    """
    for case in cases:
        for target in targets:
            yield from _cells_of(target, case, chosen)
    for name in vectors.ids() if golden else ():
        for target in {t.name: t for t in targets}.values():  # each backend once, by the path it chooses itself
            auto = Target(target.name, target.backend, "auto", target.device)
            if chosen(cell_id("golden", auto, name)):
                yield Cell(CHECKS["golden"], auto, vectors.vector(name))


def _cells_of(target: Target, case: Case, chosen: Predicate) -> Iterator[Cell]:
    if case.stress == "native" and target.path == "composed":
        return
    if target.path == "parallel" and registered(case.spec.cell).linear is None:
        return  # the path is for cells whose steps need not wait for one another; to the others it says nothing
    fit = [c for c in CHECKS.values() if c.applies(target, case) and chosen(cell_id(c.name, target, case.id))]
    refused = refusal(target, case.spec) if fit else None
    if refused:  # one line for the case, not one for each check
        yield Cell(fit[0], target, case, refused)
        return
    for check in fit:
        yield Cell(check, target, case)


def cell_id(check: str, target: Target, case: str) -> str:
    return f"{check}[{target.name}-{target.path}-{case}]"
