"""What one call of the library computes: the other side of source/job.h."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from unilstm.activations import NAMES
from unilstm.run import LayerCall
from unilstm.spec import LSTMSpec

from . import library

NUMBERS = (
    "steps", "rows", "inputs", "hidden", "state", "has", "gate_kind", "cell_kind", "output_kind", "blocks", "lanes",
    "pooling", "norm", "mask_kind", "cell", "heads", "slots", "reverse", "stacked", "stride_t", "stride_b",
    "y_from", "y_stride_t", "y_stride_b", "d_y_stride_t", "d_y_stride_b", "double", "threads", "openmp",
)  # fmt: skip
REALS = 12
# What a call is given: x [T, B, I], the state, the parameters by role (one bias or two), what has no gradient.
PARAMETERS = (
    "weight_ih", "weight_hh", "bias", "bias_hh", "weight_ch", "weight_xh", "bias_xh", "weight_hr", "gamma_ih",
    "gamma_hh", "gamma", "gamma_c", "beta_c", "weight_gg", "weight_xa", "bias_xa",
)  # fmt: skip
FIXED = ("mask", "keep_h", "keep_c", "lengths")  # masks of training (see `fixed`), lengths int32
GIVEN = ("x", "h_0", "c_0", *PARAMETERS, *FIXED)
RESULTS = ("y", "h_n", "c_n", "cells")
KEPT = ("gates", "raw")  # for the way back, beside the cells
# Of how that is laid out, and kKeptVersion of the library: one more with each change.
KEPT_VERSION = 6
GRADIENTS_IN = tuple(f"d_{name}" for name in RESULTS)
# Of GIVEN, in that order; both biases have the same.
GRADIENTS = tuple(f"d_{name}" for name in GIVEN if name not in ("bias_hh", *FIXED))
ARRAYS = (*GIVEN, *RESULTS, *KEPT, *GRADIENTS_IN, *GRADIENTS, "packed")
LAYOUT = ((KEPT_VERSION * 100 + len(NUMBERS)) * 100 + REALS) * 100 + len(ARRAYS)
_INDEX = {name: n for n, name in enumerate(ARRAYS)}
_NO_MEMORY = 1
NO_MEMORY = "the kernel found no memory for its working arrays"
_LINE = 32  # kLine of float in source/shape.h, twice that of double
_HAS = ("input", "forget", "output")  # bits from 1
_COUPLED, _PEEPHOLE, _HIGHWAY, _PROJECTED, _SEEN_AGAIN, _EXPONENTIAL_FORGET = 8, 16, 32, 64, 128, 256
DTYPES = ("float32", "float64")
_CELLS = ("lstm", "slstm", "minlstm")
_POOLINGS = ("sum", "argmax", "attention", "attention-max")
_NORMS = ("none", "joint", "normalized-state", "per-gate")
_MASKS = {"recurrent": "mask", "zoneout_hidden": "keep_h", "zoneout_cell": "keep_c"}
_MASK_KINDS = ("state", "per-gate", "candidate")


class Job(ctypes.Structure):
    _fields_ = [
        ("number", ctypes.c_int64 * len(NUMBERS)),
        ("real", ctypes.c_double * REALS),
        ("array", ctypes.c_void_p * len(ARRAYS)),
    ]


def refusal(spec: LSTMSpec, dtype: str) -> str | None:
    """Why the kernel cannot serve this spec in a layer of this dtype, whatever the framework; or None."""
    missing = library.missing()
    if missing:
        return missing
    if dtype not in DTYPES:
        return f"the kernel computes in {' and '.join(DTYPES)}, not in {dtype}"
    return f"the kernel has no cell {spec.cell!r}" if spec.cell not in _CELLS else None


class Equations(NamedTuple):
    """A spec as the library takes it. numbers: "hidden" to "slots" of NUMBERS."""

    numbers: tuple[int, ...]
    reals: tuple[float, ...]

    @property
    def hidden(self) -> int:
        return self.numbers[0]

    @property
    def state(self) -> int:
        return self.numbers[1]

    @property
    def remembered(self) -> int:
        """Features of c: those of the lanes, and of the gates that are seen again; of the sLSTM c, n and m."""
        return self.numbers[-1] * self.hidden

    def kept_shapes(self, steps: int, rows: int) -> dict[str, tuple[int, ...]]:
        """What a forward call keeps for the way back, beside the cells [T, B, C]; see source/shape.h and whole.h."""
        has, blocks, lanes, pooling, norm = self.numbers[2], *self.numbers[6:10]
        highway, norm_kind = bool(has & _HIGHWAY), _NORMS[norm]
        gates = bool(has & 1) + (bool(has & 2) and not has & _COUPLED) + bool(has & 4)  # of i f o, with weights
        z = lanes * (gates * (blocks or self.hidden) + self.hidden) + highway * self.hidden
        width = z + highway * self.hidden + (pooling >= 2) * lanes * self.hidden
        if norm_kind != "none":
            groups = lanes * (gates + 1) + highway
            width += (z + groups if norm_kind == "per-gate" else 2 * z + 2) + lanes * (self.hidden + 1)
        elif not blocks and lanes == 1:  # in lines
            width = (gates + 1 + 2 * highway) * -(-self.hidden // _LINE) * _LINE
        shapes: dict[str, tuple[int, ...]] = {"gates": (steps, rows, width)}
        if self.reals[8]:
            shapes["raw"] = (steps, rows, self.state)
        return shapes

    def made_shapes(
        self, steps: int, rows: int, count: int, *, stacked: bool, keep: bool, cells: bool
    ) -> list[dict[str, tuple[int, ...]]]:
        """What a forward call makes for each of so many directions, or layers of a stack: RESULTS, and what is kept.
        Directions have one y, which is the first's here."""
        found = []
        for n in range(count):
            shapes: dict[str, tuple[int, ...]] = {}
            if stacked or not n:
                shapes["y"] = (steps, rows, self.state if stacked else count * self.state)
            shapes |= {"h_n": (rows, self.state), "c_n": (rows, self.remembered)}
            if keep or cells:
                shapes["cells"] = (steps, rows, self.remembered)
            found.append(shapes | self.kept_shapes(steps, rows) if keep else shapes)
        return found


