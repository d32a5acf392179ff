"""Times and memory: interleaved medians, the machine's own speed, a process for each framework."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[], Any]
# Set by `--small`: tiny layers, to see in seconds that everything runs; the figures mean nothing.
SMALL = "UNILSTM_BENCH_SMALL"
HOW_OFTEN = "UNILSTM_BENCH_REPEATS"


def _repeats() -> int:
    return int(os.environ.get(HOW_OFTEN, 9))


REPEATS = _repeats()
# A shorter run is repeated until all last this long: calls follow one another, and the clock's own cost does not count.
SHORTEST = 10e-3
# Before each measurement: idle threads of a library spin for a while (OpenBLAS's 20 milliseconds, onnxruntime's more
# than 30) before they sleep, on processors that the next one measured is to have.
REST = 0.1


def interleaved(runs: dict[str, Run], repeats: int = REPEATS, before: Run | None = None) -> dict[str, float]:
    """Median seconds of each, measured in turn so that a busy moment of the machine hits all of them.

    before: what runs right before each of them, out of the count; else nothing, and then the run itself, once.
    """
    loops = {name: _loops(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            if before is not None:
                before()
            else:
                time.sleep(REST)
                run()  # wakes its own threads
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
    """Bytes by which the process's peak in run() goes beyond what it held after warm(), the same at a small size."""
    warm()
    gc.collect()
    before = _held()
    run()
    return _peak() - before


def _held() -> int:
    """What the process holds now, from which its peak counts on; where that cannot be set, the peak until now.

    The system's peak is that of the process's whole life otherwise, and what compiling took can hide all that comes.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if Path("/proc/self/status").exists():  # ru_maxrss would count the process that started this one, too
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if platform.system() == "Darwin" else 10)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) << 10


def busy(seconds: float = 1.0) -> float | None:
    """The share of all processors' time that is used now, while this process sleeps; None where nothing tells."""
    before = _used()
    time.sleep(seconds)
    after = _used()
    if before is None or after is None:
        return None
    (used, every), (used_before, every_before) = after, before
    return round((used - used_before) / max(1, every - every_before), 3)


def _used() -> tuple[int, int] | None:
    """Ticks of all processors since the start, without those of waiting; and all."""
    try:
        ticks = list(map(int, Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]))
    except OSError:
        return None
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


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
    about = {"machine": platform.machine(), "cores": cores, "cpu": _cpu(), "repeats": _repeats(), "versions": versions}
    return about | ({"small": True} if os.environ.get(SMALL) else {})


_MAKERS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}


def _cpu() -> str:
    """What decides which code runs: flags, and the maker, whom MKL asks for; its name says less and is often hidden."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    maker = next((line.split()[-1] for line in lines if line.startswith("vendor_id")), "")
    level = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else " ".join(flags[-3:])
    return ", ".join(part for part in (_MAKERS.get(maker, maker), level) if part)
