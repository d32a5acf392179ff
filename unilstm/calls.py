"""What one call of a layer was given: checked once for all backends, brought to one form, and brought back.

Inside, everything is time-major and batched: x [T, B, I], h [L·D, B, P or H], c [L·D, B, slots·H].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .ops import Ops, Tensor
from .spec import LSTMSpec
from .weights import DTYPES


@dataclass
class Call:
    """One checked call. known_lengths are the lengths' values, None under tracing or where there are none."""

    x: Tensor
    h_0: Tensor | None
    c_0: Tensor | None
    lengths: Tensor | None
    known_lengths: Any
    batched: bool
    steps: int
    rows: int


def receive(ops: Ops, spec: LSTMSpec, dtype: str, x: Any, state: Any, lengths: Any, lower: str | None = None) -> Call:
    """Check x, state and lengths against the spec; raise InputError where they do not fit.

    dtype: the layer's. lower: another that x and state may have.
    """
    if not ops.is_tensor(x):
        if isinstance(x, np.ma.MaskedArray):
            raise InputError(
                "x is a masked array, whose mask nothing here reads. Give x.filled(0), and lengths= for masked padding."
            )
        raise InputError(f"x must be a {ops.tensor_kind()}, not {type(x).__name__}. Convert it first.")
    shape = tuple(x.shape)
    batched = _check_x(spec, shape, dtype if ops.dtype(x) == lower else ops.dtype(x), dtype)
    if not batched:
        x = ops.reshape(x, (shape[0], 1, shape[1]))
    elif spec.batch_first:
        x = ops.transpose(x)
    steps, rows = x.shape[0], x.shape[1]
    h_0 = c_0 = None
    if state is not None:
        h_0, c_0 = _check_state(ops, spec, state, rows if batched else None, (dtype, lower))
    known = None
    if lengths is not None:
        if not batched:
            raise InputError("lengths were given with an unbatched x. Cut x to its length instead.")
        lengths, known = ops.lengths(lengths, x)
        _check_lengths(lengths, known, steps, rows)
    return Call(x, h_0, c_0, lengths, known, batched, steps, rows)


def give_back(ops: Ops, spec: LSTMSpec, call: Call, sequence: Tensor) -> Tensor:
    """A sequence [T, B, F] in the form x came in."""
    if not call.batched:
        return ops.reshape(sequence, (sequence.shape[0], sequence.shape[2]))
    return ops.transpose(sequence) if spec.batch_first else sequence


