"""`unilstm conformance`: does every backend compute what an LSTM must?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import UnilstmError
from .output import NO, OK, AsJson, comma_separated, err, out, progress_bar, working

if TYPE_CHECKING:
    from rich.console import Console

    from unilstm_conformance import Report

KINDS = (".html", ".json", ".xml", ".txt")
_SHOWN = 20  # failures printed in full; a report file has them all

Backends = Annotated[
    str | None, typer.Option("--backends", metavar="A,B", help="Only these.", show_default="all that are installed")
]
Paths = Annotated[
    str | None, typer.Option("--paths", metavar="A,B", help="Only these paths.", show_default="all that exist here")
]
Reports = Annotated[
    list[Path] | None, typer.Option("--report", metavar="FILE", help=f"Write a report: {', '.join(KINDS)}. Repeatable.")
]
Select = Annotated[
    str | None,
    typer.Option("-k", metavar="EXPR", help="Only the cells whose ids match, such as 'torch and not float64'."),
]
Wide = Annotated[bool, typer.Option("--all", help="The full product of cases: minutes, but hours with JAX.")]
Strict = Annotated[
    bool | None, typer.Option(help="Fail, not skip, where a framework is missing.", show_default="strict in CI")
]


def conformance(
    backends: Backends = None,
    paths: Paths = None,
    report: Reports = None,
    select: Select = None,
    wide: Wide = False,
    strict: Strict = None,
    as_json: AsJson = False,
) -> None:
    """Check every backend and path against an independent oracle, and show the measured errors.

    A cell of the table counts the cases that passed, and gives the largest error as a share of its derived bound.
    """
    # Before any framework is imported. The arrays are small, and the OpenMP threads of several frameworks in one
    # process, spinning for one another on the same cores, take a hundred times as long as one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from unilstm_conformance import run_conformance

    for path in report or ():
        if path.suffix not in KINDS:
            raise UnilstmError(f"--report {path}: what kind is it? End its name in one of: {', '.join(KINDS)}.")
    with working(), progress_bar() as show:
        found = run_conformance(
            comma_separated(backends),
            select=select,
            paths=comma_separated(paths),
            wide=wide,
            strict=strict,
            progress=lambda done, of, result: show(result.id, done, of),
        )
    for path in report or ():
        _write(found, path)
    if as_json:
        print(found.to_json(), end="")
    else:
        _print(out(), found)
    raise typer.Exit(OK if found.ok else NO)


def _write(report: Report, path: Path) -> None:
    try:
        report.write(path)
    except OSError as problem:
        raise UnilstmError(f"--report {path}: cannot be written ({problem.strerror}). Choose another place.") from None
    err().print(f"written: {path}", markup=False, soft_wrap=True)


def _print(console: Console, report: Report) -> None:
    console.print(_table(report))
    for result in report.failures[:_SHOWN]:
        console.print(f"\n{result.message}", markup=False, soft_wrap=True)
    if len(report.failures) > _SHOWN:
        console.print(f"\nand {len(report.failures) - _SHOWN} more failures; --report FILE has them all", markup=False)
    for (target, reason), count in sorted(report.skipped().items()):
        console.print(f"skipped {count} × {target}: {' '.join(reason.split())}", markup=False, soft_wrap=True)
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items()) or "nothing ran"
    verdict = "conforms" if report.ok else "does NOT conform"
    console.print(f"{counts} in {report.seconds:.0f} s: {verdict}", style="bold green" if report.ok else "bold red")


def _table(report: Report) -> Table:
    title = "Cases that pass, and the largest error as a share of its bound"
    table = Table(title=title, title_justify="left")
    table.add_column("check")
    for target in report.targets:
        table.add_column(escape(target))
    found = report.matrix()
    for check in report.checks:
        summaries = [found.get((check, target)) for target in report.targets]
        cells = [("" if s is None else str(s), "" if s is None or s.ok else "bold red") for s in summaries]
        table.add_row(escape(check), *(f"[{style}]{text}[/]" if style else text for text, style in cells))
    return table
