"""The demo's picture: what went in, what the LSTM made of it, and that every framework made the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UnilstmError
from ..parameters import Array
from .encoder import Encoder
from .measure import BOUND, EPS, Reference, Run
from .mel import HOP
from .voice import RATE, SECONDS, VOWELS

# Okabe & Ito's palette: told apart in print and by colour-blind readers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _FAINT = "#222222", "#b8bfc7"


def check_matplotlib() -> None:
    """Say at the start, not after the work, that the picture cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UnilstmError(
            'matplotlib is not installed, which the picture needs. Run: pip install "unilstm[cli]".'
        ) from None


def draw(path: Path, signal: Array, mel: Array, encoder: Encoder, truth: Reference, runs: Sequence[Run]) -> Path:
    """Write the picture as PNG. signal: [samples]; mel: [T, bands]; runs: those with outputs are drawn."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _FAINT}
    with mpl.rc_context({**style, "axes.labelcolor": _INK, "text.color": _INK}):
        figure = Figure(figsize=(12, 13.5), dpi=130, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        rows = figure.subplots(5, 2, width_ratios=(60, 1), height_ratios=(1.0, 1.9, 2.3, 2.0, 1.5))
        shown = [run for run in runs if run.outputs is not None]
        _title(figure, encoder, shown)
        _draw_wave(rows[0], signal)
        _draw_mel(figure, rows[1], mel)
        _draw_hidden(figure, rows[2], truth.rounded[0])
        _draw_embedding(rows[3], encoder, truth, shown)
        _draw_differences(rows[4], truth, shown)
        figure.savefig(path)
    return path


def _title(figure: Any, encoder: Encoder, shown: Sequence[Run]) -> None:
    spec, names = encoder.weights.spec, list(dict.fromkeys(run.backend for run in shown))
    worst = max((run.eps or 0.0 for run in shown), default=0.0)
    figure.suptitle(
        f"One trained LSTM, the same numbers in {', '.join(names)}\n"
        f"{spec.num_layers} layers, {spec.input_size} → {spec.hidden_size}; "
        f"every output within {worst:.1f} float32 eps of torch.nn.LSTM in float64",
        fontsize=14,
        fontweight="bold",
    )


def _draw_wave(row: Any, signal: Array) -> None:
    axes, spare = row
    spare.set_axis_off()
    axes.plot(np.arange(len(signal)) / RATE, signal, color=_COLOURS[0], linewidth=0.5)
    axes.set(xlim=(0, SECONDS), ylabel="amplitude")
    axes.set_title(
        "The voice: a synthesised glottal pulse train with gliding pitch, through changing vowels", loc="left"
    )
    top = float(np.max(np.abs(signal)))
    axes.set_ylim(-1.15 * top, 1.55 * top)
    for index, vowel in enumerate(VOWELS):
        place = (index + 0.5) * SECONDS / len(VOWELS)
        axes.text(place, 1.2 * top, f"/{vowel}/", ha="center", va="bottom", color=_INK)
    axes.tick_params(labelbottom=False)


def _draw_mel(figure: Any, row: Any, mel: Array) -> None:
    axes, bar = row
    decibels = 10.0 * np.log10(np.maximum(mel.T, 1e-10) / float(np.max(mel)))
    image = axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-70,
        vmax=0,
        extent=(0, len(mel) * HOP / RATE, 0, mel.shape[1]),
    )
    axes.set(xlim=(0, SECONDS), ylabel="mel band")
    axes.set_title(f"What goes in: {len(mel)} mel frames of {mel.shape[1]} bands (drawn in decibels)", loc="left")
    axes.tick_params(labelbottom=False)
    figure.colorbar(image, cax=bar, label="dB below the peak")


def _draw_hidden(figure: Any, row: Any, hidden: Array) -> None:
    axes, bar = row
    order = np.argsort(np.argmax(np.abs(hidden), axis=0), kind="stable")
    limit = float(np.quantile(np.abs(hidden), 0.995))
    image = axes.imshow(
        hidden[:, order].T,
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        extent=(0, len(hidden) * HOP / RATE, 0, hidden.shape[1]),
    )
    axes.set(xlim=(0, SECONDS), xlabel="time (s)", ylabel="unit, by the time of its peak")
    axes.set_title(f"What the top layer does: its {hidden.shape[1]} hidden states h at every frame", loc="left")
    figure.colorbar(image, cax=bar, label="h")


def _draw_embedding(row: Any, encoder: Encoder, truth: Reference, shown: Sequence[Run]) -> None:
    axes, spare = row
    spare.set_axis_off()
    wanted = encoder.embed((truth.run.outputs or {})["h_n"])
    places = np.arange(len(wanted))
    axes.bar(places, wanted, width=0.9, color=_FAINT, label=f"torch.nn.LSTM {truth.run.version}")
    for index, run in enumerate(shown):
        # Rings that grow inwards: marks that lie on one another all stay visible.
        size = 10.0 - 7.5 * index / max(len(shown) - 1, 1)
        colour, embedding = _COLOURS[index % len(_COLOURS)], encoder.embed((run.outputs or {})["h_n"])
        drawn = np.flatnonzero((wanted > 0) | (embedding > 0))
        axes.plot(
            places[drawn],
            embedding[drawn],
            "o",
            color=colour,
            fillstyle="none",
            markersize=size,
            markeredgewidth=0.8,
            label=_name(run),
        )
    axes.set(xlim=(-1, len(wanted)), ylabel="value", xlabel="component")
    axes.set_ylim(min(0.0, 1.15 * float(np.min(wanted))), 1.3 * float(np.max(wanted)))
    what = (
        "The embedding of this voice (linear, ReLU, length 1)" if encoder.head else "The last hidden state, at length 1"
    )
    axes.set_title(f"{what}: grey bars are torch.nn.LSTM, a ring is one framework and path", loc="left")
    axes.legend(ncols=4, loc="upper left", frameon=False, fontsize=9)


def _draw_differences(row: Any, truth: Reference, shown: Sequence[Run]) -> None:
    axes, spare = row
    spare.set_axis_off()
    wanted = truth.exact[0]
    unit = EPS * float(np.max(np.abs(wanted)))
    times = (np.arange(len(wanted)) + 0.5) * HOP / RATE
    own = np.max(np.abs(truth.rounded[0] - wanted), axis=1) / unit
    axes.fill_between(times, own, color=_FAINT, linewidth=0, label="torch.nn.LSTM's own rounding")
    for index, run in enumerate(shown):
        errors = np.max(np.abs((run.outputs or {})["y"][0] - wanted), axis=1) / unit
        axes.plot(times, errors, color=_COLOURS[index % len(_COLOURS)], linewidth=1.2, label=_name(run))
    axes.axhline(BOUND, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(0.005, BOUND, f"bound: {BOUND:g} eps", va="bottom", fontsize=9)
    axes.set(xlim=(0, SECONDS), ylim=(0, 1.6 * BOUND), xlabel="time (s)", ylabel="eps of max |y|")
    axes.set_title(
        "How far each is from torch.nn.LSTM in float64: the largest difference in y at every frame", loc="left"
    )
    axes.legend(ncols=4, loc="upper right", frameon=False, fontsize=9)


def _name(run: Run) -> str:
    return f"{run.backend} {run.path}"
