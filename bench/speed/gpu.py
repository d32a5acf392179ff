"""On a CUDA device: torch.nn.LSTM (cuDNN), unilstm's paths, and the composed loop, in milliseconds.

    cd bench
    python -m speed.gpu                  # writes docs/benchmarks/gpu.md and gpu.json; without a GPU it says so

float32 without TF32 for all, so that all compute the same. Medians of interleaved repetitions, each with the device
waited for. Not a part of `make bench`, whose figures are those of a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import unilstm
from unilstm import LSTMSpec, preset
from unilstm.errors import PathError
from unilstm.presets import PRESETS

Shape = tuple[int, int, int, int]  # B, T, I, H
SHAPES: tuple[Shape, ...] = ((32, 100, 128, 256), (64, 50, 512, 512), (1, 100, 128, 256), (8, 500, 80, 256))
NEEDS = {"proj_size": 64, "num_blocks": 32, "lanes": 4}
PATHS = ("native", "fused", "composed")
KINDS = ("forward", "training")


def runs_of(spec: LSTMSpec | None, shape: Shape, path: str, device: str) -> dict[str, Callable[[], Any]]:
    """By kind. spec None: torch.nn.LSTM itself."""
    import torch

    b, t, i, h = shape
    x = torch.randn(b, t, i, device=device, requires_grad=True)
    if spec is None:
        layer: Any = torch.nn.LSTM(i, h, batch_first=True).to(device)
    else:
        layer = unilstm.LSTM(spec, backend="torch", device=device, path=path, seed=0)
        layer.explain()  # PathError where the path cannot serve
    forward = torch.no_grad()(lambda: layer.eval()(x))
    return {"forward": forward, "training": lambda: layer.train()(x)[0].sum().backward()}


def medians(runs: dict[str, Callable[[], Any]], wait: Callable[[], Any], repetitions: int) -> dict[str, float]:
    """Seconds, interleaved, after three calls of each: compiled, recorded, replayed."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for n in range(3 + repetitions):
        for name, run in runs.items():
            wait()
            start = time.perf_counter()
            run()
            wait()
            if n >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def measure(spec: LSTMSpec, shape: Shape, device: str, wait: Callable[[], Any], repetitions: int) -> dict[str, Any]:
    """By kind: seconds by path, and of torch.nn.LSTM at the same sizes."""
    found = {"torch.nn.LSTM": runs_of(None, shape, "", device)}
    for path in PATHS:
        try:
            found[path] = runs_of(spec, shape, path, device)
        except PathError:
            continue
    return {kind: medians({n: r[kind] for n, r in found.items()}, wait, repetitions) for kind in KINDS}


def table(rows: list[dict[str, Any]], device: str) -> str:
    names = ("torch.nn.LSTM", *PATHS)
    head = ["", "(B, T, I, H)", *names]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [" / ".join(f"{1e3 * row[k][n]:.2f}" if n in row[k] else "–" for k in KINDS) for n in names]
        lines.append([row["name"], ", ".join(map(str, row["shape"])), *cells])
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    about = f"Milliseconds on {device}, float32 without TF32, *forward / training*; written by `python -m speed.gpu`."
    return f"# On a GPU\n\n{about}\ntorch.nn.LSTM has no variants: beside them it is the vanilla one.\n\n{body}\n"


def subjects() -> list[tuple[str, LSTMSpec, Shape]]:
    """vanilla at every shape, every preset that torch has a compiled step for at the first."""
    found = [("vanilla", LSTMSpec(shape[2], shape[3]), shape) for shape in SHAPES]
    for name in PRESETS:
        needs = {need: NEEDS[need] for need in PRESETS[name].needs}
        spec = preset(name, input_size=SHAPES[0][2], hidden_size=SHAPES[0][3], **needs)
        if spec.cell == "lstm" and name != "vanilla":
            found.append((name, spec, SHAPES[0]))
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="speed.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs" / "benchmarks")
    parser.add_argument("--repetitions", type=int, default=9)
    given = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("nothing measured: torch finds no CUDA device here", file=sys.stderr)
        return 0
    torch.backends.cudnn.allow_tf32 = False
    rows = [
        {"name": name, "shape": shape, **measure(spec, shape, "cuda", torch.cuda.synchronize, given.repetitions)}
        for name, spec, shape in subjects()
    ]
    device = torch.cuda.get_device_name()
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu.json").write_text(json.dumps({"device": device, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    (given.out / "gpu.md").write_text(table(rows, device), encoding="utf-8")
    print(given.out / "gpu.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
