"""make sanitize: the kernel's driver, built with each sanitizer and run. Needs g++ or clang++ with their runtimes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from unilstm_kernels import build

DRIVER = Path(__file__).parent / "kernel_driver.cpp"
SANITIZERS = ("address", "undefined", "thread")


def main() -> int:
    compiler = build.compiler()
    for sanitizer in SANITIZERS:
        with tempfile.TemporaryDirectory() as folder:
            flags = [*build.FLAGS, "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
            objects = []
            for unit in [*build.units(Path(folder)), ("-c", str(DRIVER), "-o", str(Path(folder) / "driver.o"))]:
                subprocess.run([compiler, *flags, f"-I{build.SOURCE}", *unit], check=True)
                objects.append(unit[-1])
            program = str(Path(folder) / "driver")
            subprocess.run(
                [compiler, f"-fsanitize={sanitizer}", "-pthread", *objects, "-o", program, "-lm", "-ldl"], check=True
            )
            print(f"{sanitizer}: ", end="", flush=True)
            if subprocess.run([program, "v2", "v3", "v4", "neon"]).returncode:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
