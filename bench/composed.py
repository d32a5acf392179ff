"""How fast the composed paths are: each framework in a process of its own, beside its own LSTM and the plain loop.

python bench/composed.py writes docs/benchmarks.md. Times are medians of 9 interleaved repetitions after a warm-up, as
ratios to the framework's own LSTM (torch, Paddle) or to the plain lax.scan (JAX, which has no LSTM of its own).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = [(32, 100, 128, 256), (64, 50, 512, 512), (1, 100, 128, 256), (16, 200, 64, 64)]
REPEATS = 9
Runs = dict[str, Callable[[], Any]]


def interleaved(runs: Runs) -> dict[str, float]:
    """Median seconds of each, measured in turn so that a busy moment of the machine hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in [*runs.items()] * (2 + REPEATS):
        start = time.perf_counter()
        run()
        times[name].append(time.perf_counter() - start)
    return {name: statistics.median(measured[2:]) for name, measured in times.items()}


def of_torch(shape: tuple[int, ...]) -> tuple[Runs, Runs]:
    import torch

    import unilstm
    import unilstm_torch.native as native
    from unilstm.run import composed

    b, t, i, h = shape
    own = torch.nn.LSTM(i, h, batch_first=True)
    layers = {"own": own, "composed": unilstm.port(own, "torch", path="composed")}
    layers["peephole"] = unilstm.LSTM(i, h, peephole=True, backend="torch", seed=0)
    layers["plain loop"] = unilstm.port(own, "torch", path="composed")
    plain = native.paths(layers["plain loop"].spec, torch.device("cpu"))[-1]
    ops = native.TorchOps()
    spec = layers["plain loop"].spec
    loop = type(plain)("composed", plain.refusal, lambda k, call: composed(ops, spec, k, call))
    layers["plain loop"]._paths = lambda: (loop,)
    x = torch.randn(b, t, i, requires_grad=True)

    def forward(layer: Any) -> Callable[[], Any]:
        return lambda: torch.no_grad()(layer)(x)

    return (
        {name: forward(layer) for name, layer in layers.items()},
        {name: lambda layer=layer: layer(x)[0].sum().backward() for name, layer in layers.items()},
    )


def of_paddle(shape: tuple[int, ...]) -> tuple[Runs, Runs]:
    import paddle

    import unilstm

    b, t, i, h = shape
    own = paddle.nn.LSTM(i, h)
    layers = {"own": own} | {path: unilstm.port(own, "paddle", path=path) for path in ("native", "composed")}
    layers["peephole"] = unilstm.LSTM(i, h, peephole=True, backend="paddle", seed=0)
    x = paddle.randn([b, t, i])
    x.stop_gradient = False
    return (
        {name: lambda layer=layer: paddle.no_grad()(layer.forward)(x) for name, layer in layers.items()},
        {name: lambda layer=layer: layer(x)[0].sum().backward() for name, layer in layers.items()},
    )


def of_jax(shape: tuple[int, ...]) -> tuple[Runs, Runs]:
    import jax
    import jax.numpy as jnp

    import unilstm
    import unilstm_jax.layer as module
    from unilstm.paths import Path
    from unilstm.run import composed
    from unilstm_jax.ops import OPS

    b, t, i, h = shape
    x = jnp.asarray(np.random.default_rng(0).standard_normal((b, t, i), "float32"))

    def plain(spec: Any) -> Any:
        return (Path("composed", lambda k, call: None, lambda k, call: composed(OPS, spec, k, call)),)

    forward: Runs = {}
    training: Runs = {}
    for name, paths, peephole in (
        ("own", plain, False), ("composed", module.paths, False), ("peephole", module.paths, True),
    ):  # fmt: skip
        module.paths = paths
        layer = unilstm.LSTM(i, h, peephole=peephole, backend="jax", seed=0)
        run = jax.jit(lambda layer, x: layer(x)[0])
        step = jax.jit(jax.grad(lambda layer, x: layer(x)[0].sum(), argnums=(0, 1)))
        jax.block_until_ready((run(layer, x), step(layer, x)))  # traced here, while `paths` is what it should be
        forward[name] = lambda run=run, layer=layer: jax.block_until_ready(run(layer, x))
        training[name] = lambda step=step, layer=layer: jax.block_until_ready(step(layer, x))
    return forward, training


FRAMEWORKS = {"torch": of_torch, "paddle": of_paddle, "jax": of_jax}


def measure(framework: str) -> list[dict[str, Any]]:
    rows = []
    for shape in SHAPES:
        forward, training = (interleaved(runs) for runs in FRAMEWORKS[framework](shape))
        rows.append({"shape": shape, "forward": forward, "training": training})
    return rows


def table(framework: str, rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0]["forward"])[1:]
    own = "plain lax.scan" if framework == "jax" else f"{framework}.nn.LSTM"
    lines = [f"| (B, T, I, H) | {own}, ms | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for row in rows:
        base = " / ".join(f"{1000 * row[kind]['own']:.1f}" for kind in ("forward", "training"))
        cells = [
            " / ".join(f"{row[kind][column] / row[kind]['own']:.2f}" for kind in ("forward", "training"))
            for column in columns
        ]
        lines.append(f"| {', '.join(map(str, row['shape']))} | {base} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
        return
    parts = [HEAD.format(cpus=os.cpu_count(), machine=platform.machine())]
    for framework in FRAMEWORKS:
        command = [sys.executable, __file__, framework]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        parts.append(f"## {framework}\n\n{table(framework, json.loads(output.splitlines()[-1]))}\n")
        print(parts[-1], flush=True)
    (Path(__file__).parent.parent / "docs" / "benchmarks.md").write_text("\n".join(parts))


HEAD = """# Benchmarks

Written by `make bench` on {cpus} cores of {machine}: forward / training, float32, medians of 9 interleaved repetitions.
The second column is in milliseconds, the others are ratios to it in the same run: below 1 is faster. Shared machines
are noisy; a difference of a tenth is none.

*composed* is unilstm's composed path for the same standard LSTM, *peephole* the same path with peepholes, *plain loop*
the composed equations left to the framework's own differentiation. `path="auto"` runs a standard LSTM on the
framework's own operator, so the composed columns are what a *variant* costs.
"""


if __name__ == "__main__":
    main()
