"""Threads of the kernel: they help, and neither the bits nor a fork nor other calls at the same time suffer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import APART, AT_ONCE, SHARING, require, require_kernel
from test_kernel import Fuzzed, differences
from unilstm.errors import InputError
from unilstm_kernels import library


@pytest.mark.parametrize("always", [SHARING, APART, AT_ONCE], indirect=True)
@pytest.mark.parametrize("seed", range(25))
def test_the_bits_do_not_depend_on_the_number_of_threads(
    seed: int, always: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, results = Fuzzed(seed), []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("UNILSTM_NUM_THREADS", threads)
        results.append(case.run())
    assert not differences(results[1], results[0])
    assert not differences(results[2], results[0])


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_who_does_a_row_may_change_between_steps(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads have rows of their own for some steps and share others, as many rows as there still are; where the
    second-level cache is large enough for it. The bits are those of one thread."""
    require_kernel()
    spec = unilstm.LSTMSpec(40, 128, direction=direction)
    layer = unilstm.LSTM(spec, backend="numpy", path="kernel", seed=0)
    draw, results = np.random.default_rng(0), []
    x, lengths = draw.standard_normal((12, 150, 40)).astype("float32"), draw.integers(0, 151, 12)
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("UNILSTM_NUM_THREADS", threads)
        (y, (h, c)), pull = layer.vjp(x, lengths=lengths)
        gradients = pull(y, (h, c))
        results.append([a.tobytes() for a in (y, h, c, *(gradients[name] for name in sorted(gradients)))])
    assert results[1] == results[0]
    assert results[2] == results[0]


def helped(found: Any, run: Any, limit: float = 60.0) -> bool:
    """Does a helper do anything in one of many calls? A busy machine may let it come late."""
    before, until = found.unilstm_helped(), time.monotonic() + limit
    while found.unilstm_helped() == before and time.monotonic() < until:
        run()
    return bool(found.unilstm_helped() > before)


def test_helpers_help_where_the_work_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require_kernel()
    found, x = library.library(), np.zeros((16, 50, 32), "float32")
    assert not isinstance(found, str)
    large = unilstm.LSTM(32, 256, backend="numpy", path="kernel", seed=0)
    monkeypatch.setenv("UNILSTM_NUM_THREADS", "2")
    assert helped(found, lambda: large(x))
    small, before = unilstm.LSTM(32, 8, backend="numpy", path="kernel", seed=0), found.unilstm_helped()
    for _ in range(20):
        small(x)
    monkeypatch.setenv("UNILSTM_NUM_THREADS", "1")
    large(x)
    assert found.unilstm_helped() == before


def test_both_directions_are_done_at_once_where_that_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a helper does no more than one thing a call, the other direction."""
    require_kernel()
    found, x = library.library(), np.zeros((8, 50, 32), "float32")
    assert not isinstance(found, str)
    monkeypatch.setenv("UNILSTM_NUM_THREADS", "2")
    layer, calls = unilstm.LSTM(32, 64, direction="bidirectional", backend="numpy", path="kernel", seed=0), 0

    def call() -> None:
        nonlocal calls
        layer(x)
        calls += 1

    before = found.unilstm_helped()
    assert helped(found, call)
    for _ in range(20):
        call()
    assert found.unilstm_helped() - before <= calls


@pytest.mark.parametrize("always", [SHARING, APART, AT_ONCE], indirect=True)
@pytest.mark.parametrize("name", ["torch", "paddle", "jax"])
def test_each_framework_has_its_own_threads_and_numpys_bits(
    name: str, always: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch: of its OpenMP, so many as torch.get_numthreads(); Paddle: of its setting; JAX: those of XLA."""
    backend = require(name)
    spec = unilstm.LSTMSpec(9, 70, direction="bidirectional")
    layers = [unilstm.LSTM(spec, backend=b, path="kernel", seed=0) for b in ("numpy", name)]
    x = np.random.default_rng(0).standard_normal((3, 20, 9)).astype("float32")
    want = layers[0](x)[0]
    with ThreadsOf(name, 2, monkeypatch):
        assert helped(always, lambda: layers[1](backend.tensor(x)))
        assert backend.array(layers[1](backend.tensor(x))[0]).tobytes() == want.tobytes()
        monkeypatch.setenv("UNILSTM_NUM_THREADS", "1")  # overrules it; on JAX when a call is compiled, of 2 rows here
        alone(always, lambda: layers[1](backend.tensor(x[:2])))
        monkeypatch.delenv("UNILSTM_NUM_THREADS")
    if name != "jax":
        with ThreadsOf(name, 1, monkeypatch):
            alone(always, lambda: layers[1](backend.tensor(x)))


