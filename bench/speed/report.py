"""docs/benchmarks/: the tables (index.md), the numbers behind them (speed.json), and where the plots go."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import plots
from .peers import FRAMEWORKS
from .plots import KINDS, Rows, milliseconds, ratio

NUMBERS = "speed.json"
BESIDE = ("full", "own")  # what ragged rows stand beside


def save(results: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / NUMBERS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def write(results: dict[str, Any], out: Path) -> None:
    """Tables in the order of SECTIONS, a study's plot beneath its table."""
    parts = [_head(results["environment"]), *_busy(results.get("runs", {}))]
    for study, section in SECTIONS.items():
        by = results["studies"].get(study)
        if by:
            parts.append(section(by))
        if by and study in plots.PLOTS:
            said, draw = plots.PLOTS[study]
            draw(by, out / f"{study}.svg")
            parts.append(f"![{said}]({study}.svg)\n")
    (out / "index.md").write_text("\n".join(parts), encoding="utf-8")


def geometric(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _pair(value: Callable[[str], float | None]) -> str:
    found = [value(kind) for kind in KINDS]
    return " / ".join("–" if one is None else f"{one:.2f}" for one in found)


def _head(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    tiny = "\n**Tiny layers, measured once each, to see that everything runs: the figures mean nothing.**\n"
    return f"""# Benchmarks
{tiny if about.get("small") else ""}
Written by `make bench` on {about["cores"]} cores of {about["machine"]} ({about["cpu"]}), float32; {versions}.
Every framework runs in a process of its own, interleaved with its peer: medians of {about["repeats"]} repetitions,
as ratios to the peer's time in the same run, *forward / training*; below 1 is faster. Shared machines are noisy: a
difference of a tenth is none. `paddle` is Paddle as it comes: its own LSTM on
one thread, the kernel on all. The numbers behind the tables:
[speed.json](speed.json).
"""


BUSY = 0.1  # of the processors' time: what of it others may have before it is said


def _busy(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Which studies had other work beside them, as far as that was seen."""
    found = [
        f"{study} of {name} ({one['busy']:.0%})"
        for study, by in runs.items()
        for name, one in by.items()
        if (one["busy"] or 0) > BUSY
    ]
    if not found:
        return []
    return [f"Other work had more than a tenth of the processors' time right before or after: {', '.join(found)}.\n"]


def _shape(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row["shape"]))


def _path(row: dict[str, Any]) -> str:
    return str(row["path"]).split(": ", 1)[-1].split(" (", 1)[0]


def peer(name: str) -> str:
    return FRAMEWORKS[name]().peer


def of_shapes(by: dict[str, Rows]) -> str:
    peers = "; ".join(f"`{name}`: {peer(name)}" for name in by)
    paths = "; ".join(f"`{name}`: {', '.join(sorted({_path(row) for row in found}))}" for name, found in by.items())
    return f"""## A standard LSTM

`path="auto"` beside the peer, at (B, T, I, H). Peers: {peers}. Paths in evaluation: {paths}.

{_by_shape(by)}"""


def of_directions(by: dict[str, Rows]) -> str:
    return f"""## Both directions

A bidirectional layer beside the peer's, `path="auto"`. Where all the weights that a step of one direction reads fit the
second-level cache, each thread runs a direction of its own.

{_by_shape(by)}"""


def of_stacks(by: dict[str, Rows]) -> str:
    return f"""## Stacks

Several layers and few rows, `path="auto"` beside the peer. A step of one row is seldom worth sharing; the layers run
beside one another, each some steps behind the one below.

{_by_shape(by)}"""


def _by_shape(by: dict[str, Rows]) -> str:
    """A row a shape, a column a framework; the last row is the geometric mean."""
    shapes = [_shape(row) + (f", {row['layers']} layers" if "layers" in row else "") for row in next(iter(by.values()))]
    rows = []
    for n, shape in enumerate(shapes):
        cells = [_pair(lambda kind, row=found[n]: ratio(row, kind, "ours", "own")) for found in by.values()]
        rows.append([shape, *cells])
    rows.append(
        ["geometric mean", *(_pair(lambda kind, f=found: _mean(f, kind, "ours", "own")) for found in by.values())]
    )
    return _table(["(B, T, I, H)", *by], rows)


def _mean(rows: Rows, kind: str, over: str, under: str) -> float | None:
    found = [ratio(row, kind, over, under) for row in rows]
    return geometric([one for one in found if one is not None]) if all(found) else None


def of_streaming(by: dict[str, Rows]) -> str:
    rows = []
    for name, (row,) in by.items():
        times = row["forward"]
        cells = [_micro(times, "own"), _micro(times, "cell")]
        for ours in ("ours", "stream"):
            cells += [_micro(times, ours), _over(times, ours, "own"), _over(times, ours, "cell")]
        rows.append([name, *cells])
    head = [part for one in ("step", "stream") for part in (f"{one}, µs", "to the layer", "to the cell")]
    return f"""## Streaming

One step of many at (B, I, H) = (1, 256, 512), with the state carried on: `layer.step(x, state)`, which reads the
weights as they are, and `layer.stream()`, which packs them once; beside the framework's LSTM on a sequence of one step,
and its cell (torch.nn.LSTMCell, paddle.nn.LSTMCell, flax's, jitted).

{_table(["framework", "its layer, µs", "its cell, µs", *head], rows)}"""


def _micro(times: dict[str, float], one: str) -> str:
    return f"{1e6 * times[one]:.0f}" if one in times else "–"


def _over(times: dict[str, float], one: str, other: str) -> str:
    return f"{times[one] / times[other]:.2f}" if one in times and other in times else "–"


def of_lengths(by: dict[str, Rows]) -> str:
    """A row a shape, and one of geometric means a framework."""
    rows = []
    for name, found in by.items():
        for row in found:
            cells = (_pair(lambda kind, other=other, row=row: ratio(row, kind, "ragged", other)) for other in BESIDE)
            rows.append([name, _shape(row), f"{row['share']:.2f}", *cells])
        means = (_pair(lambda kind, other=other, f=found: _mean(f, kind, "ragged", other)) for other in BESIDE)
        rows.append([name, "geometric mean", "", *means])
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
            for other in _others(found):
                cells.append(_pair(lambda kind, row=found[n], other=other: ratio(row, kind, "ours", other)))
        rows.append([name, *cells])
    head = ["preset"]
    for name, found in by.items():
        said = {"cell": "to a cell in Python", "loop": "to a loop", "peer": "to array-lstm"}
        head += [f"{name}: path", "to vanilla", *(said[other] for other in _others(found))]
    return f"""## Every preset

One layer at (32, 100, 128, 256): to unilstm's vanilla LSTM; on torch also to the same equations as a cell of its
operations called step after step in Python, to a loop that makes the products with x of all steps before it (the
composed path without its own backward), and to array-lstm where that has the variant. torch and Paddle draw masks in
training; JAX and NumPy, which do where a call gives a key, have none here.

{_table(head, rows)}"""


def _others(found: Rows) -> list[str]:
    """What else stands beside any of these presets."""
    return [other for other in ("cell", "loop", "peer") if any(other in row["forward"] for row in found)]


def of_growth(by: dict[str, Rows]) -> str:
    rows = []
    for name, found in by.items():
        for axis in dict.fromkeys(row["axis"] for row in found):
            points = [row for row in found if row["axis"] == axis]
            cells = [_pair(lambda kind, row=row: milliseconds(row, kind, "ours")) for row in points]
            rows.append([name, axis, *cells])
    return f"""## Growth

Milliseconds, forward / training, from (16, 50, 128, 128) with one of T, B, H or the number of layers doubled.

{_table(["framework", "axis", "×1", "×2", "×4", "×8"], rows)}"""


def of_peak(by: dict[str, Rows]) -> str:
    shapes = [_shape(row) for row in next(iter(by.values()))]
    products = {name: max(row["flops"]["product"] for row in found) for name, found in by.items()}
    fastest = max(products, key=lambda name: products[name])
    cells = [[f"{row['flops']['ours'] / products[fastest]:.2f}" for row in found] for found in by.values()]
    return f"""## Share of the peak

A forward pass's multiplications and additions a second, as a share of those of the fastest product of two 1024 × 1024
matrices that was seen of any framework: {products[fastest] / 1e9:.0f} GFLOP/s, {fastest}'s.

{_table(["(B, T, I, H)", *by], [[shape, *(c[n] for c in cells)] for n, shape in enumerate(shapes)])}"""


def of_memory(by: dict[str, Rows]) -> str:
    rows = []
    for name, found in by.items():
        sizes = {(row["which"], row["kind"]): row["bytes"] for row in found}
        for kind in KINDS:
            own, ours = sizes.get(("own", kind)), sizes.get(("ours", kind))
            if own and ours:
                rows.append([name, kind, f"{own / 2**20:.0f}", f"{ours / 2**20:.0f}", f"{ours / own:.2f}"])
    return f"""## Memory

Growth of a fresh process's peak in its first call at {_shape(next(iter(by.values()))[0])}, MiB; on JAX with what
compiling takes.

{_table(["framework", "", "peer", "ours", "ratio"], rows)}"""


def of_accuracy(by: dict[str, Rows]) -> str:
    """A row a shape and system, the kernel first, whose numbers are the same beside every framework."""
    rows = []
    for n, one in enumerate(next(iter(by.values()))):
        kernel = one["errors"]["kernel"]
        systems = {"the kernel": kernel} | {peer(name): found[n]["errors"]["own"] for name, found in by.items()}
        for name, errors in systems.items():
            beside = f"{max(kernel.values()) / max(errors.values()):.2f}"
            cells = [f"{error:.1f}" for error in (*errors.values(), max(errors.values()))]
            rows.append([_shape(one), name, *cells, beside])
    names = list(next(iter(by.values()))[0]["errors"]["kernel"])
    return f"""## Accuracy

The largest error in float32 against the conformance oracle in float64, of two draws, in eps of the largest number of
each array. The last column is the kernel's largest error over this system's.

{_table(["(B, T, I, H)", "", *names, "largest", "kernel's over it"], rows)}"""


def of_company(by: dict[str, Rows]) -> str:
    """A row a process and subject, a column a moment."""
    rows, moments = [], list(next(iter(by.values()))[0]["seconds"])
    for name, found in by.items():
        for row in found:
            first, *others = row["seconds"].values()
            cells = [f"{other / first:.2f}" for other in others]
            rows.append([name, row["subject"], f"{1e3 * first:.1f}", *cells])
    return f"""## In company

All frameworks in one process, at {_shape(next(iter(by.values()))[0])}: how long their own work takes once the kernel
has worked for each of them, and right after each of its calls, over its time at first. *Again* is the same before the
kernel is first called: what noise and the frameworks themselves make of it.

{_table(["imported first", "", "at first, ms", *moments[1:]], rows)}"""


SECTIONS: dict[str, Callable[[dict[str, Rows]], str]] = {
    "shapes": of_shapes,
    "directions": of_directions,
    "stacks": of_stacks,
    "streaming": of_streaming,
    "lengths": of_lengths,
    "presets": of_presets,
    "growth": of_growth,
    "peak": of_peak,
    "memory": of_memory,
    "accuracy": of_accuracy,
    "company": of_company,
}
