"""The same weights and input through every backend and path, beside torch.nn.LSTM: how far apart, how fast."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import cells, plugins
from ..errors import PathError
from ..factory import LSTM
from ..hookspecs import Backend
from ..parameters import Array
from ..weights import Weights

EPS = float(np.finfo(np.float32).eps)  # 2**-23
BOUND = 8.0  # eps of max|y|. Three layers of float32 rounding come to 3 to 6 on the demo's input, torch's own too
REPEATS, WARM_UPS = 9, 2
Outputs = dict[str, Array]  # y [1, T, O] and h_n [L·D, 1, H]
Progress = Callable[[str, int, int], None]  # what is running now, its index, how many there are


@dataclass(frozen=True)
class Run:
    """One backend and path, and how far its y is from torch.nn.LSTM's.

    error: the largest |y - exact|, where exact is torch.nn.LSTM in float64 with the same weights and input. eps: that
    in units of 2**-23 times the largest |exact|. eps_to_float32: the same against torch.nn.LSTM in float32, with
    its own rounding in it. seconds: the median call. note: why it did not run.
    """

    backend: str
    version: str | None
    path: str
    error: float | None = None
    eps: float | None = None
    eps_to_float32: float | None = None
    seconds: float | None = None
    note: str = ""
    outputs: Outputs | None = None

    @property
    def within(self) -> bool:
        """Whether it ran and stayed within the bound. NaN is not within anything."""
        return self.eps is not None and self.eps <= BOUND

    def to_dict(self) -> dict[str, Any]:
        fields = {name: value for name, value in vars(self).items() if name != "outputs"}
        return {**fields, "within": self.within}


@dataclass(frozen=True)
class Reference:
    """torch.nn.LSTM itself: its run in float32, and its y in float64."""

    run: Run
    rounded: Array
    exact: Array

    def distance(self, y: Array) -> tuple[float, float, float]:
        """error, eps and eps_to_float32, as in Run."""
        error, unit = _largest(y, self.exact), EPS * float(np.max(np.abs(self.exact)))
        return error, error / unit, _largest(y, self.rounded) / unit


def reference(weights: Weights, x: Array) -> Reference:
    """Run torch.nn.LSTM. Raises UnsupportedByLayout for a spec that it does not have. x: [1, T, I]."""
    backend = plugins.get("torch")
    import torch

    spec = weights.spec
    layer = torch.nn.LSTM(
        spec.input_size,
        spec.hidden_size,
        spec.num_layers,
        bias=spec.bias != "none",
        batch_first=True,
        bidirectional=spec.direction == "bidirectional",
        proj_size=spec.proj_size,
    )
    state = {name: torch.tensor(array) for name, array in weights.to_layout("torch").items()}
    layer.load_state_dict(state, strict=True)
    outputs, seconds = _time(backend, layer, x)
    exact = _time(backend, layer.double(), x.astype(np.float64), calls=1)[0]["y"]
    found = Reference(Run("torch.nn.LSTM", str(torch.__version__), "itself"), outputs["y"], exact)
    error, eps, own = found.distance(outputs["y"])
    run = dataclasses.replace(found.run, error=error, eps=eps, eps_to_float32=own, seconds=seconds, outputs=outputs)
    return dataclasses.replace(found, run=run)


def compare(
    weights: Weights, x: Array, truth: Reference, backends: Sequence[str] | None, progress: Progress
) -> list[Run]:
    """Every path of every backend, or of those named. One that is not installed, or cannot serve, says why.

    Raises UnknownBackend or BackendUnavailable for a backend that was named.
    """
    for name in backends or ():
        plugins.get(name)
    infos = [info for info in plugins.backends() if backends is None or info.name in backends]
    at_once = cells.get(weights.spec.cell).linear is not None  # else there is no parallel path to show
    jobs = [(info, path) for info in infos for path in (info.paths or ("",)) if at_once or path != "parallel"]
    runs = []
    for index, (info, path) in enumerate(jobs):
        progress(f"{info.name} {path}".strip(), index, len(jobs))
        if not info.usable:
            runs.append(Run(info.name, info.version, "", note=info.reason or ""))
            continue
        runs.append(_run(info, path, weights, x, truth))
    progress("done", len(jobs), len(jobs))
    return runs


def _run(info: plugins.BackendInfo, path: str, weights: Weights, x: Array, truth: Reference) -> Run:
    backend = plugins.get(info.name)
    try:
        layer = LSTM(weights, backend=info.name, path=path)
        outputs, seconds = _time(backend, layer, x)
    except PathError as problem:
        return Run(info.name, info.version, path, note=str(problem))
    return Run(info.name, info.version, path, *truth.distance(outputs["y"]), seconds, outputs=outputs)


def _largest(y: Array, wanted: Array) -> float:
    return float(np.max(np.abs(y.astype(np.float64) - wanted.astype(np.float64))))


def _time(backend: Backend, layer: Any, x: Array, calls: int = WARM_UPS + REPEATS) -> tuple[Outputs, float]:
    """The results, and the median time of a call in seconds, until y is back in NumPy."""
    call, tensor = _inference(backend.name, layer), backend.tensor(x)
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        y, (h_n, _) = call(tensor)
        y = backend.array(y)
        times.append(time.perf_counter() - start)
    return {"y": y, "h_n": backend.array(h_n)}, float(np.median(times[WARM_UPS:] or times))


def _inference(backend: str, layer: Any) -> Callable[[Any], Any]:
    """How each framework's users run a trained layer: without a tape; compiled, where that is the way to run at all."""
    if backend == "jax":
        import jax

        compiled = jax.jit(lambda layer, x: layer(x))
        return lambda x: compiled(layer, x)
    if hasattr(layer, "eval"):
        layer.eval()
    scope: Callable[[], Any] = contextlib.nullcontext
    if backend == "torch":
        scope = _one_thread
    elif backend == "paddle":
        import paddle

        scope = paddle.no_grad

    def call(x: Any) -> Any:
        with scope():
            return layer(x)

    return call


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """torch without its tape, on one thread: a single sequence gains nothing from more, and on a busy machine torch's
    threads wait for each other by spinning (a call was seen to take 4 s instead of 12 ms)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)