def equations_of(spec: LSTMSpec) -> Equations:
    """The same as `equations`, for where a cache is in the way (torch.compile warns of it)."""
    gates = ("input", "forget") if spec.cell == "minlstm" else spec.gates
    has = sum(1 << n for n, gate in enumerate(_HAS) if gate in gates)
    has |= _EXPONENTIAL_FORGET * spec.exponential_forget | _COUPLED * spec.coupled_gates | _PEEPHOLE * spec.peephole
    has |= _HIGHWAY * spec.highway | _PROJECTED * bool(spec.proj_size) | _SEEN_AGAIN * spec.gate_recurrence
    functions = (spec.gate_activation, spec.cell_activation, spec.output_activation)
    reals = [value or 0.0 for f in functions for value in (f.alpha, f.beta)]
    kinds = (NAMES.index(f.name) for f in functions)
    more = (_POOLINGS.index(spec.lane_pooling), _NORMS.index(spec.layer_norm))
    numbers = (spec.hidden_size, spec.state_size, has, *kinds, spec.num_blocks, spec.lanes, *more)
    clips = (spec.gate_clip, spec.cell_clip, spec.proj_clip)
    rest = (spec.layer_norm_eps, spec.zoneout_hidden, spec.zoneout_cell)
    last = (_MASK_KINDS.index(spec.recurrent_dropout_kind), _CELLS.index(spec.cell), spec.num_heads, spec.slots)
    return Equations((*numbers, *last), (*reals, *clips, *rest))


equations = functools.lru_cache(256)(equations_of)


