"""The loss of a run, as a picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ...errors import UnilstmError
from ...models.run import LanguageModelRun


def plot(run: LanguageModelRun, path: Path) -> Path:
    """Bits a character over steps, in training and held-out. Raises UnilstmError where it cannot be written."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnilstmError('the plot needs matplotlib. Run: pip install "unilstm[cli]".') from None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    bits = np.array(run.progress.losses) / math.log(2)
    axes.plot(np.arange(1, len(bits) + 1), bits, color="0.75", linewidth=0.7, label="training, each step")
    wide = max(1, len(bits) // 50)
    smooth = np.convolve(bits, np.full(wide, 1 / wide), "valid") if len(bits) else bits
    axes.plot(np.arange(len(smooth)) + wide, smooth, color="C0", label=f"training, mean of {wide}")
    if run.progress.held_out:
        axes.plot(*zip(*run.progress.held_out, strict=True), "o-", color="C1", label="held-out text")
    axes.set(xlabel="step", ylabel="bits a character", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=120)
    except OSError as problem:
        raise UnilstmError(f"{path}: cannot be written ({problem.strerror}). Check the folder.") from None
    return path
