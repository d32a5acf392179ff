"""docs/benchmarks/: the tables (index.md), the numbers behind them (speed.json), the plots."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .peers import FRAMEWORKS

KINDS = ("forward", "training")
Rows = list[dict[str, Any]]


def write(results: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    parts = [_head(results["environment"])]
    for study, by in results["studies"].items():
        parts.append(SECTIONS[study](by))
    if "growth" in results["studies"]:
        draw_growth(results["studies"]["growth"], out / "growth.png")
        parts.append("![How time grows](growth.png)\n")
    (out / "index.md").write_text("\n".join(parts), encoding="utf-8")
    print(f"{out / 'index.md'}")


def geometric(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def ratio(row: dict[str, Any], kind: str, over: str, under: str) -> float | None:
    times = row.get(kind) or {}
    return times[over] / times[under] if over in times and under in times else None


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _pair(value: Callable[[str], float | None]) -> str:
    found = [value(kind) for kind in KINDS]
    return " / ".join("–" if one is None else f"{one:.2f}" for one in found)


def _head(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"""# Benchmarks

Written by `make bench` on {about["cores"]} cores of {about["machine"]} ({about["cpu"]}), float32; {versions}.
Every framework runs in a process of its own, interleaved with its peer: medians of 9 repetitions, as ratios to the
peer's time in the same run, *forward / training*; below 1 is faster. Shared machines are noisy: a difference of a tenth
is none. `paddle` is Paddle as it comes, on one thread. The numbers behind the tables: [speed.json](speed.json).
"""


def _shape(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row["shape"]))


def _path(row: dict[str, Any]) -> str:
    return str(row["path"]).split(": ", 1)[-1].split(" (", 1)[0]


def of_shapes(by: dict[str, Rows]) -> str:
    """A row a shape, a column a framework; the last row is the geometric mean."""
    shapes = [_shape(row) for row in next(iter(by.values()))]
    rows = []
    for n, shape in enumerate(shapes):
        cells = [_pair(lambda kind, row=found[n]: ratio(row, kind, "ours", "own")) for found in by.values()]
        rows.append([shape, *cells])
    rows.append(
        ["geometric mean", *(_pair(lambda kind, f=found: _mean(f, kind, "ours", "own")) for found in by.values())]
    )
    peers = "; ".join(f"`{name}`: {FRAMEWORKS[name]().peer}" for name in by)
    paths = "; ".join(f"`{name}`: {', '.join(sorted({_path(row) for row in found}))}" for name, found in by.items())
    return f"""## A standard LSTM

`path="auto"` beside the peer, at (B, T, I, H). Peers: {peers}. Paths in evaluation: {paths}.

{_table(["(B, T, I, H)", *by], rows)}"""


def _mean(rows: Rows, kind: str, over: str, under: str) -> float | None:
    found = [ratio(row, kind, over, under) for row in rows]
    return geometric([one for one in found if one is not None]) if all(found) else None


def of_streaming(by: dict[str, Rows]) -> str:
    rows = []
    for name, (row,) in by.items():
        times = row["forward"]
        rows.append(
            [name, f"{1e6 * times['own']:.0f}", f"{1e6 * times['ours']:.0f}", f"{times['ours'] / times['own']:.2f}"]
        )
    return f"""## Streaming

One step at (B, I, H) = (1, 256, 512), with the state carried on: `layer.step(x, state)`.

{_table(["framework", "peer, µs", "ours, µs", "ratio"], rows)}"""


def of_lengths(by: dict[str, Rows]) -> str:
    rows = [
        [name, _shape(row), f"{row['share']:.2f}", *(
            _pair(lambda kind, other=other, row=row: ratio(row, kind, "ragged", other)) for other in ("full", "own")
        )]
        for name, found in by.items()
        for row in found
    ]  # fmt: skip
    head = ["framework", "(B, T, I, H)", "share of steps", "to the full batch", "to the peer's ragged run"]
    return f"""## Ragged rows

Lengths uniform in 1..T.