def give_back_state(ops: Ops, spec: LSTMSpec, call: Call, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """States [L·D, B, F] in the form x came in, c with an axis for its slots where they are several."""
    lead = (h.shape[0], call.rows) if call.batched else (h.shape[0],)
    h = h if call.batched else ops.reshape(h, (*lead, h.shape[2]))
    if spec.slots > 1:
        return h, ops.reshape(c, (*lead, spec.slots, spec.hidden_size))
    return h, c if call.batched else ops.reshape(c, (*lead, c.shape[2]))


def give_back_cells(ops: Ops, spec: LSTMSpec, call: Call, cells: Tensor) -> Tensor:
    """c of every step [T, B, D·slots·H] in the form x came in: [B, T, D·H], or [B, T, D·slots, H] with slots."""
    sequence = give_back(ops, spec, call, cells)
    if spec.slots == 1:
        return sequence
    return ops.reshape(sequence, (*sequence.shape[:-1], spec.num_directions * spec.slots, spec.hidden_size))


def initial_state(ops: Ops, spec: LSTMSpec, params: dict[str, Tensor], call: Call) -> list[tuple[Tensor, Tensor]]:
    """(h, c) for each direction of each layer: from the call, from learned parameters, or zeros."""
    states = []
    for index in range(spec.num_layers * spec.num_directions):
        if call.h_0 is not None and call.c_0 is not None:
            states.append((call.h_0[index], call.c_0[index]))
        elif spec.learned_state:
            suffix = f"l{index // spec.num_directions}{'_reverse' if index % spec.num_directions else ''}"
            h, c = (ops.expand(params[f"{role}_{suffix}"], call.rows) for role in ("h_0", "c_0"))
            states.append((h, c if spec.slots == 1 else ops.reshape(c, (call.rows, -1))))
        else:
            sizes = (spec.state_size, spec.slots * spec.hidden_size)
            h, c = (ops.zeros((call.rows, size), call.x) for size in sizes)
            states.append((h, c))
    return states


def _check_x(spec: LSTMSpec, shape: tuple[int, ...], given: str, dtype: str) -> bool:
    form = "[B, T, I]" if spec.batch_first else "[T, B, I]"
    if len(shape) not in (2, 3):
        raise InputError(
            f"x has shape {list(shape)}, {len(shape)} axes, but must have 3, {form}, or 2, [T, I], for one sequence. "
            "Add or remove an axis."
        )
    if shape[-1] != spec.input_size:
        raise InputError(
            f"x has shape {list(shape)}: its last axis is {shape[-1]}, but input_size={spec.input_size}. "
            "Give x the features the layer was built for."
        )
    batched = len(shape) == 3
    steps = shape[1] if batched and spec.batch_first else shape[0]
    rows = (shape[0] if spec.batch_first else shape[1]) if batched else 1
    if rows == 0:
        raise InputError(f"x has shape {list(shape)}, {form}: the batch is empty. Give at least one row.")
    if steps == 0:
        raise InputError(f"x has shape {list(shape)}, {form}: there is no step (T = 0). Give at least one step.")
    if given != dtype:
        other = f", or build the layer with dtype={given!r}" if given in DTYPES else ""
        raise InputError(f"x is {given} but the layer is {dtype}. Convert x{other}.")
    return batched


def _check_state(ops: Ops, spec: LSTMSpec, state: Any, rows: int | None, dtypes: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(state, (tuple, list)) or len(state) != 2 or not all(ops.is_tensor(s) for s in state):
        raise InputError(
            f"state must be a pair (h_0, c_0) of {ops.tensor_kind()}, not {type(state).__name__}. "
            "Give both, or none for zeros."
        )
    parts = []
    for name, value, sizes in zip(("h_0", "c_0"), state, ((spec.state_size,), spec.cell_shape), strict=True):
        lead = spec.num_layers * spec.num_directions
        want = (lead, *sizes) if rows is None else (lead, rows, *sizes)
        if tuple(value.shape) != want:
            raise InputError(
                f"{name} has shape {list(value.shape)}, but must have {list(want)}: layers times directions"
                f"{'' if rows is None else ', batch'}{', slots' if len(sizes) > 1 else ''}, features. "
                "The order is (h_0, c_0)."
            )
        if ops.dtype(value) not in dtypes:
            raise InputError(f"{name} is {ops.dtype(value)} but the layer is {dtypes[0]}. Convert {name}.")
        plain = rows is not None and len(sizes) == 1
        parts.append(value if plain else ops.reshape(value, (lead, rows or 1, math.prod(sizes))))
    return parts[0], parts[1]


def _check_lengths(lengths: Tensor, known: Any, steps: int, rows: int) -> None:
    if tuple(lengths.shape) != (rows,):
        raise InputError(f"lengths has shape {list(lengths.shape)}, but must have [{rows}]: one for each row of x.")
    if known is None:
        return
    for rule, wrong in (("negative", known < 0), (f"longer than x, which has {steps} steps", known > steps)):
        if np.any(wrong):
            row = int(np.argmax(wrong))
            raise InputError(f"lengths[{row}]={int(known[row])} is {rule}. Give lengths from 0 to {steps}.")


def whole_numbers(lengths: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Lengths given as a list or a NumPy array; raises InputError for anything but whole numbers."""
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise InputError(f"lengths={lengths!r} must be whole numbers. Give integers, one for each row.")
    return array
