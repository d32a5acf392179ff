"""What the tests share: the backends as a parameter, and how to run a layer of any of them on NumPy arrays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

# Before any framework is imported: the workers of pytest-xdist share the cores, and OpenMP threads that wait for one
# another on a shared core spin for seconds over what takes milliseconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from unilstm import plugins
from unilstm.errors import BackendUnavailable
from unilstm.factory import LSTM
from unilstm.masks import uniform
from unilstm_kernels import build, library

BACKENDS = ("numpy", "torch", "paddle", "jax")
FRAMEWORKS = ("torch", "paddle", "jax")
PATHS = [("numpy", "composed"), ("torch", "native"), ("torch", "composed"), ("paddle", "native")]
PATHS += [("paddle", "composed"), ("jax", "composed"), *((name, "kernel") for name in BACKENDS)]
# What the kernel's threads do: share each step, have rows of their own for many, or have a direction each.
SHARING, APART, AT_ONCE = 1, 2, 3


def require(name: str) -> Any:
    """The backend, or a visible skip; a failure in CI, where everything must be installed."""
    try:
        return plugins.get(name)
    except BackendUnavailable as problem:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have every framework: {problem}")
        pytest.skip(str(problem))


def require_kernel() -> None:
    """A visible skip where the kernel cannot run; a failure in CI where there is a compiler to build it with."""
    missing = library.missing()
    if missing:
        if os.environ.get("CI") and has_compiler():
            pytest.fail(f"CI has a compiler and must have the kernel: {missing}")
        pytest.skip(missing)


@pytest.fixture
def always(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The library, taking all threads even where so little work is not worth it."""
    require_kernel()
    found = library.library()
    assert not isinstance(found, str)
    found.unilstm_always_threads(getattr(request, "param", SHARING))
    yield found
    found.unilstm_always_threads(0)


def has_compiler() -> bool:
    """Is there what builds the kernel, and what torch's inductor compiles with? CXX says so, too."""
    try:
        return bool(build.compiler())
    except build.Unbuildable:
        return False


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return require(request.param)


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Any:
    return require(request.param)


@pytest.fixture(params=PATHS, ids=lambda p: "-".join(p))
def backend_path(request: pytest.FixtureRequest) -> Any:
    if request.param[1] == "kernel":
        require_kernel()
    return require(request.param[0]), request.param[1]


def numbers(*shape: int, stream: int = 0, dtype: str = "float64") -> Any:
    """Reproducible values in [-1, 1)."""
    return (2.0 * uniform(7, stream, shape) - 1.0).astype(dtype)


class Driver:
    """A layer of any backend, called with NumPy arrays."""

    def __init__(self, backend: Any, what: Any, path: str = "auto", dtype: str | None = None, **fields: Any) -> None:
        self.backend = backend
        self.dtype = dtype or getattr(what, "dtype", "float64")
        with self.scope():
            extra = {"seed": 11} if not hasattr(what, "dtype") else {}
            self.layer = LSTM(what, backend=backend.name, path=path, dtype=self.dtype, **extra, **fields)
        if hasattr(self.layer, "eval"):
            self.layer.eval()

    def scope(self) -> Any:
        """Evaluation: without gradients, which Paddle's native path refuses for ragged bidirectional calls."""
        stack = contextlib.ExitStack()
        stack.enter_context(self.backend.scope(self.dtype))
        if self.backend.name in ("torch", "paddle"):
            stack.enter_context(__import__(self.backend.name).no_grad())
        return stack

    def __call__(self, x: Any, state: Any = None, *, method: str = "", **kwargs: Any) -> Any:
        tensor, array = self.backend.tensor, self.backend.array
        with self.scope():
            state = None if state is None else tuple(tensor(s) for s in state)
            run = getattr(self.layer, method) if method else self.layer
            y, (h, c), *rest = run(tensor(x), state, **kwargs)
            return array(y), (array(h), array(c)), *[array(r) for r in rest]


def close(actual: Any, expected: Any, bound: float = 1e-12) -> None:
    __tracebackhide__ = True
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{actual.shape=}, but should be {expected.shape}"
    error = np.abs(actual - expected)
    at = np.unravel_index(np.argmax(error), error.shape) if error.size else ()
    worst = float(error[at]) if error.size else 0.0
    assert worst <= bound, (
        f"largest error {worst:.3g} at {at}: {actual[at]} should be {expected[at]} within {bound:.3g}"
    )


def require_parallel(name: str) -> None:
    """Skip where the backend is missing, or XLA would compute wrong gradients on the parallel path."""
    require(name)
    if name == "jax":
        from unilstm_jax.native import wrong_fusions

        if reason := wrong_fusions():
            pytest.skip(reason)
