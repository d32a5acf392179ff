"""How much memory a conversion takes: its peak beyond that of the same interpreter with its imports, over the size of
the LSTM's tensors.

    python bench/memory.py [--gigabytes 2] [--folder DIR]

Each conversion runs in a process of its own. The peak is the system's own count (ru_maxrss), in which pages of mapped
files count, too.
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
import resource, sys, unilstm
source, target, warm = sys.argv[1:]
small = unilstm.Weights.initial(unilstm.LSTMSpec(3, 4, num_layers=2), seed=1)
for end in (".safetensors", ".pt"):  # the imports and the libraries' own memory
    unilstm.save(small, warm + end)
    unilstm.convert(warm + end, warm + "_" + end, check=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unilstm.convert(source, target, check=False)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10)
"""
MAKE = """
import sys, numpy as np, unilstm
layers, path = int(sys.argv[1]), sys.argv[2]
spec = unilstm.LSTMSpec(2048, 2048, num_layers=layers)
arrays = {n: np.zeros(p.shape, "f4") for n, p in unilstm.parameters.parameters(spec).items()}
rng = np.random.default_rng(0)
for array in arrays.values():
    array.flat[::1024] = rng.standard_normal(-(-array.size // 1024))  # every page has numbers
    array.flags.writeable = False
unilstm.save(unilstm.Weights(spec, arrays, copy=False), path)
print(sum(a.nbytes for a in arrays.values()))
"""


def run(code: str, *arguments: object) -> int:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder")
    said = parser.parse_args()
    layers = max(1, round(said.gigabytes * 2**30 / (4 * 4 * 2048 * (2 * 2048 + 2))))
    with tempfile.TemporaryDirectory(dir=said.folder) as folder:
        worst = 0.0
        for source, target in CASES:
            path, goal = Path(folder) / f"in{source}", Path(folder) / f"out{target}"
            if not path.exists():
                size = run(MAKE, layers, path)
            peak = run(CHILD, path, goal, Path(folder) / "warm")
            worst = max(worst, peak / size)
            print(f"{source:>12} → {target:<12} {size / 2**30:.2f} GB of tensors, peak {peak / size:.2f} times that")
            goal.unlink()
    print(f"the bound is {BOUND}")
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
