"""Commands with many options: a dataclass is the table of them, and the command gets an instance."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def takes(table: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of a dataclass (whose types are Annotated for typer), and its first
    parameter an instance of it."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        hints = get_type_hints(table, include_extras=True)
        listed = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_default(f), annotation=hints[f.name])
            for f in dataclasses.fields(table)
        ]
        names = [p.name for p in listed]

        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            command(table(**{n: given.pop(n) for n in names}), **given)

        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        wrapped.__signature__ = inspect.Signature([*keyword, *listed])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in [*keyword, *listed]}
        return wrapped

    return decorate


def _default(field: dataclasses.Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def given(ctx: Any, table: type[Any]) -> list[str]:
    """The options of a table that the command line itself has."""
    names = [f.name for f in dataclasses.fields(table)]
    return [name for name in names if ctx.get_parameter_source(name).name == "COMMANDLINE"]
