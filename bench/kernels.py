"""How fast the kernel is: each framework in a process of its own, beside its own LSTM and the composed path.

python bench/kernels.py [torch paddle jax numpy] prints a Markdown table a framework. Times are medians of 9 interleaved
repetitions after a warm-up, and ratios to the framework's own LSTM (flax's in JAX, jitted; NumPy has the composed path
only). They are of this machine and this moment.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import unilstm

SHAPES = [(32, 100, 128, 256), (64, 50, 512, 512), (1, 100, 128, 256), (16, 200, 64, 64), (8, 500, 80, 256)]
SHAPES += [(128, 20, 32, 1024), (1, 1, 256, 512)]
REPEATS = int(os.environ.get("REPEATS", "9"))
Runs = dict[str, Callable[[], Any]]
VARIANTS: dict[str, dict[str, Any]] = {"vanilla": {}, "peephole": {"peephole": True}}


def interleaved(runs: Runs) -> dict[str, float]:
    """Median seconds of each, measured in turn so that a busy moment of the machine hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in [*runs.items()] * (2 + REPEATS):
        start = time.perf_counter()
        run()
        times[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured[2:]) for name, measured in times.items()}


def layers(backend: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The kernel and the composed path of each variant, by name."""
    i, h = shape[2:]
    return {
        f"{path} {name}": unilstm.LSTM(i, h, backend=backend, path=path, seed=0, **fields)
        for name, fields in VARIANTS.items()
        for path in ("kernel", "composed")
    }


def of_torch(shape: tuple[int, ...]) -> tuple[Runs, Runs]:
    import torch

    b, t, i, h = shape
    own = torch.nn.LSTM(i, h, batch_first=True)
    every = {"own": own, **layers("torch", shape)}
    x = torch.randn(b, t, i, requires_grad=True)
    state = tuple(torch.zeros(1, b, h) for _ in range(2))

    def train(layer: Any) -> Callable[[], Any]:
        return lambda: layer(x)[0].sum().backward()

    def infer(layer: Any) -> Callable[[], Any]:
        """Of one step: as a stream does it."""
        run = (lambda: layer(x)) if t > 1 else (lambda: layer(x, state))
        return torch.no_grad()(run if t > 1 or layer is own else lambda: layer.step(x[:, 0].detach(), state))

    return (
        {name: infer(layer) for name, layer in every.items()},
        {name: train(layer) for name, layer in every.items()},
    )


def of_paddle(shape: tuple[int, ...]) -> tuple[Runs, Runs]:
    import paddle

    b, t, i, h = shape
    every = {"own": paddle.nn.LSTM(i, h), **layers("paddle", shape)}
    x = paddle.randn([b, t, i])
    x.stop_gradient = False
    return (
        {name: lambda layer=layer: paddle.no_grad()(layer.forward)(x) for name, layer in every.items()},
        {name: lambda layer=layer: layer(x)[0].sum().backward() for name, layer in every.items()},
    )


def of_jax(shape: tuple[int, ...]) -> tuple[Runs, Runs]:
    import jax
    import jax.numpy as jnp

    b, t, i, h = shape
    x = jnp.asarray(np.random.default_rng(0).standard_normal((b, t, i)), jnp.float32)
    calls = {name: (lambda p, x: p(x)[0], layer) for name, layer in layers("jax", shape).items()}
    try:
        from flax import linen
    except ImportError:
        print("flax is not installed: no ratios to its LSTM", file=sys.stderr)
    else:
        own = linen.RNN(linen.OptimizedLSTMCell(h))
        calls = {"own": (own.apply, own.init(jax.random.key(0), x)), **calls}

    def runs(function: Callable[..., Any]) -> Runs:
        compiled = {name: (jax.jit(function(call)), p) for name, (call, p) in calls.items()}
        return {name: lambda f=f, p=p: jax.block_until_ready(f(p, x)) for name, (f, p) in compiled.items()}

    return runs(lambda call: call), runs(lambda call: jax.grad(lambda p, x: call(p, x).sum(), argnums=(0, 1)))


def of_numpy(shape: tuple[int, ...]) -> tuple[Runs, Runs]:
    b, t, i, _ = shape
    every, x = layers("numpy", shape), np.random.default_rng(0).standard_normal((b, t, i)).astype("float32")

    def train(layer: Any) -> None:
        (y, _), pull = layer.vjp(x)
        pull(np.ones_like(y))

    forward = {name: lambda layer=layer: layer(x) for name, layer in every.items()}
    return forward, {name: lambda one=one: train(one) for name, one in every.items() if name.startswith("kernel")}


def measure(backend: str) -> None:
    for title, which in (("forward", 0), ("training", 1)):
        rows = [interleaved(globals()[f"of_{backend}"](shape)[which]) for shape in SHAPES]
        names = list(rows[0])
        print(f"\n{backend}, {title}: milliseconds of {names[0]}, and times as ratios to it\n")
        print("| B, T, I, H |", " | ".join(names), "|\n|" + "---|" * (1 + len(names)))
        for shape, row in zip(SHAPES, rows, strict=True):
            first = row[names[0]]
            cells = [f"{first * 1e3:.2f} ms", *(f"{row[name] / first:.2f}" for name in names[1:])]
            print(f"| {', '.join(map(str, shape))} |", " | ".join(cells), "|")
        sys.stdout.flush()


def main() -> None:
    wanted = sys.argv[1:] or ["torch", "paddle", "jax", "numpy"]
    if len(wanted) == 1:
        return measure(wanted[0])
    for backend in wanted:
        subprocess.run([sys.executable, __file__, backend], check=True)
    return None


if __name__ == "__main__":
    main()