{_table(head, rows)}"""


def of_presets(by: dict[str, Rows]) -> str:
    names = [row["preset"] for row in next(iter(by.values()))]
    rows = []
    for n, name in enumerate(names):
        cells = []
        for found in by.values():
            cells.append(_path(found[n]))
            cells.append(_pair(lambda kind, row=found[n]: ratio(row, kind, "ours", "vanilla")))
            if "loop" in found[n]["forward"]:
                cells.append(_pair(lambda kind, row=found[n]: ratio(row, kind, "ours", "loop")))
        rows.append([name, *cells])
    head = ["preset"]
    for name, found in by.items():
        loop = "loop" in found[0]["forward"]
        head += [f"{name}: path", "to vanilla", *(["to a Python loop"] if loop else [])]
    return f"""## Every preset

One layer at (32, 100, 128, 256): to unilstm's vanilla LSTM, and to the same equations as a loop of torch operations.

{_table(head, rows)}"""


def _milliseconds(row: dict[str, Any], kind: str, which: str) -> float | None:
    return 1e3 * row[kind][which] if which in row[kind] else None


def of_growth(by: dict[str, Rows]) -> str:
    rows = []
    for name, found in by.items():
        for axis in dict.fromkeys(row["axis"] for row in found):
            points = [row for row in found if row["axis"] == axis]
            cells = [_pair(lambda kind, row=row: _milliseconds(row, kind, "ours")) for row in points]
            rows.append([name, axis, *cells])
    return f"""## Growth

Milliseconds, forward / training, from (16, 50, 128, 128) with one of T, B, H or the number of layers doubled.

{_table(["framework", "axis", "×1", "×2", "×4", "×8"], rows)}"""


def of_peak(by: dict[str, Rows]) -> str:
    shapes = [_shape(row) for row in next(iter(by.values()))]
    cells = [[f"{row['flops']['ours'] / row['flops']['product']:.2f}" for row in found] for found in by.values()]
    speeds = [f"{name} ({found[0]['flops']['product'] / 1e9:.0f} GFLOP/s)" for name, found in by.items()]
    return f"""## Share of the peak

A forward pass's multiplications and additions a second, as a share of those of the framework's own product of two
1024 × 1024 matrices.

{_table(["(B, T, I, H)", *speeds], [[shape, *(c[n] for c in cells)] for n, shape in enumerate(shapes)])}"""


def of_memory(by: dict[str, Rows]) -> str:
    rows = []
    for name, found in by.items():
        sizes = {(row["which"], row["kind"]): row["bytes"] for row in found}
        for kind in KINDS:
            own, ours = sizes.get(("own", kind)), sizes.get(("ours", kind))
            if own and ours:
                rows.append([name, kind, f"{own / 2**20:.0f}", f"{ours / 2**20:.0f}", f"{ours / own:.2f}"])
    return f"""## Memory

Growth of a fresh process's peak in one call at (64, 200, 256, 512), MiB.

{_table(["framework", "", "peer", "ours", "ratio"], rows)}"""


SECTIONS: dict[str, Callable[[dict[str, Rows]], str]] = {
    "shapes": of_shapes,
    "streaming": of_streaming,
    "lengths": of_lengths,
    "presets": of_presets,
    "growth": of_growth,
    "peak": of_peak,
    "memory": of_memory,
}


def draw_growth(by: dict[str, Rows], path: Path) -> None:
    """A row a kind, a column an axis: our time (solid) and the peer's (dashed)."""
    from matplotlib.figure import Figure

    axes_names = list(dict.fromkeys(row["axis"] for row in next(iter(by.values()))))
    figure = Figure(figsize=(3 * len(axes_names), 5.5), layout="constrained")
    plots = figure.subplots(2, len(axes_names), sharey="row")
    for kind, line in zip(KINDS, plots, strict=True):
        for axis, plot in zip(axes_names, line, strict=True):
            for n, (name, found) in enumerate(by.items()):
                points = [row for row in found if row["axis"] == axis]
                for which, style in (("ours", "-o"), ("own", "--")):
                    times = [_milliseconds(row, kind, which) for row in points]
                    if None in times:  # NumPy has no training beside it
                        continue
                    label = name if which == "ours" else None
                    plot.loglog([1, 2, 4, 8], times, style, color=f"C{n}", markersize=3, linewidth=1, label=label)
            plot.set_xticks([1, 2, 4, 8], ["×1", "×2", "×4", "×8"])
            plot.minorticks_off()
            plot.grid(alpha=0.3)
            plot.set_title(f"{axis}, {kind}", fontsize=9)
        line[0].set_ylabel("milliseconds")
    plots[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=100)
