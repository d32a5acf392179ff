"""`unilstm lm eval`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ...errors import CheckpointError, InputError
from ...models import LanguageModel, files
from ...models import text as texts
from ...models.evaluation import bits_per_character, perplexity
from ...models.run import KEY, about_training, settings_of
from ...models.spec import LanguageModelSpec
from ..output import AsJson, out, print_json, working
from .train import Text, corpus

Model = Annotated[Path, typer.Argument(help="A checkpoint of lm train, or a language model.", metavar="MODEL")]
Backend = Annotated[str, typer.Option("--backend", help="Any, numpy too.")]
Device = Annotated[str | None, typer.Option("--device", help="As the framework names it.")]
Part = Annotated[
    str | None,
    typer.Option(
        "--part", help="held-out, learned or all.", show_default="held-out of the text it was trained on, all of others"
    ),
]


def evaluate(
    model: Model,
    text: Text = None,
    part: Part = None,
    backend: Backend = "torch",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Bits a character and perplexity of a text: how well the model predicts each character from all before it."""
    with working():
        file = files.read(model)
        vocabulary = vocabulary_of(model, file)
        name, content = _part(model, file, corpus(text), part)
        ids, unknown = vocabulary.encode(content)
        bits = bits_per_character(LanguageModel(file.weights, backend=backend, device=device), ids)
    found = {"part": name, "characters": len(ids), "unknown_characters": unknown, "bits_per_character": bits}
    found |= {"nats_per_character": bits * math.log(2), "perplexity": perplexity(bits)}
    if as_json:
        print_json(found)
        return
    out().print(f"{bits:.4f} bits a character, perplexity {perplexity(bits):.3f}", style="bold")
    out().print(f"{name} text: {len(ids):,} characters, {unknown} of them not in the vocabulary")


def vocabulary_of(path: Path, file: files.ModelFile) -> texts.Vocabulary:
    spec = file.weights.spec
    if not isinstance(spec, LanguageModelSpec):
        raise CheckpointError(f"{path}: holds a {spec.kind}, not a language model.")
    if spec.vocabulary is None or any(len(token) != 1 for token in spec.vocabulary):
        raise CheckpointError(f"{path}: has no vocabulary of characters. Give a checkpoint of unilstm lm train.")
    return texts.Vocabulary(spec.vocabulary)


def _part(path: Path, file: files.ModelFile, content: str, part: str | None) -> tuple[str, str]:
    """Which part of a text, by name and content."""
    if part not in (None, "held-out", "learned", "all"):
        raise InputError(f"--part {part}: choose one of: held-out, learned, all.")
    settings = settings_of(about_training(path, file)) if KEY in file.metadata else None
    its_own = settings is not None and settings.text == texts.fingerprint(content)
    if settings is None or not its_own:
        if part in ("held-out", "learned"):
            raise InputError(f"--part {part}: the model was not trained on this text. Use --part all.")
        return "all", content
    learned, held_out = texts.split(content, settings.held_out)
    name = part or ("held-out" if held_out else "all")
    chosen: dict[str, Any] = {"held-out": held_out, "learned": learned, "all": content}
    return name, chosen[name]
