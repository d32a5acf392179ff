"""How much memory a conversion takes: its peak beyond that of the same interpreter with its imports, over the size of
the LSTM's tensors.

    python bench/memory.py [--gigabytes 2] [--folder DIR]

Each conversion runs in a process of its own. The peak is the system's own count (Linux's VmHWM; ru_maxrss would count
the process that started it, too), in which pages of mapped files count as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = ((".safetensors", ".safetensors"), (".safetensors", ".pt"), (".pt", ".safetensors"), (".pt", ".pt"))
BOUND = 1.3

CHILD = """
import sys, unilstm
warm, *paths = sys.argv[1:]
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10
small = unilstm.Weights.initial(unilstm.LSTMSpec(3, 4, num_layers=2), seed=1)
for end in (".safetensors", ".pt"):  # the imports and the libraries' own memory
    unilstm.save(small, warm + end)
    unilstm.convert(warm + end, warm + "_" + end, check=False)
before = peak()
for source, target in zip(paths[::2], paths[1::2]):
    unilstm.convert(source, target, check=False)
print(peak() - before)
"""
MAKE = """
import sys, numpy as np, unilstm
units, layers, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
spec = unilstm.LSTMSpec(units, units, num_layers=layers)
arrays = {n: np.zeros(p.shape, "f4") for n, p in unilstm.parameters.parameters(spec).items()}
rng = np.random.default_rng(0)
for array in arrays.values():
    array.flat[::1024] = rng.standard_normal(-(-array.size // 1024))  # every page has numbers
    array.flags.writeable = False
unilstm.save(unilstm.Weights(spec, arrays, copy=False), path)
print(sum(a.nbytes for a in arrays.values()))
"""


def make(path: Path, units: int, layers: int) -> int:
    """Write a checkpoint; how many bytes its tensors have."""
    return _run(MAKE, units, layers, path)


def peak(*paths: Path) -> int:
    """The bytes that conversions take at most beyond the interpreter and its imports. paths: of each, from and to."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(CHILD, Path(folder) / "warm", *paths)


def _run(code: str, *arguments: object) -> int:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder")
    said = parser.parse_args()
    layers = max(1, round(said.gigabytes * 2**30 / (4 * 4 * 2048 * (2 * 2048 + 2))))
    sizes: dict[Path, int] = {}
    with tempfile.TemporaryDirectory(dir=said.folder) as folder:
        worst = 0.0
        for source, target in CASES:
            path, goal = Path(folder) / f"in{source}", Path(folder) / f"out{target}"
            size = sizes[path] = sizes.get(path) or make(path, 2048, layers)
            ratio = peak(path, goal) / size
            worst = max(worst, ratio)
            print(f"{source:>12} → {target:<12} {size / 2**30:.2f} GB of tensors, peak {ratio:.2f} times that")
            goal.unlink()
    print(f"the bound is {BOUND}")
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
