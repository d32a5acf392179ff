"""The options of `unilstm lm train`: the language-model-playground's names, and the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Option = typer.Option
MODEL, INITIAL, TRAINING, RUN = "The model", "Initial values", "Training", "The run"


@dataclass
class Hyperparameters:
    """What a run is settled by; a resumed one has them from its checkpoint."""

    preset: Annotated[str, Option(help="Which LSTM, such as lstm-2002.", rich_help_panel=MODEL)] = "vanilla"
    field: Annotated[
        list[str] | None,
        Option(metavar="NAME=VALUE", help="Another field of LSTMSpec. Repeatable.", rich_help_panel=MODEL),
    ] = None
    d_emb: Annotated[int, Option(help="Features of an embedding.", rich_help_panel=MODEL)] = 64
    d_blk: Annotated[int, Option(help="Units of a memory block.", rich_help_panel=MODEL)] = 256
    n_blk: Annotated[int, Option(help="Memory blocks; the LSTM has d-blk × n-blk units.", rich_help_panel=MODEL)] = 1
    n_lyr: Annotated[int, Option(help="Layers.", rich_help_panel=MODEL)] = 1
    p_emb: Annotated[float, Option(help="Dropout on embeddings.", rich_help_panel=MODEL)] = 0.0
    p_hid: Annotated[float, Option(help="Dropout on hidden units.", rich_help_panel=MODEL)] = 0.0
    label_smoothing: Annotated[float, Option(help="Of the targets.", rich_help_panel=MODEL)] = 0.0

    init: Annotated[
        str, Option(help="torch, keras, orthogonal; or lmp, which the next five are of.", rich_help_panel=INITIAL)
    ] = "torch"
    init_lower: Annotated[float, Option(help="Weights from here …", rich_help_panel=INITIAL)] = -0.1
    init_upper: Annotated[float, Option(help="… to here.", rich_help_panel=INITIAL)] = 0.1
    init_ib: Annotated[float, Option(help="Input gate's bias from here to 0.", rich_help_panel=INITIAL)] = -1.0
    init_ob: Annotated[float, Option(help="Output gate's bias from here to 0.", rich_help_panel=INITIAL)] = -1.0
    init_fb: Annotated[float, Option(help="Forget gate's bias from 0 to here.", rich_help_panel=INITIAL)] = 1.0

    batch_size: Annotated[int, Option(help="Pieces of the text read side by side.", rich_help_panel=TRAINING)] = 32
    ctx_win: Annotated[int, Option(help="Characters a step; the state is carried on.", rich_help_panel=TRAINING)] = 64
    n_epoch: Annotated[int, Option(help="Passes over the text.", rich_help_panel=TRAINING)] = 5
    optimizer: Annotated[str, Option(help="sgd, adam or adamw.", rich_help_panel=TRAINING)] = "adamw"
    lr: Annotated[float, Option(help="Learning rate.", rich_help_panel=TRAINING)] = 3e-3
    wd: Annotated[float, Option(help="Weight decay, of adamw.", rich_help_panel=TRAINING)] = 0.0
    beta1: Annotated[float, Option(help="Of adam and adamw.", rich_help_panel=TRAINING)] = 0.9
    beta2: Annotated[float, Option(help="Of adam and adamw.", rich_help_panel=TRAINING)] = 0.999
    eps: Annotated[float, Option(help="Of adam and adamw.", rich_help_panel=TRAINING)] = 1e-8
    max_norm: Annotated[float, Option(help="Clip the gradient's norm; 0 does not.", rich_help_panel=TRAINING)] = 1.0
    warmup_step: Annotated[
        int, Option(help="Steps in which the rate rises; it then falls to 0.", rich_help_panel=TRAINING)
    ] = 100
    seed: Annotated[int, Option(help="Of initial values and dropout.", rich_help_panel=TRAINING)] = 42
    held_out: Annotated[
        float, Option(help="The part at the end that is not learned from.", rich_help_panel=TRAINING)
    ] = 0.1


@dataclass
class RunOptions:
    """Where a run happens and what it writes; a resumed one may have others."""

    backend: Annotated[str, Option(help="torch, paddle or jax.", rich_help_panel=RUN)] = "torch"
    device: Annotated[str | None, Option(help="As the framework names it.", rich_help_panel=RUN)] = None
    out: Annotated[Path, Option(help="The checkpoint to write; the plot goes beside it.", rich_help_panel=RUN)] = Path(
        "lm.safetensors"
    )
    ckpt_step: Annotated[
        int, Option(help="Write it every so many steps too; 0: only at the end.", rich_help_panel=RUN)
    ] = 500
    resume: Annotated[bool, Option("--resume", help="Go on from the checkpoint.", rich_help_panel=RUN)] = False
