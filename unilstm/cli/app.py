"""The commands put together, and what their exit codes mean."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import UnilstmError
from .backends import backends
from .conformance import conformance
from .convert import convert
from .demo import demo
from .inspect import inspect
from .lm import app as lm
from .output import BAD, err

EPILOG = (
    "Exit codes: 0, done; 1, the answer is no (conformance failed, no LSTM in the file, an error above the demo's "
    "bound); 2, wrong usage, or a file, backend or spec that cannot be used: one line on stderr says what to do."
)


class Group(TyperGroup):  # type: ignore[misc]
    """Turns what unilstm raises on purpose into one line on stderr; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UnilstmError as problem:
            err().print(f"error: {problem}", style="red", markup=False, soft_wrap=True)
            raise typer.Exit(BAD) from None


def _version(wanted: bool) -> None:
    if wanted:
        print(f"unilstm {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """One LSTM, any variant, the same numbers in PyTorch, PaddlePaddle, JAX and NumPy."""


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, conformance, backends, convert, inspect):
    app.command(epilog=EPILOG)(command)
app.add_typer(lm, name="lm")
app.callback()(root)
