"""`unilstm convert`: an LSTM out of one checkpoint, into another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..checkpoints import load, save
from ..errors import CheckpointError
from .output import AsJson, out, print_json, working

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


def convert(
    src: Source,
    dst: Target,
    lstm: Lstm = None,
    to: To = None,
    from_: From = None,
    config: Config = None,
    dtype: Dtype = None,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Take the LSTM out of one checkpoint and write it to another, under any layout's names."""
    with working():
        weights = load(src, layout=from_, prefix=lstm, config=_config(config), dtype=dtype)
        save(weights, dst, layout=to, allow=tuple(allow or ()))
    if as_json:
        about = {"written": str(dst), "layout": to, "spec": weights.spec.to_dict(), "dtype": weights.dtype}
        print_json(about)
    else:
        out().print(f"{dst}: {weights!r}", markup=False, soft_wrap=True)


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