def test_paddles_streams_have_the_help_of_its_threads(always: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its OpenMP runtime, where it computes on several. Every other step reads the weights from their end."""
    backend = require("paddle")
    layers = [unilstm.LSTM(9, 70, backend=b, path="kernel", seed=0) for b in ("numpy", "paddle")]
    xs = np.random.default_rng(0).standard_normal((4, 9)).astype("float32")
    alone_stream = layers[0].stream()
    want = [alone_stream(x).tobytes() for x in xs]
    with ThreadsOf("paddle", 2, monkeypatch):
        from unilstm_paddle import kernel

        if kernel._mkl() is not None:  # a build without MKL has no such runtime
            assert kernel.threads()[1]
        stream = layers[1].stream()
        assert [backend.array(stream(backend.tensor(x))).tobytes() for x in xs] == want
        assert helped(always, lambda: stream(backend.tensor(xs[0])))
    assert not kernel.threads()[1]


@pytest.mark.parametrize("name", ["torch", "paddle"])
def test_a_stream_follows_the_frameworks_threads(name: str, always: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = require(name)
    stream = unilstm.LSTM(9, 70, backend=name, path="kernel", seed=0).stream()
    x = backend.tensor(np.zeros(9, "float32"))
    for _ in range(2):
        with ThreadsOf(name, 2, monkeypatch):
            assert helped(always, lambda: stream(x))
        alone(always, lambda: stream(x))


def alone(found: Any, run: Any) -> None:
    """No helper does anything."""
    before = found.unilstm_helped()
    for _ in range(20):
        run()
    assert found.unilstm_helped() == before


class ThreadsOf:
    """Within it, a framework computes on so many threads."""

    def __init__(self, name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name, self.count, self.monkeypatch = name, count, monkeypatch

    def __enter__(self) -> None:
        self.set(self.count)

    def __exit__(self, *exc: object) -> None:
        self.set(1)

    def set(self, count: int) -> None:
        if self.name == "torch":
            import torch

            torch.set_num_threads(count)
        elif self.name == "paddle":
            import paddle

            paddle.base.core.set_num_threads(count)
            self.monkeypatch.setattr(library, "told", lambda name: True)  # else one is what Paddle comes with


_COUNTS = """
import unilstm
unilstm.plugins.get("paddle")
import paddle
from unilstm_kernels import library
from unilstm_paddle.kernel import threads
counts = [threads()[0], library.threads()]
paddle.base.core.set_num_threads(2)
print(*counts, threads()[0])
"""


@pytest.mark.parametrize("said", [{}, {"OMP_NUM_THREADS": "1"}, {"UNILSTM_NUM_THREADS": "5"}], ids=str)
def test_where_nobody_says_how_many_the_kernel_takes_the_processors_though_paddle_comes_with_one(
    said: dict[str, str],
) -> None:
    """Paddle writes OMP_NUM_THREADS=1 into the environment, which is nobody's wish, for NumPy's layers neither."""
    require("paddle")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "UNILSTM_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names} | said
    done = subprocess.run([sys.executable, "-c", _COUNTS], env=environment, timeout=180, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    own = said.get("UNILSTM_NUM_THREADS")
    nobodys = own or said.get("OMP_NUM_THREADS") or str(library.processors())
    assert done.stdout.split()[-3:] == [nobodys, nobodys, own or str(min(2, library.processors()))]  # MKL takes no more


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_a_count_that_is_none_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_kernel()
    monkeypatch.setenv("UNILSTM_NUM_THREADS", value)
    with pytest.raises(InputError, match=rf"UNILSTM_NUM_THREADS='{value}' must be a whole number of at least 1"):
        unilstm.LSTM(2, 2, backend="numpy", path="kernel", seed=0)(np.zeros((1, 1, 2), "float32"))


def test_calls_at_the_same_time_do_not_disturb_one_another(always: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNILSTM_NUM_THREADS", "3")
    cases = [Fuzzed(seed) for seed in range(4)]
    want = [case.run() for case in cases]
    wrong: list[str] = []

    def work(n: int) -> None:
        for _ in range(30):
            wrong.extend(differences(cases[n].run(), want[n]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


_FORK = """
import os, signal, sys
import numpy as np, unilstm
from unilstm_kernels import library

os.environ["OMP_NUM_THREADS"] = "2"
name = sys.argv[1]
library.library().unilstm_always_threads(1)
layer = unilstm.LSTM(9, 70, backend=name, path="kernel", seed=0)
x = np.random.default_rng(0).standard_normal((3, 20, 9)).astype("float32")
if name == "torch":
    import torch
    torch.set_num_threads(2)
    x = torch.from_numpy(x)
def run():
    return np.asarray(layer(x)[0].detach() if name == "torch" else layer(x)[0]).tobytes()
if name == "torch":
    torch.randn(600, 600) @ torch.randn(600, 600)  # OpenMP's threads are there, though the kernel is not yet used
if sys.argv[2] == "used":
    want = [run() for _ in range(50)][-1]
else:
    want = unilstm.LSTM(layer.weights(), path="composed")(np.asarray(x))[0]
def right(found):
    return found == want if sys.argv[2] == "used" else bool(abs(np.frombuffer(found, "f4") - want.ravel()).max() < 1e-5)
child = os.fork()
if child == 0:
    signal.alarm(60)  # a hang ends the child
    before = library.library().unilstm_helped()
    same = True
    while same and library.library().unilstm_helped() == before:
        same = right(run())
    os._exit(0 if same else 3)
_, status = os.waitpid(child, 0)
same = right(run())
sys.exit(os.waitstatus_to_exitcode(status) or (0 if same else 4))
"""


@pytest.mark.parametrize("before", ["used", "unused"])
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_after_a_fork_parent_and_child_both_compute_on_threads(name: str, before: str) -> None:
    """Whether the kernel was used before, or the child is the first to use it."""
    require_kernel()
    require(name)
    done = subprocess.run([sys.executable, "-c", _FORK, name, before], timeout=180, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
