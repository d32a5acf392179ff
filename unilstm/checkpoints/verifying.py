"""Verifying a conversion: source and target run on the same random input, each in its own framework if it is here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..factory import LSTM
from ..masks import uniform
from ..parameters import Array
from ..weights import Weights
from . import running
from .contents import Arrays, reason
from .formats import open_checkpoint
from .loading import chosen

BOUND = 64.0  # eps of the largest |y|; frameworks' own float32 LSTMs are 4 to 10 apart
_ROWS, _STEPS = 3, 7


@dataclass(frozen=True)
class Check:
    """source, target: what ran. error: the largest difference of the outputs; eps: the same in units of the last place
    of the largest of them; both are infinite where the target could not run. ok: is it within the bound? notes: why a
    framework of its own did not run."""

    source: str
    target: str
    error: float
    eps: float
    ok: bool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        measured = (("error", self.error), ("eps", self.eps))
        finite = {name: value if math.isfinite(value) else None for name, value in measured}
        return {**asdict(self), **finite, "notes": list(self.notes)}

    def __str__(self) -> str:
        if math.isinf(self.error):
            return f"{self.source} ran, but {self.target} does not"
        within = "within" if self.ok else "NOT within"
        return f"{self.source} and {self.target} differ by {self.error:.3g}, {self.eps:.1f} eps: {within} {BOUND:g} eps"


def verify(
    layout: str,
    arrays: Mapping[str, Array],
    config: Mapping[str, Any],
    weights: Weights,
    target: Path,
    written: Mapping[str, Any],
    *,
    rounded: bool = False,
) -> Check:
    """Compare an LSTM as its source has it with the file that was written of it.

    layout, arrays, config: the source's, without a prefix. weights: what was read of them. written: load()'s arguments
    for the target, and "to", its layout. Runs in float32, or in float64 where the weights are and both frameworks can.
    rounded: has a loss that was allowed rounded values, such as sums of biases, to the dtype of the weights? Then
    float16 cannot come closer than its own eps.
    """
    single = written["to"] == "keras" or (layout in running.RUNNERS and running.RUNNERS[layout].single)
    dtype = "float64" if weights.dtype == "float64" and not single else "float32"
    shape = (_ROWS, _STEPS, weights.spec.input_size)
    x = (2.0 * uniform(11, 0, shape) - 1.0).astype(dtype)
    notes: list[str] = []
    y, source = _run(layout, {name: a.astype(dtype) for name, a in arrays.items()}, config, weights, x, notes)
    y_target: Array | None
    runner = running.MODELS.get(target.suffix.lower())
    if runner is None or weights.dtype == "float16":  # which Keras would compute in, too
        y_target, name = _run_file(target, written, x, notes)
    else:
        y_target, name = _run_model(runner, target, weights, written, x, notes)
    largest = float(np.abs(y).max()) or 1.0
    error = math.inf if y_target is None else float(np.abs(y.astype("f8") - y_target).max())
    unit = max(float(np.finfo(one).eps) for one in (dtype, weights.dtype if rounded else dtype))
    eps = error / (unit * largest)
    return Check(source, name, error, eps, eps <= BOUND, tuple(dict.fromkeys(notes)))


def _run_model(
    runner: running.ModelRunner,
    target: Path,
    weights: Weights,
    written: Mapping[str, Any],
    x: Array,
    notes: list[str],
) -> tuple[Array | None, str]:
    """The model that was written, in its own framework where that is here; None where that fails."""
    try:
        import_module(runner.package)
    except ImportError as problem:
        notes.append(_absent(runner.package, problem))
        return _run_file(target, written, x, notes)
    name = f"the model in {_version(runner.package)}"
    try:
        return runner.run(target, x, weights), name
    except Exception as problem:  # whatever it raises, the model does not run
        notes.append(f"{name} failed ({reason(problem)})")
        return None, name


def _run_file(target: Path, written: Mapping[str, Any], x: Array, notes: list[str]) -> tuple[Array, str]:
    """The target as it is read again, by its own names."""
    contents = open_checkpoint(target)
    place, weights = chosen(contents, written["layout"], written["prefix"], written["config"], str(x.dtype))
    arrays = {name[len(place.prefix) :]: a for name, a in Arrays(contents, place.names, str(x.dtype)).items()}
    return _run(place.layout, arrays, {**place.config, **(written["config"] or {})}, weights, x, notes)


def _run(
    layout: str, arrays: Mapping[str, Array], config: Mapping[str, Any], weights: Weights, x: Array, notes: list[str]
) -> tuple[Array, str]:
    """y [B, T, O] and what computed it: the layout's own framework, or unilstm's NumPy backend, with a note why."""
    runner = running.RUNNERS.get(layout)
    if runner is None:
        notes.append(f"{layout}: run by unilstm itself")
    else:
        try:
            import_module(runner.package)
            return runner.run(arrays, dict(config), weights.spec, x), f"{runner.title} ({_version(runner.package)})"
        except ImportError as problem:
            notes.append(_absent(runner.package, problem))
        except running.Unable as problem:
            notes.append(f"{runner.title} cannot run it ({problem}): run by unilstm itself")
        except Exception as problem:  # frameworks refuse what the format allows, such as ONNX's activations
            notes.append(f"{runner.title} failed ({reason(problem)}): run by unilstm itself")
    own = LSTM(weights.astype(str(x.dtype)))
    given = x if weights.spec.batch_first else np.swapaxes(x, 0, 1)
    y = own(given)[0]
    return (y if weights.spec.batch_first else np.swapaxes(y, 0, 1)), "unilstm on NumPy"


def _absent(package: str, problem: ImportError) -> str:
    """It may be here, and what it needs may not: Keras's own backend, say."""
    return f"{package} cannot be used ({problem}): run by unilstm itself"


def _version(package: str) -> str:
    names = {"paddle": "paddlepaddle"}
    try:
        return f"{package} {version(names.get(package, package))}"
    except PackageNotFoundError:
        return package
