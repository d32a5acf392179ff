"""Compile the library: python -m unilstm_kernels.build. Imports nothing of the project, so that a build hook can too.

source/direction.cpp is compiled once for each instruction set of the machine, and the library chooses when it is used.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "source"
LIBRARY = HERE / "libunilstm.so"
# Contraction would fuse multiplications and additions as each compiler likes; the source says where they are.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-fvisibility=hidden", "-pthread")
_SETS = {
    "x86_64": {
        "v2": ("-march=x86-64-v2",),
        "v3": ("-march=x86-64-v3",),
        "v4": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    },
    "aarch64": {"neon": ()},
}


class Unbuildable(Exception):
    """There is no compiler here that can build the library; the message says why."""


def digest() -> str:
    """Of the sources and the flags, and part of the library: is it built from these?"""
    found = hashlib.sha256(repr((FLAGS, _SETS)).encode())
    for path in sorted(SOURCE.iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return f"unilstm-source-{found.hexdigest()}"


def current() -> bool:
    """Is there a library, built from these sources?"""
    return LIBRARY.exists() and digest().encode() in LIBRARY.read_bytes()


def build(force: bool = False) -> Path:
    """Build the library where it is not current. Raises Unbuildable."""
    if current() and not force:
        return LIBRARY
    program = compiler()
    with tempfile.TemporaryDirectory() as folder:
        every = units(Path(folder))
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(lambda unit: _run(program, *FLAGS, *unit), every))
        objects = [unit[-1] for unit in every]
        library = Path(folder) / LIBRARY.name
        _run(program, "-shared", "-pthread", *objects, "-o", str(library), "-lm", "-ldl")
        # Into place in one step: a process that has the old one loaded keeps it.
        near = LIBRARY.with_suffix(f".{os.getpid()}")
        shutil.copyfile(library, near)
        near.replace(LIBRARY)
    return LIBRARY


def units(folder: Path, machine: str = "") -> list[tuple[str, ...]]:
    """What to compile, for x86_64, aarch64 or this machine: the arguments of each unit, its object last.

    Raises Unbuildable.
    """
    machine = machine or {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if machine not in _SETS:
        raise Unbuildable(f"the kernel has no code for {machine}, only for {' and '.join(_SETS)}")
    found = [
        (*flags, f"-DSET={name}", "-c", str(SOURCE / "direction.cpp"), "-o", str(folder / f"{name}.o"))
        for name, flags in _SETS[machine].items()
    ]
    for path in sorted(SOURCE.glob("*.cpp")):
        if path.name != "direction.cpp":
            found.append((f'-DDIGEST="{digest()}"', "-c", str(path), "-o", str(folder / f"{path.stem}.o")))
    return found


def compiler() -> str:
    """The compiler to use: CXX, or the first that is there. Raises Unbuildable."""
    if sys.platform == "win32":
        raise Unbuildable("the kernel is not built on Windows")
    wanted = os.environ.get("CXX")
    for name in [wanted] if wanted else ["g++", "clang++", "c++"]:
        found = shutil.which(name)
        if found:
            return found
    raise Unbuildable(f"CXX={wanted!r} is not there" if wanted else "there is no C++ compiler (g++ or clang++)")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        said = getattr(problem, "stderr", "") or str(problem)
        raise Unbuildable(f"{Path(command[0]).name} fails to build the kernel: {said.strip()[-2000:]}") from None


def main() -> int:
    try:
        print(build(force=True))
    except Unbuildable as why:
        print(f"not built: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
