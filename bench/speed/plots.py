"""The plots of docs/benchmarks/, and what they and the tables read out of a row of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("forward", "training")
Rows = list[dict[str, Any]]
TIMES = (1, 2, 4, 8)


def ratio(row: dict[str, Any], kind: str, over: str, under: str) -> float | None:
    times = row.get(kind) or {}
    return times[over] / times[under] if over in times and under in times else None


def milliseconds(row: dict[str, Any], kind: str, which: str) -> float | None:
    return 1e3 * row[kind][which] if which in row[kind] else None


def of_shapes(by: dict[str, Rows], path: Path) -> None:
    """A panel a kind: for every shape the ratio to each peer, a colour a framework."""
    from matplotlib.ticker import LogLocator

    figure = _figure(9, 4)
    shapes = [", ".join(map(str, row["shape"])) for row in next(iter(by.values()))]
    for kind, plot in zip(KINDS, figure.subplots(1, 2, sharey=True), strict=True):
        for n, (name, found) in enumerate(by.items()):
            points = [(ratio(row, kind, "ours", "own"), y) for y, row in enumerate(found)]
            points = [(x, y + 0.08 * (n - len(by) / 2)) for x, y in points if x is not None]
            plot.plot(*zip(*points, strict=True) if points else ((), ()), "o", color=f"C{n}", markersize=4, label=name)
        plot.axvline(1, color="black", linewidth=0.8)
        plot.set_xscale("log")
        plot.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        plot.xaxis.set_major_formatter("{x:g}")
        plot.minorticks_off()
        plot.set_yticks(range(len(shapes)), shapes)
        plot.grid(alpha=0.3)
        plot.set_title(f"{kind}: time over the peer's", fontsize=9)
    figure.axes[0].invert_yaxis()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(by), fontsize=8)
    _save(figure, path)


def of_growth(by: dict[str, Rows], path: Path) -> None:
    """A row a kind, a column an axis: our time (solid) and the peer's (dashed)."""
    names = list(dict.fromkeys(row["axis"] for row in next(iter(by.values()))))
    figure = _figure(3 * len(names), 5.5)
    for kind, line in zip(KINDS, figure.subplots(2, len(names), sharey="row"), strict=True):
        for axis, plot in zip(names, line, strict=True):
            for n, (name, found) in enumerate(by.items()):
                _lines(plot, f"C{n}", name, kind, [row for row in found if row["axis"] == axis])
            plot.set_xticks(TIMES, [f"×{n}" for n in TIMES])
            plot.minorticks_off()
            plot.grid(alpha=0.3)
            plot.set_title(f"{axis}, {kind}", fontsize=9)
        line[0].set_ylabel("milliseconds")
    figure.axes[0].legend(fontsize=8)
    _save(figure, path)


def _lines(plot: Any, colour: str, name: str, kind: str, points: Rows) -> None:
    for which, style in (("ours", "-o"), ("own", "--")):
        times = [milliseconds(row, kind, which) for row in points]
        if None not in times:  # NumPy's peer does not train
            label = name if which == "ours" else None
            plot.loglog(TIMES, times, style, color=colour, markersize=3, linewidth=1, label=label)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    """Text stays text, and nothing in the file but what was measured changes with the day."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "unilstm"}):
        figure.savefig(path, metadata={"Date": None})


PLOTS: dict[str, tuple[str, Callable[[dict[str, Rows], Path], None]]] = {
    "shapes": ("A standard LSTM beside the peers", of_shapes),
    "growth": ("How time grows: ours solid, the peer's dashed", of_growth),
}
