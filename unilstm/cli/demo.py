"""`unilstm demo`: a trained LSTM from a real checkpoint, in every framework that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..demo import BOUND, DemoResult, run_demo
from ..demo.measure import Run
from .output import NO, OK, AsJson, comma_separated, out, print_json, progress_bar, working

Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="A file with one LSTM.", show_default="Resemblyzer's speaker encoder"),
]
Out = Annotated[Path, typer.Option("--out", help="The folder for picture, sound and ported checkpoints.")]
Backends = Annotated[
    str | None, typer.Option("--backends", metavar="A,B", help="Only these.", show_default="all that are installed")
]


def demo(
    checkpoint: Checkpoint = None,
    out_folder: Out = Path("demo-output"),
    backends: Backends = None,
    as_json: AsJson = False,
) -> None:
    """Run one trained LSTM in every framework, and compare it with torch.nn.LSTM.

    Takes the LSTM out of a trained speaker encoder (pip install --no-deps Resemblyzer==0.1.4), ports it to every
    backend, runs 160 mel frames of a synthesised voice, and writes a picture and the ported checkpoints.
    """
    with working(), progress_bar() as report:
        result = run_demo(out_folder, checkpoint, comma_separated(backends), report)
    if as_json:
        print_json(result.to_dict())
    else:
        _print(out(), result)
    raise typer.Exit(OK if result.ok else NO)


def _print(console: Console, result: DemoResult) -> None:
    lstm = result.encoder.found
    console.print(f"{lstm.file}: one LSTM under {lstm.prefix!r}", markup=False, soft_wrap=True)
    console.print(f"  {lstm.spec!r}, {lstm.parameters:,} {lstm.dtype} parameters\n", markup=False, soft_wrap=True)
    console.print(_table(result))
    console.print(
        "Error: the largest difference in y to torch.nn.LSTM computed in float64; eps is 2⁻²³ of the largest |y|.\n"
        "To its float32: the same with torch.nn.LSTM's own rounding in it.\n"
        "Time: the median call over the sequence, y back in NumPy; torch on one thread.\n",
        markup=False,
    )
    for ported in result.checkpoints:
        console.print(f"{ported.path}  ({ported.opens_in})", markup=False, soft_wrap=True)
    console.print(f"{result.picture}\n{result.sound}", markup=False, soft_wrap=True)


def _table(result: DemoResult) -> Table:
    verdict = f"all within {BOUND:g} eps" if result.ok else f"NOT within {BOUND:g} eps"
    table = Table(title=f"160 mel frames of a voice through one trained LSTM: {verdict}", title_justify="left")
    for column in ("framework", "version", "path"):
        table.add_column(column)
    for column in ("largest error", "in eps", "to its float32", "time (ms)"):
        table.add_column(column, justify="right")
    for run in (result.truth, *result.runs):
        table.add_row(*_cells(run), style="red" if run.eps is not None and not run.within else None)
    return table


def _cells(run: Run) -> tuple[str, ...]:
    if run.error is None or run.seconds is None:
        return run.backend, run.version or "–", escape(run.path or run.note), "–", "–", "–", "–"
    numbers = f"{run.error:.2e}", f"{run.eps:.1f}", f"{run.eps_to_float32:.1f}", f"{1000 * run.seconds:.1f}"
    return run.backend, run.version or "–", run.path, *numbers
