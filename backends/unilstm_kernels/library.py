"""The compiled library: is it there, which instruction set does it use, and running one job."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

from unilstm.errors import InputError

NAME = "libunilstm.so"
HOW = "install a C++17 compiler (g++ or clang++) and build it: python -m unilstm_kernels.build"
_OWN = "UNILSTM_NUM_THREADS"
_MOST = 1024  # what a number of the job may say; the kernel itself takes no more than are worth it
_PADDLE_FIRST = "paddle" in sys.modules
_BEFORE_PADDLE = frozenset() if _PADDLE_FIRST else frozenset(os.environ)


@functools.cache
def library() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    path = Path(__file__).parent / NAME
    if not path.exists():
        return f"the kernel was not built here; {HOW}"
    from .job import LAYOUT, Job

    try:
        found = ctypes.CDLL(str(path))
    except OSError as problem:
        return f"the kernel does not load ({problem}); {HOW}"
    if found.unilstm_layout() != LAYOUT:
        return f"the kernel was built from another version; {HOW}"
    found.unilstm_set.restype = ctypes.c_char_p
    found.unilstm_helped.restype = ctypes.c_int64
    found.unilstm_run.argtypes = [ctypes.POINTER(Job), ctypes.c_int64, ctypes.c_int]
    wanted = os.environ.get("UNILSTM_KERNEL_SET")
    if wanted and found.unilstm_use_set(wanted.encode()):
        return (
            f"UNILSTM_KERNEL_SET={wanted!r} is no instruction set that this processor can run; use v2, v3, v4 or neon"
        )
    return found


def instruction_set() -> str:
    """The one in use: v2, v3 or v4 of x86-64, or neon; "" where there is no kernel."""
    found = library()
    return "" if isinstance(found, str) else found.unilstm_set().decode()


def use_instruction_set(name: str) -> None:
    """Use another one from now on; ValueError where it is unknown or this processor cannot run it."""
    found = library()
    if isinstance(found, str) or found.unilstm_use_set(name.encode()):
        raise ValueError(f"instruction set {name!r} cannot be used here. Use one of v2, v3, v4, neon that there is.")


def threads(framework: int | None = None) -> int:
    """How many threads a call may take: UNILSTM_NUM_THREADS; else what the framework is set to, where it is set to
    anything; else OMP_NUM_THREADS; else the processors that this process may use. Raises InputError."""
    return min(own_threads() or framework or _omp() or processors(), _MOST)


def own_threads() -> int | None:
    """UNILSTM_NUM_THREADS, or None where it is not set. Raises InputError."""
    value = os.environ.get(_OWN)
    if not value:
        return None
    if not (value.isascii() and value.isdecimal()) or not int(value):
        raise InputError(
            f"{_OWN}={value!r} must be a whole number of at least 1, the threads that a call of the kernel may take. "
            "Set such a number, or leave it unset for the framework's own setting."
        )
    return int(value)


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _omp() -> int | None:
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first == "1" and "paddle" in sys.modules and not told("OMP_NUM_THREADS"):
        return None
    return int(first) if first.isdecimal() and int(first) else None


@functools.cache
def told(name: str) -> bool:
    """Has the user set a variable of the environment, and not Paddle, which writes OMP_NUM_THREADS=1 into it when it is
    imported? Known from before that, or from what the process was started with; a child process inherits what Paddle
    wrote, and cannot tell."""
    if name in _BEFORE_PADDLE:
        return True
    try:
        start = Path("/proc/self/environ").read_bytes()
    except OSError:  # no Linux. Where Paddle came first, it may have been the user
        return _PADDLE_FIRST and name in os.environ
    return any(entry.startswith(f"{name}=".encode()) for entry in start.split(b"\0"))


_missing: str | None = ""  # not looked for yet


def missing() -> str | None:
    """Why no call can take the kernel here, or None. Looked for once, in a way that torch.compile can follow."""
    global _missing
    if _missing == "":
        _missing = _find()
    return _missing


def _find() -> str | None:
    found = library()
    if isinstance(found, str):
        return found
    if not instruction_set():
        return "this processor has none of the instruction sets that the kernel is built for"
    if not found.unilstm_fused() and "UNILSTM_KERNEL_SET" not in os.environ:
        return "this processor has no fused multiply-add, without which the kernel is slow"
    return None


def state() -> str:
    """For people: is the kernel there?"""
    return missing() or f"built, uses {instruction_set()}"
