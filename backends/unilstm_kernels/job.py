"""What one call of the library computes: the other side of source/job.h."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from unilstm.activations import NAMES
from unilstm.cells import lstm
from unilstm.run import LayerCall
from unilstm.spec import LSTMSpec

from . import library

NUMBERS = (
    "steps", "rows", "inputs", "hidden", "state", "has", "gate_kind", "cell_kind", "output_kind", "reverse",
    "stride_t", "stride_b", "double", "threads", "openmp",
)  # fmt: skip
REALS = 9
# What a call is given: x [T, B, I], the state, the parameters by role (one bias or two), the mask on h, lengths int32.
GIVEN = (
    "x", "h_0", "c_0", "weight_ih", "weight_hh", "bias", "bias_hh", "weight_ch", "weight_xh", "bias_xh", "weight_hr",
    "mask", "lengths",
)  # fmt: skip
RESULTS = ("y", "h_n", "c_n", "cells")
KEPT = ("gates", "raw")  # for the way back, beside the cells
GRADIENTS_IN = tuple(f"d_{name}" for name in RESULTS)
# Of GIVEN, in that order; both biases have the same.
GRADIENTS = tuple(f"d_{name}" for name in GIVEN if name not in ("bias_hh", "mask", "lengths"))
ARRAYS = (*GIVEN, *RESULTS, *KEPT, *GRADIENTS_IN, *GRADIENTS)
LAYOUT = len(NUMBERS) * 10000 + REALS * 100 + len(ARRAYS)
_INDEX = {name: n for n, name in enumerate(ARRAYS)}
_HAS = ("input", "forget", "output")  # bits from 1
_COUPLED, _PEEPHOLE, _HIGHWAY, _PROJECTED = 8, 16, 32, 64


class Job(ctypes.Structure):
    _fields_ = [
        ("number", ctypes.c_int64 * len(NUMBERS)),
        ("real", ctypes.c_double * REALS),
        ("array", ctypes.c_void_p * len(ARRAYS)),
    ]


def refusal(spec: LSTMSpec, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve this spec or this call, as far as that is the same for all frameworks; or None."""
    missing = library.missing()
    if missing:
        return missing
    if not lstm.elementwise(spec):
        return f"the kernel has no {', '.join(_beyond(spec))}"
    masked = call is not None and any("recurrent" in masks for masks in call.all_masks())
    if masked and spec.recurrent_dropout_kind != "state":
        return f"the kernel has no recurrent dropout of kind {spec.recurrent_dropout_kind!r}"
    return None


def _beyond(spec: LSTMSpec) -> list[str]:
    """The fields that the kernel does not serve."""
    if spec.cell != "lstm":
        return [f"cell {spec.cell!r}"]
    default = LSTMSpec(1, 1)
    fields = ("num_blocks", "lanes", "layer_norm", "gate_recurrence", "zoneout_hidden", "zoneout_cell")
    return [field for field in fields if getattr(spec, field) != getattr(default, field)]


class Equations(NamedTuple):
    """A spec as the library takes it. numbers: "hidden" to "output_kind" of NUMBERS."""

    numbers: tuple[int, ...]
    reals: tuple[float, ...]

    @property
    def hidden(self) -> int:
        return self.numbers[0]

    @property
    def state(self) -> int:
        return self.numbers[1]

    def kept_shapes(self, steps: int, rows: int) -> dict[str, tuple[int, ...]]:
        """What a forward call keeps for the way back, beside the cells [T, B, H]."""
        has = self.numbers[2]
        forget = bool(has & 2) and not has & _COUPLED
        groups = 1 + (has & 1) + forget + bool(has & 4) + 2 * bool(has & _HIGHWAY)
        shapes: dict[str, tuple[int, ...]] = {"gates": (steps, rows, groups * self.hidden)}
        if self.reals[-1]:
            shapes["raw"] = (steps, rows, self.state)
        return shapes


def equations_of(spec: LSTMSpec) -> Equations:
    """The same as `equations`, for where a cache is in the way (torch.compile warns of it)."""
    has = sum(1 << n for n, gate in enumerate(_HAS) if gate in spec.gates)
    has |= _COUPLED * spec.coupled_gates | _PEEPHOLE * spec.peephole
    has |= _HIGHWAY * spec.highway | _PROJECTED * bool(spec.proj_size)
    functions = (spec.gate_activation, spec.cell_activation, spec.output_activation)
    reals = [value or 0.0 for f in functions for value in (f.alpha, f.beta)]
    numbers = (spec.hidden_size, spec.state_size, has, *(NAMES.index(f.name) for f in functions))
    return Equations(numbers, (*reals, spec.gate_clip, spec.cell_clip, spec.proj_clip))


equations = functools.lru_cache(256)(equations_of)


def given(p: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a direction by the names of GIVEN."""
    found = {role: p[role] for role in GIVEN if role in p and role not in ("h_0", "c_0")}
    if "bias_ih" in p:
        found["bias"] = p["bias_ih"]
    return found


def gradient_name(role: str) -> str:
    """The gradient of a parameter, by its role."""
    return "d_bias" if role in ("bias_ih", "bias_hh") else f"d_{role}"


def run(
    equations: Equations,
    shape: Sequence[int],
    strides: Sequence[int],
    reverse: bool,
    double: bool,
    arrays: Mapping[str, Any],
    pointer: Callable[[Any], int],
    *,
    backward: bool,
    threads: int,
    openmp: bool = False,
) -> None:
    """Run one direction. shape, strides: of x [T, B, I], in elements, its features side by side. double: float64?

    arrays: by the names of ARRAYS, those that there are, or None; dense. pointer: of one of them. threads: at most;
    openmp: of the OpenMP runtime that the framework has loaded, where there is one.
    """
    job = Job()
    job.number[:] = [*shape, *equations.numbers, reverse, *strides[:2], double, threads, openmp]
    job.real[:] = equations.reals
    pointers = [0] * len(ARRAYS)
    for name, array in arrays.items():
        if array is not None:
            pointers[_INDEX[name]] = pointer(array)
    job.array[:] = pointers
    found = library.library()
    assert not isinstance(found, str), found  # refusal() came first
    if found.unilstm_run(ctypes.byref(job), backward):
        raise MemoryError("the kernel found no memory for its working arrays")
