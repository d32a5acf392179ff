"""How fast the layers are: every framework in a process of its own, interleaved with its peer.

    cd bench
    python -m speed                               # everything; writes docs/benchmarks/
    python -m speed --frameworks torch,jax --studies shapes,streaming
    python -m speed --report                      # the page anew, from the numbers there are

What a study measured is in speed.json when it is done, beside what that has of other studies if they are of the same
machine and versions; so a long run can be made in parts.
Times are medians of 9 interleaved repetitions after a warm-up, and are reported as ratios to the peer's time in the
same run; memory is the growth of a fresh process's peak.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .measuring import HOW_OFTEN, SMALL, busy, environment
from .peers import FRAMEWORKS
from .report import NUMBERS, save, write
from .studies import STUDIES, memory

BENCH = Path(__file__).parent.parent
MEMORY = [(which, kind) for kind in ("forward", "training") for which in ("own", "ours")]
# Who takes part, where not all do: some studies compare unilstm with itself, some need what only a framework has.
EVERY = ("torch", "paddle", "jax", "numpy")
PARTS = dict.fromkeys(("lengths", "presets", "growth", "memory"), EVERY) | {
    "directions": ("torch", "paddle", "paddle-2", "jax", "onnxruntime"),
    "stacks": ("torch", "paddle", "paddle-2", "jax", "onnxruntime"),
    "streaming": ("torch", "paddle", "paddle-2", "jax", "numpy", "onnxruntime"),
    "peak": ("torch", "paddle-2", "jax", "numpy"),
    "accuracy": ("torch", "paddle", "jax"),
    "company": ("torch", "paddle", "jax"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--studies", default=",".join([*STUDIES, "memory"]))
    parser.add_argument("--out", type=Path, default=BENCH.parent / "docs" / "benchmarks")
    parser.add_argument("--small", action="store_true", help="tiny layers: that it runs, not how fast")
    parser.add_argument("--repeats", type=int, default=9, help="fewer: a quick look")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.child:
        return child(*said.child)
    os.environ |= {HOW_OFTEN: "1" if said.small else str(said.repeats)} | ({SMALL: "1"} if said.small else {})
    if said.report:
        return write(json.loads((said.out / NUMBERS).read_text(encoding="utf-8")), said.out)
    results = _before(said.out)
    for study in said.studies.split(","):
        for framework in said.frameworks.split(","):
            if framework in PARTS.get(study, FRAMEWORKS):
                start, before = time.perf_counter(), busy()
                rows = list(_memory(framework) if study == "memory" else _rows(framework, study))
                others = max((one for one in (before, busy()) if one is not None), default=None)
                print(f"{study}, {framework}: {time.perf_counter() - start:.0f} s, beside it {others}", flush=True)
                if rows:
                    results["studies"].setdefault(study, {})[framework] = rows
                    when = {"date": datetime.date.today().isoformat(), "commit": _commit(), "busy": others}
                    results.setdefault("runs", {}).setdefault(study, {})[framework] = when
        save(results, said.out)
    write(results, said.out)
    print(said.out / "index.md")
    return None


def _before(out: Path) -> dict[str, Any]:
    """What has been measured here of this machine with these versions, to which more comes."""
    here = environment()
    try:
        found: dict[str, Any] = json.loads((out / NUMBERS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {}
    return found if found.get("environment") == here else {"environment": here, "studies": {}}


def _commit() -> str | None:
    """What was measured; None where this is no clone."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _memory(framework: str) -> list[Any]:
    rows = [
        {"which": which, "kind": kind} | row
        for which, kind in MEMORY
        for row in _rows(framework, "memory", which, kind)
    ]
    return [row for row in rows if "bytes" in row]


def _rows(framework: str, study: str, *more: str) -> list[Any]:
    """The rows of a process; its warnings go to stderr as they come."""
    command = [sys.executable, "-m", "speed", "--child", framework, study, *more]
    done = subprocess.run(command, cwd=BENCH, env=_environment(), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _environment() -> dict[str, str]:
    """Of this process, but for the number of threads, which each framework settles as it does for its users."""
    return {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def child(framework: str, study: str, *more: Sequence[str]) -> None:
    subject = FRAMEWORKS[framework]()
    for row in [memory(subject, *map(str, more))] if study == "memory" else STUDIES[study](subject):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
