"""`unilstm lm train`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ... import plugins
from ...errors import CheckpointError, SpecError
from ...models import LmpInit, ModelWeights, Optimizer
from ...models import run as runs
from ...models import text as texts
from ...models.factory import language_model_spec
from ...models.files import check_path
from ...presets import PRESETS
from ..options import given, takes
from ..output import AsJson, err, out, print_json, progress_bar, working
from .plot import plot
from .tables import Hyperparameters, RunOptions

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

Text = Annotated[
    Path | None, typer.Argument(metavar="[TEXT]", help="A UTF-8 file.", show_default="Python's own help topics")
]


@dataclass
class Options(RunOptions, Hyperparameters):
    """All of them, in the order of the help."""


@takes(Options)
def train(options: Options, ctx: typer.Context, text: Text = None, as_json: AsJson = False) -> None:
    """Train a language model on the characters of a text.

    Ctrl-C writes a checkpoint and stops; --resume goes on from it, with the same losses as if it had not stopped.
    """
    with working():
        content = corpus(text)
        run = resumed(ctx, options, content) if options.resume else fresh(options, content)
        with interruptible() as stop, progress_bar() as show:
            finished = run.run(options.out, options.ckpt_step, stop, lambda: show(_label(run), run.steps, run.total))
        found = result(run, options, finished)
    if as_json:
        print_json(found)
    else:
        _print(found)
    raise typer.Exit(0 if finished else INTERRUPTED)


def corpus(path: Path | None) -> str:
    return texts.pydoc_topics() if path is None else texts.read_text(path)


def fresh(o: Options, content: str) -> runs.LanguageModelRun:
    """A new run of these options."""
    target = check_path(o.out)
    if target.exists():
        raise CheckpointError(f"{target}: is there already. Go on from it with --resume, or give another --out.")
    if not target.parent.is_dir():
        raise CheckpointError(f"{target}: its folder does not exist. Create {target.parent} first.")
    vocabulary = texts.Vocabulary.of(content)
    fields = model_fields(o)
    spec = language_model_spec(None, {**fields, "vocab_size": len(vocabulary), "vocabulary": vocabulary.tokens})
    weights = ModelWeights.initial(spec, o.seed, initial(o))
    settings = settings_of(o, content, vocabulary)
    return runs.LanguageModelRun(settings, content, weights, o.backend, o.device)


def settings_of(o: Options, content: str, vocabulary: texts.Vocabulary) -> runs.Settings:
    """The run's settings; the learning rate falls to 0 at its end, which depends on the text's length."""
    names = {f.name for f in dataclasses.fields(Optimizer)} & set(vars(o))
    optimizer = Optimizer(o.optimizer, **{name: getattr(o, name) for name in names})
    run = {name: getattr(o, name) for name in ("batch_size", "ctx_win", "n_epoch", "seed", "held_out")}
    settings = runs.Settings(optimizer, **run, text=texts.fingerprint(content))
    total = o.n_epoch * runs.Corpus(content, vocabulary, settings).windows
    return dataclasses.replace(settings, optimizer=dataclasses.replace(optimizer, total_step=total))


def resumed(ctx: typer.Context, o: Options, content: str) -> runs.LanguageModelRun:
    settled = given(ctx, Hyperparameters)
    if settled:
        name = settled[0].replace("_", "-")
        raise SpecError(f"--{name} was given with --resume, but the checkpoint settles it. Leave --{name} out.")
    return runs.LanguageModelRun.resume(o.out, content, o.backend, o.device)


def model_fields(o: Options) -> dict[str, Any]:
    """What LanguageModel takes, from the options."""
    names = ("preset", "d_emb", "p_emb", "p_hid", "label_smoothing")
    fields = {name: getattr(o, name) for name in names}
    fields |= {"hidden_size": o.d_blk * o.n_blk, "num_layers": o.n_lyr}
    if o.preset in PRESETS and "num_blocks" in PRESETS[o.preset].needs:
        fields["num_blocks"] = o.n_blk
    elif o.n_blk != 1:
        raise SpecError(
            f"n_blk={o.n_blk}: preset {o.preset!r} has no memory blocks. Leave --n-blk out, and set --d-blk."
        )
    for pair in o.field or ():
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise SpecError(f"--field {pair!r} must be NAME=VALUE, such as peephole=true.")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


def initial(o: Options) -> str | LmpInit:
    names = [f.name for f in dataclasses.fields(LmpInit)]
    if o.init == "lmp":
        return LmpInit(**{name: getattr(o, name) for name in names})
    for name in names:
        if getattr(o, name) != getattr(LmpInit, name):
            flag = name.replace("_", "-")
            raise SpecError(f"--{flag} was given with --init {o.init}, which has no such number. Use --init lmp.")
    return o.init


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While this lasts, the first Ctrl-C (or SIGTERM) only asks to stop after the step; the second one is as ever."""
    asked: list[int] = []
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handler(number: int, frame: Any) -> None:
        asked.append(number)
        for signal_, before in old.items():
            signal.signal(signal_, before)
        err().print("\nstopping after this step; press Ctrl-C again to stop at once", style="yellow")

    for number in old:
        signal.signal(number, handler)
    try:
        yield lambda: bool(asked)
    finally:
        for number, before in old.items():
            signal.signal(number, before)


def _label(run: runs.LanguageModelRun) -> str:
    return f"{run.recent_bits():.3f} bits a character"


def result(run: runs.LanguageModelRun, o: Options, finished: bool) -> dict[str, Any]:
    """The run as plain JSON values, its plot drawn."""
    spec = run.model.spec
    return {
        "checkpoint": str(o.out),
        "plot": str(plot(run, o.out.with_suffix(".png"))),
        "finished": finished,
        "steps": run.steps,
        "of": run.total,
        "backend": o.backend,
        "version": plugins.version_of(plugins.find(o.backend)),
        "lstm": spec.lstm.to_dict(),
        "vocab_size": spec.vocab_size,
        "parameters": sum(a.size for a in run.model.weights().values()),
        "training_bits_per_character": run.recent_bits(),
        "held_out_bits_per_character": run.held_out_bits() if finished else None,
        "seconds": run.progress.seconds,
    }


def _print(found: dict[str, Any]) -> None:
    console, held_out = out(), found["held_out_bits_per_character"]
    console.print(
        f"{found['steps']} of {found['of']} steps in {found['seconds']:.0f} s on {found['backend']}, "
        f"{found['parameters']:,} parameters"
    )
    console.print(f"bits a character: {found['training_bits_per_character']:.3f} in the last steps of training")
    if held_out is not None:
        console.print(f"                  {held_out:.3f} on the held-out text", style="bold")
    console.print(f"{found['checkpoint']}\n{found['plot']}", markup=False, soft_wrap=True)
    if not found["finished"]:
        console.print("interrupted; go on with --resume", style="yellow")
