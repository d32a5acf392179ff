"""Times and memory: interleaved medians, the machine's own speed, a process for each framework."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

Run = Callable[[], Any]
# Set by `--small`: tiny layers, to see in seconds that everything runs; the figures mean nothing.
SMALL = "UNILSTM_BENCH_SMALL"
REPEATS = 1 if os.environ.get(SMALL) else 9
# A run of 20 microseconds is repeated until it lasts this long, so that the clock's own cost does not count.
SHORTEST = 2e-3


def interleaved(runs: dict[str, Run], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each, measured in turn so that a busy moment of the machine hits all of them."""
    loops = {name: _loops(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(_once(run, loops[name]))
    return {name: statistics.median(measured) for name, measured in times.items()}


def _loops(run: Run) -> int:
    """How often a run must be repeated; warms it up, too."""
    for _ in range(2):
        run()
    return max(1, min(1000, round(SHORTEST / _once(run, 1))))


def _once(run: Run, loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        run()
    return (time.perf_counter() - start) / loops


def peak_beyond(warm: Run, run: Run) -> int:
    """Bytes by which the process's peak memory grows in run() beyond what warm(), the same at a small size, left."""
    warm()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << (0 if platform.system() == "Darwin" else 10)


def flops(shape: tuple[int, ...], layers: int = 1) -> int:
    """Multiplications and additions of the matrix products of a forward pass; training has three times as many."""
    b, t, i, h = shape
    return 8 * b * t * h * (i + h + (layers - 1) * 2 * h)


def environment() -> dict[str, Any]:
    versions = {}
    for name in ("torch", "paddlepaddle", "jax", "flax", "keras", "onnxruntime", "numpy", "array-lstm"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"machine": platform.machine(), "cores": cores, "cpu": _cpu(), "versions": versions}


def _cpu() -> str:
    """The processor's flags that decide which code runs; its name says less and is often hidden."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "").split()
    except OSError:
        return platform.processor()
    return "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else " ".join(flags[-3:])
