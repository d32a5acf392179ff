"""`unilstm lm sample`."""

from __future__ import annotations

from typing import Annotated

import typer

from ...errors import InputError
from ...models import LanguageModel, files
from ..output import AsJson, print_json, working
from .evaluate import Backend, Device, Model, vocabulary_of

Prompt = Annotated[str, typer.Option("--txt", help="What the text begins with.")]
Length = Annotated[int, typer.Option("--length", help="Characters to write.")]
Temperature = Annotated[float, typer.Option("--temperature", help="Below 1 is bolder, above 1 is wilder.")]
TopK = Annotated[int, typer.Option("--k", help="Only the k most probable characters; 1 always takes the first.")]
TopP = Annotated[float, typer.Option("--p", help="Only the most probable ones that together have probability p.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed writes the same text.")]


def sample(
    model: Model,
    txt: Prompt = "The ",
    length: Length = 500,
    temperature: Temperature = 1.0,
    k: TopK = 0,
    p: TopP = 1.0,
    seed: Seed = 42,
    backend: Backend = "torch",
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Let a model write: a prompt, and what it makes of it, on stdout."""
    if length < 1:
        raise InputError(f"--length {length} must be at least 1.")
    with working():
        file = files.read(model)
        vocabulary = vocabulary_of(model, file)
        ids, _ = vocabulary.encode(txt)
        if not len(ids):
            raise InputError("--txt is empty. Give at least one character to go on from.")
        made = LanguageModel(file.weights, backend=backend, device=device)
        drawn = made.generate(ids[None, :], length, temperature=temperature, k=k, p=p, seed=seed)
    written = txt + vocabulary.decode(drawn[0])
    if as_json:
        print_json({"prompt": txt, "text": written})
    else:
        print(written)
