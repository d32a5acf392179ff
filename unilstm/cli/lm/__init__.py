"""`unilstm lm`: a language model from the command line, with the language-model-playground's names."""

from __future__ import annotations

from typing import Any

import typer

from .evaluate import evaluate
from .sample import sample
from .train import train

EPILOG = (
    "Exit codes: 0, done; 2, wrong usage, or a file, text or backend that cannot be used: one line on stderr says what "
    "to do; 130, interrupted: a checkpoint was written, and --resume goes on from it."
)


def _dashes(name: str) -> str:
    """--d_emb, as the language-model-playground writes it, is --d-emb."""
    return name.replace("_", "-")


SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "token_normalize_func": _dashes}

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, context_settings=SETTINGS)
for name, command in (("train", train), ("eval", evaluate), ("sample", sample)):
    app.command(name, epilog=EPILOG, context_settings=SETTINGS)(command)


def lm() -> None:
    """Train a language model on a text, measure how well it knows one, and let it write."""


app.callback()(lm)
