"""The compiled library: is it there, which instruction set does it use, and running one job."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

NAME = "libunilstm.so"
HOW = "install a C++17 compiler (g++ or clang++) and build it: python -m unilstm_kernels.build"


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
    found.unilstm_run.argtypes = [ctypes.POINTER(Job), ctypes.c_int]
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


def threads(default: int | None = None) -> int:
    """How many threads a call may take by OMP_NUM_THREADS; where that is not set, the default, or the processors."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdecimal() and int(first):
        return int(first)
    if default is not None:
        return default
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
