"""Where a command's words go: results on stdout, everything else on stderr, and pure JSON on stdout with --json."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

OK, NO, BAD = 0, 1, 2  # exit codes; the help's epilog says what they mean
Report = Callable[[str, int, int], None]  # what is running now, its index, how many there are

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]


def out() -> Console:
    return Console(width=_width(sys.stdout), highlight=False)


def err() -> Console:
    return Console(width=_width(sys.stderr), stderr=True, highlight=False)


def _width(stream: Any) -> int | None:
    """rich folds tables to 80 columns where there is no terminal; a log or a file has room for more."""
    return None if stream.isatty() or "COLUMNS" in os.environ else 140


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Keep what libraries print while they work off stdout, where the result goes."""
    for name in ("jax", "matplotlib"):  # Paddle's import opens the root logger to their small talk
        logging.getLogger(name).setLevel(logging.WARNING)
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def progress_bar() -> Iterator[Report]:
    """A progress bar on stderr, for people only: nothing where stderr is not a terminal."""
    console = err()
    columns = TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=None)

        def report(label: str, index: int, count: int) -> None:
            progress.update(task, description=label[:32], completed=index, total=count)

        yield report


def comma_separated(text: str | None) -> list[str] | None:
    """ "torch, numpy" as ["torch", "numpy"]; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]