def given(p: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a direction by the names of GIVEN."""
    found = {role: p[role] for role in PARAMETERS if role in p}
    if "bias_ih" in p:
        found["bias"] = p["bias_ih"]
    return found


def parameters(spec: LSTMSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """The other way round: the parameters by role."""
    found = {role: given[role] for role in PARAMETERS if given.get(role) is not None}
    if spec.bias == "double":
        found["bias_ih"] = found.pop("bias")
    return found


def fixed(masks: Mapping[str, Any]) -> dict[str, Any]:
    """The masks of a direction, by kind as in layer_masks, by the names of GIVEN; that of x acts in `tensors`."""
    return {name: masks[kind] for kind, name in _MASKS.items() if kind in masks}


def tensors(call: LayerCall) -> list[dict[str, Any]]:
    """What each direction is given that can have a gradient, by the names of GIVEN. The mask of x is multiplied in. Of
    the layers of a stack the first alone is given an x."""
    found = []
    for n, ((h, c), p, masks) in enumerate(zip(call.states, call.p, call.all_masks(), strict=True)):
        x = call.x * masks["input"] if "input" in masks else call.x
        of_x = {} if call.stacked and n else {"x": x}
        found.append({**of_x, "h_0": h, "c_0": c, **given(p)})
    return found


def reversed_ones(spec: LSTMSpec, layer: int, call: LayerCall) -> tuple[bool, ...]:
    """Of each direction, or of each layer of a stack: does it run right to left?"""
    every = spec.reversed_directions(layer)
    return every * len(call.states) if call.stacked else every


def keeps_in_vain(needs: Sequence[Any]) -> bool:
    """Of a stack, by whether each layer needs a way back: would the first keep what that takes, and not need it?"""
    return any(needs) and not needs[0]


def masks(given: Mapping[str, Any]) -> dict[str, Any]:
    """`fixed` the other way round."""
    return {kind: given[name] for kind, name in _MASKS.items() if given.get(name) is not None}


def gradient_name(role: str) -> str:
    """The gradient of a parameter, by its role."""
    return "d_bias" if role in ("bias_ih", "bias_hh") else f"d_{role}"


class Direction(NamedTuple):
    """What one direction of a layer reads and writes, or one layer of a stack.

    strides: of x [T, B, I], in elements, its features side by side. arrays: by the names of ARRAYS, those that there
    are; dense, but for x and d_y. y and d_y are the layer's [T, B, D·S], all directions side by side. Of a stack x and
    d_x are the first's, and d_y is the last's.
    """

    reverse: bool
    strides: Sequence[int]
    arrays: Mapping[str, Any]


def parts(every: Sequence[Any], count: int) -> list[Any]:
    """Of what lies flat, direction after direction, so many of each: those of each direction."""
    return [every[start : start + count] for start in range(0, len(every), count)]


def numbers(
    equations: Equations,
    shape: Sequence[int],
    directions: int,
    one: int,
    reverse: bool,
    strides: Sequence[int],
    d_y_strides: Sequence[int] | None,
    double: bool,
    threads: int,
    openmp: int,
    stacked: bool = False,
) -> tuple[int, ...]:
    """Those of NUMBERS, for one of so many directions; see `run`. Its y begins where that of the one before it ends."""
    state, upon = equations.state, stacked and one > 0
    (steps, rows, inputs), width = shape, state if stacked else directions * state
    sizes = (steps, rows, state if upon else inputs)
    y, at = (rows * width, width), 0 if stacked else one * state
    d_y = y if d_y_strides is None else d_y_strides[:2]
    return (*sizes, *equations.numbers, reverse, upon, *strides[:2], at, *y, *d_y, double, threads, openmp)


def run(
    equations: Equations,
    shape: Sequence[int],
    double: bool,
    directions: Sequence[Direction],
    pointer: Callable[[Any], int],
    *,
    d_y_strides: Sequence[int] | None = None,
    backward: bool,
    threads: int,
    openmp: int = 0,
    stacked: bool = False,
) -> None:
    """Run a layer: all its directions, at once where that is faster; or, stacked, layers each upon the one before it,
    all in one order of the steps. shape: of x [T, B, I]. double: float64?

    pointer: of an array. d_y_strides: where it is not dense; its features are side by side. threads: at most; openmp:
    those of the OpenMP runtime that the framework has loaded: the address of its GOMP_parallel, or 1, to look for it
    where the process's libraries show what they have to all.
    """
    count, rest = len(directions), (d_y_strides, double, threads, openmp)
    jobs = (Job * count)()
    for n, (job, (reverse, strides, arrays)) in enumerate(zip(jobs, directions, strict=True)):
        job.number[:] = numbers(equations, shape, count, n, reverse, strides, *rest, stacked)
        job.real[:] = equations.reals
        pointers = job.array
        for name, array in arrays.items():
            pointers[_INDEX[name]] = pointer(array)
    found = library.library()
    assert not isinstance(found, str), found  # refusal() came first
    problem = found.unilstm_run(jobs, count, backward)
    if problem == _NO_MEMORY:
        raise MemoryError(NO_MEMORY)
    if problem:
        raise ValueError(f"x has shape {list(shape)}, but the kernel takes at least one step and one row (T, B >= 1).")
