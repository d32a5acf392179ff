"""Running the matrix."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from unilstm import __version__
from unilstm.hookspecs import Backend
from unilstm.spec import LSTMSpec

from .cases import default_cases
from .execution import Target
from .matrix import Cell, Missing, cells, resolve
from .report import Report, Result
from .selection import SelectionError, selector
from .spec_cases import selected

Progress = Callable[[int, int, Result], None]


def run_conformance(
    backends: Iterable[str | Backend] | None = None,
    *,
    select: str | None = None,
    wide: bool = False,
    strict: bool | None = None,
    device: Any = None,
    paths: Iterable[str] | None = None,
    specs: Mapping[str, LSTMSpec] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the conformance suite and return its report; report.ok says whether all is well.

    backends: names, or Backend objects that need not be registered; None is all that are registered.
    select: an expression over the cells' ids, such as "outputs and not float64"; see selection.selector.
    wide: the full product of cases instead of the selection; ten times as long, and more where it is compiled.
    strict: a backend whose framework is missing fails instead of being skipped; None means so in CI ($CI is set).
    specs: LSTMSpecs by the names that the ids shall have. The suite then runs on these alone, variants that no preset
    has or cells of one's own, and not on its own cases and golden vectors; wide says nothing.
    paths: only these of each backend, also one it takes by name alone, such as "fused".
    device: where layers are put, in the backend's own words. progress: called with (done, of, result) after each cell.

    Raises UnknownBackend; SelectionError for an expression that cannot be read or that selects nothing.
    """
    started, chosen = time.perf_counter(), selector(select)
    strict = in_ci() if strict is None else strict
    found = resolve(backends, device, paths)
    missing = [one for one in found if isinstance(one, Missing)]
    targets = [one for one in found if isinstance(one, Target)]
    todo: list[Missing | Cell] = [
        *missing,
        *cells(targets, selected(wide, specs), golden=specs is None and paths is None, chosen=chosen),
    ]
    if len(todo) == len(missing) and select:
        raise SelectionError(f"the selection {select!r} matches no cell. The ids look like: {_example(targets)}.")
    results: list[Result] = []
    for one in todo:
        results.append(one.run(strict))
        if progress is not None:
            progress(len(results), len(todo), results[-1])
    return Report(tuple(results), environment(targets), time.perf_counter() - started)


def in_ci() -> bool:
    """Is this a CI machine, where a missing framework is a mistake?"""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def environment(targets: Iterable[Target]) -> dict[str, str]:
    """Versions and the machine, for a report."""
    about = {"unilstm": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for target in targets:
        about[target.name] = f"{target.backend.distribution} {_version(target.backend.distribution)}"
    return about


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(version unknown)"


def _example(targets: list[Target]) -> str:
    return next(
        (cell.id for cell in cells(targets, default_cases())), "outputs[numpy-composed-vanilla-L1-forward-float32-none]"
    )
