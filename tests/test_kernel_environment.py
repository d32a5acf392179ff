"""What surrounds a call does not show in its numbers: the floating-point state of the thread that calls, how many
threads it asks for, and what the environment says. What cannot be is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import require, require_kernel
from fuzz_kernel import usable
from test_kernel_threads import helped


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["torch", "paddle", "jax"])
def test_subnormal_numbers_are_what_they_are_whoever_calls(
    name: str, threads: int, always: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XLA's threads flush them to zero. With weights of zero, c is halved at each step, and y is half of it."""
    monkeypatch.setenv("UNILSTM_NUM_THREADS", str(threads))
    rows, steps = 40 + threads, 8  # other sizes for another count: JAX compiles it in
    spec = unilstm.LSTMSpec(3, 20)
    initial = unilstm.Weights.initial(spec, 0, dtype="float32")
    weights = unilstm.Weights(spec, {role: np.zeros_like(array) for role, array in initial.items()})
    x, h = np.zeros((rows, steps, 3), "float32"), np.zeros((1, rows, 20), "float32")
    c = np.full_like(h, 1e-38)

    def outputs(backend: Any) -> list[Any]:
        layer, found = unilstm.LSTM(weights, backend=backend.name, path="kernel"), []

        def run() -> None:
            y, (_, c_n) = layer(backend.tensor(x), (backend.tensor(h), backend.tensor(c)))
            found[:] = backend.array(y), backend.array(c_n)

        if threads == 1:
            run()
        else:
            assert helped(always, run)  # the last of the calls is the one that was
        return found

    want = outputs(require("numpy"))
    assert all((a > 0).all() and (a < np.finfo("float32").tiny).all() for a in want)
    assert [a.tobytes() for a in outputs(require(name))] == [a.tobytes() for a in want]


_MANY = """
import os, sys
import numpy as np, unilstm
from unilstm_kernels import library

library.library().unilstm_always_threads(1)
layer = unilstm.LSTM(8, 1500, backend="numpy", path="kernel", seed=0)
x = np.random.default_rng(0).standard_normal((2, 4, 8)).astype("float32")
found = []
for threads in ("1", "300"):
    os.environ["UNILSTM_NUM_THREADS"] = threads
    (y, (h, c)), pull = layer.vjp(x)
    gradients = pull(y, (h, c))
    found.append([a.tobytes() for a in (y, h, c, *(gradients[name] for name in sorted(gradients)))])
sys.exit(found[0] != found[1])
"""


def test_more_threads_than_a_team_has_members_are_no_more_than_those() -> None:
    """300 of them, of which the kernel takes its most: more would write past the end of a team. In a process of its
    own, which may crash."""
    require_kernel()
    done = subprocess.run([sys.executable, "-c", _MANY], timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


_SAYS = """
import sys
import numpy as np, unilstm
from unilstm_kernels import job, library

job.LAYOUT += int(sys.argv[1])
layer = unilstm.LSTM(2, 3, backend="numpy", seed=0)
layer(np.zeros((1, 2, 2), "float32"))
print(library.instruction_set() or library.missing(), "|", layer.explain())
"""


def says(environment: dict[str, str], newer: bool) -> str:
    """What a process has to say of the kernel, and of a layer. newer: is its code that of a newer library?"""
    command, environment = [sys.executable, "-c", _SAYS, str(int(newer))], os.environ | environment
    done = subprocess.run(command, env=environment, timeout=180, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_instruction_set_is_the_one_that_the_environment_names() -> None:
    require_kernel()
    for name in usable():
        assert says({"UNILSTM_KERNEL_SET": name}, newer=False).startswith(f"{name} | layer 0: kernel")


@pytest.mark.parametrize(
    ("environment", "newer", "why"),
    [
        ({"UNILSTM_KERNEL_SET": "v9"}, False, "UNILSTM_KERNEL_SET='v9' is no instruction set that this processor can"),
        ({}, True, "the kernel was built from another version; install a C++17 compiler"),
    ],
    ids=["a set that is none", "a library of another layout"],
)
def test_a_library_that_cannot_be_used_is_not_and_says_why(environment: dict[str, str], newer: bool, why: str) -> None:
    """A job of another layout would be read as something else."""
    require_kernel()
    found = says(environment, newer)
    assert found.startswith(why)
    assert f"layer 0: composed (not kernel: {why}" in found
