"""`unilstm inspect`: every LSTM in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..checkpoints import FoundLSTM
from ..checkpoints import inspect as find_lstms
from ..checkpoints.formats import READ
from .output import NO, OK, AsJson, err, out, print_json, working

Source = Annotated[Path, typer.Argument(help=f"A checkpoint: {', '.join(READ)}; or a folder.", metavar="FILE")]


def inspect(file: Source, as_json: AsJson = False) -> None:
    """List every LSTM in a checkpoint: where it is, its layout, its spec, its size. Nothing in the file is run."""
    with working():
        found = find_lstms(file)
    if as_json:
        print_json([lstm.to_dict() for lstm in found])
    elif found:
        out().print(_table(file, found))
        for lstm in found:
            if lstm.said:
                said = ", ".join(f"{key}={value!r}" for key, value in lstm.said.items())
                out().print(f"{lstm.prefix or '(none)'}: {said}.", markup=False, soft_wrap=True)
            if lstm.uncertain:
                out().print(f"{lstm.prefix or '(none)'}: {lstm.uncertain}.", markup=False, soft_wrap=True)
    else:
        err().print(f"{file}: no LSTM found.", markup=False, soft_wrap=True)
    raise typer.Exit(OK if found else NO)


def _table(file: Path, found: list[FoundLSTM]) -> Table:
    table = Table(title=f"LSTMs in {escape(str(file))}", title_justify="left")
    for column in ("prefix", "layout", "spec"):
        table.add_column(column, overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("dtype")
    for lstm in found:
        what = repr(lstm.spec) if lstm.spec else f"cannot be read: {lstm.problem}"
        cells = (lstm.prefix or "(none)", lstm.layout, what, f"{lstm.parameters:,}", lstm.dtype)
        table.add_row(*map(escape, cells))
    return table
