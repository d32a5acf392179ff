"""`unilstm convert`: an LSTM out of one checkpoint, into another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..checkpoints import Conversion
from ..checkpoints import convert as convert_
from ..errors import CheckpointError
from .output import NO, OK, AsJson, out, print_json, working

Source = Annotated[Path, typer.Argument(help="The checkpoint to read.", metavar="SRC")]
Target = Annotated[Path, typer.Argument(help="The file to write; its suffix says the type.", metavar="DST")]
Lstm = Annotated[str | None, typer.Option("--lstm", metavar="PREFIX", help="Which LSTM, where SRC has several.")]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="LAYOUT", help="Whose names to write under.", show_default="canonical; .pt: torch"),
]
From = Annotated[
    str | None, typer.Option("--from", metavar="LAYOUT", help="Whose names SRC has, where finding out is not enough.")
]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="NAME=VALUE", help="A constructor argument of SRC's system. Repeatable."),
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Convert to float16, float32 or float64.")]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", metavar="LOSS", help="A loss to accept, by name. Repeatable.")
]


OnlyLstm = Annotated[bool, typer.Option("--only-lstm", help="Leave what else SRC holds behind.")]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify",
        help="Run SRC's LSTM and DST's on one random input and compare; by default up to 512 MB.",
    ),
]


def convert(
    src: Source,
    dst: Target,
    lstm: Lstm = None,
    to: To = None,
    from_: From = None,
    config: Config = None,
    dtype: Dtype = None,
    allow: Allow = None,
    only_lstm: OnlyLstm = False,
    verify: Verify = None,
    as_json: AsJson = False,
) -> None:
    """Take an LSTM out of one checkpoint and write it to another, under any layout's names.

    What lies beside it in SRC comes along where DST can hold it. Exit code 1: the two differ by more than rounding.
    """
    with working():
        done = convert_(
            src,
            dst,
            lstm=lstm,
            to=to,
            layout=from_,
            config=_config(config),
            dtype=dtype,
            allow=tuple(allow or ()),
            only_lstm=only_lstm,
            check=verify,
        )
    if as_json:
        print_json(done.to_dict())
    else:
        _say(done)
    raise typer.Exit(OK if done.check is None or done.check.ok else NO)


def _say(done: Conversion) -> None:
    def line(text: str) -> None:
        out().print(text, markup=False, soft_wrap=True)

    line(f"{done.written}: {done.weights!r}")
    if done.carried:
        how = f", as they are, in {done.carried_as}'s layout" if done.carried_as else ""
        line(f"{done.carried} other arrays came along{how}; the LSTM is under {done.prefix!r}.")
    if done.assumed:
        line(f"Not settled by the file, nor checked: {done.assumed}.")
    if done.left:
        line(f"{done.left}.")
    if done.unchecked is not None:
        line(f"{done.unchecked}.")
    if done.check is not None:
        line(f"{done.check}.")
        for note in done.check.notes:
            line(f"  {note}.")


def _config(pairs: list[str] | None) -> dict[str, Any] | None:
    """NAME=VALUE, the value as JSON where it is JSON and as text where it is not."""
    if not pairs:
        return None
    config = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise CheckpointError(f"--config {pair!r} must be NAME=VALUE, such as batch_first=true.")
        try:
            config[name] = json.loads(value)
        except ValueError:
            config[name] = value
    return config
