"""The kernel's driver (kernel_driver.cpp) built in every way that there is a compiler for, and run.

    python tests/drive_kernel.py sanitize   with each sanitizer
    python tests/drive_kernel.py portable   by g++ and by clang++, and for aarch64, run in an emulator (QEMU's)

All runs print one digest of all results, DIGEST: the bits depend on no instruction set, compiler or thread.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from unilstm_kernels import build

DRIVER = Path(__file__).parent / "kernel_driver.cpp"
# Changes where the kernel's results do, be it in the last bit: then run both of the above, and put the new one here.
DIGEST = "547a951bab6e10ed"
SETS = ("v2", "v3", "v4", "neon")  # those that the processor has are tried
SANITIZERS = ("address", "undefined", "thread")
EMULATOR = "qemu-aarch64-static"
CROSS = "aarch64-linux-gnu-g++"


def driver(folder: Path, compiler: Sequence[str], flags: Sequence[str] = (), machine: str = "") -> Path:
    """The program, statically linked where it is for another machine."""
    compiled = [*build.units(folder, machine), ("-c", str(DRIVER), "-o", str(folder / "driver.o"))]
    every = [[*compiler, *build.FLAGS, *flags, f"-I{build.SOURCE}", *unit] for unit in compiled]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda command: subprocess.run(command, check=True), every))
    program = folder / "driver"
    objects = [unit[-1] for unit in compiled]
    static = ["-static"] if machine else []
    subprocess.run([*compiler, *flags, *static, "-pthread", *objects, "-o", program, "-lm", "-ldl"], check=True)
    return program


def runs(how: str, compiler: Sequence[str], flags: Sequence[str] = (), machine: str = "") -> bool:
    """Build and run it; say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(driver(Path(folder), compiler, flags, machine))
        command = [EMULATOR, program] if machine else [program]
        done = subprocess.run([*command, *SETS], stdout=subprocess.PIPE, text=True)
    found = done.stdout.strip()
    print(f"{how}: {found}", flush=True)
    if done.returncode == 0 and found != DIGEST:
        print(f"{how}: the digest is not {DIGEST}, so that some result has other bits", flush=True)
    return done.returncode == 0 and found == DIGEST


def sanitize() -> bool:
    compiler = [build.compiler()]
    return all(
        runs(name, compiler, ["-O1", "-g", f"-fsanitize={name}", "-fno-sanitize-recover=all"]) for name in SANITIZERS
    )


def portable() -> bool:
    """What there is no compiler or emulator for is named."""
    fine = True
    for compiler in ("g++", "clang++"):
        if shutil.which(compiler):
            fine = runs(f"{compiler} {platform.machine()}", [compiler]) and fine
        else:
            print(f"{compiler} {platform.machine()}: not tried, it is not there")
    if not (shutil.which(EMULATOR) and shutil.which(CROSS)):
        print(f"aarch64: not tried, it needs {CROSS} and {EMULATOR}")
        return fine
    fine = runs(CROSS, [CROSS], machine="aarch64") and fine
    if shutil.which("clang++"):
        fine = runs("clang++ aarch64", ["clang++", "--target=aarch64-linux-gnu"], machine="aarch64") and fine
    return fine


if __name__ == "__main__":
    sys.exit(0 if {"sanitize": sanitize, "portable": portable}[sys.argv[1]]() else 1)
