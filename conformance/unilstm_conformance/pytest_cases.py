"""The conformance suite as pytest cases, for anyone's backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from unilstm.hookspecs import Backend
from unilstm.spec import LSTMSpec

from .execution import Target
from .matrix import Cell, Missing, cells, resolve
from .run import in_ci
from .selection import SelectionError, selector
from .spec_cases import selected

if TYPE_CHECKING:
    import pytest


def conformance_cases(
    backends: str | Backend | Iterable[str | Backend],
    *,
    expected_failures: Mapping[str, str] | None = None,
    select: str | None = None,
    wide: bool = False,
    device: Any = None,
    specs: Mapping[str, LSTMSpec] | None = None,
) -> pytest.MarkDecorator:
    """A decorator that runs a test once for each cell of the conformance matrix.

        @conformance_cases("mybackend", expected_failures={"masks[mybackend-composed-dropout": "has no dropout yet"})
        def test_conformance(case_check):
            case_check()

    backends: a name, a Backend object, which need not be registered, or several. expected_failures: an id, or the
    beginning of several, to the reason; those must fail (xfail, strict). select, wide, specs, device: as in
    run_conformance.

    Raises SelectionError where an expected failure names no cell, so that the list cannot go stale.
    """
    import pytest

    several = list(backends) if isinstance(backends, Iterable) and not isinstance(backends, str) else [backends]
    found, chosen = resolve(several, device), selector(select)
    todo: list[Missing | Cell] = [one for one in found if isinstance(one, Missing)]
    targets = [one for one in found if isinstance(one, Target)]
    todo += cells(targets, selected(wide, specs), golden=specs is None, chosen=chosen)
    expected = dict(expected_failures or {})
    _check_expected(expected, [one.id for one in todo])
    params = [pytest.param(_CaseCheck(one), id=one.id, marks=_marks(one.id, expected)) for one in todo]
    return pytest.mark.parametrize("case_check", params)


class _CaseCheck:
    """What a test gets: call it to run its cell. Fails with what was measured; skips with the reason."""

    def __init__(self, cell: Missing | Cell) -> None:
        self.cell = cell

    def __call__(self) -> None:
        import pytest

        __tracebackhide__ = True  # the message says it all; no traceback through this file
        result = self.cell.run(strict=in_ci())
        if result.status == "skipped":
            pytest.skip(result.reason)
        if result.status != "passed":
            pytest.fail(result.message, pytrace=False)

    def __repr__(self) -> str:
        return self.cell.id


def _marks(name: str, expected: Mapping[str, str]) -> list[Any]:
    import pytest

    return [
        pytest.mark.xfail(reason=reason, strict=True) for start, reason in expected.items() if name.startswith(start)
    ]


def _check_expected(expected: Mapping[str, str], ids: list[str]) -> None:
    for start in expected:
        if not any(name.startswith(start) for name in ids):
            raise SelectionError(
                f"expected_failures names {start!r}, but no cell's id starts so. Take it out, or correct it; "
                f"an id looks like {ids[0]!r}."
            )


CaseCheck = Callable[[], None]
