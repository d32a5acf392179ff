"""One step of a stream through every layer of a stack, straight into the kernel.

A step computes for a tenth of a millisecond or less, so what a call does before and after it is worth saving. The
backends' own streaming.py see whether a step is plain, and leave what is not to the call that serves everything, which
also says what is wrong with it.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from unilstm.spec import LSTMSpec

from . import job, library

_ROWS, _STRIDE_T, _DOUBLE, _THREADS = (job.NUMBERS.index(name) for name in ("rows", "stride_t", "double", "threads"))
_X, _H_0, _C_0, _Y, _H_N, _C_N = (job.ARRAYS.index(name) for name in ("x", "h_0", "c_0", "y", "h_n", "c_n"))


class Layer(NamedTuple):
    """job: with all that does not depend on the call. parameters: where each is in it, and its canonical name."""

    job: job.Job
    inputs: int
    parameters: tuple[tuple[int, str], ...]


class Plan(NamedTuple):
    """How a spec is streamed. names: of the parameters, in order. h, c: the shapes of the states without the rows,
    which come second."""

    layers: tuple[Layer, ...]
    names: tuple[str, ...]
    h: tuple[int, ...]
    c: tuple[int, ...]

    def fits(self, x: Sequence[int], h_0: Sequence[int], c_0: Sequence[int]) -> bool:
        """Have x and the states such shapes? x [B, I], B not 0."""
        if len(x) != 2 or not x[0] or x[1] != self.layers[0].inputs:
            return False
        return all(tuple(got) == (want[0], x[0], *want[1:]) for got, want in ((h_0, self.h), (c_0, self.c)))


class Pointers(NamedTuple):
    """x [B, I], h_0 and h_n [L, B, S], c_0 and c_n [L, B, C], y [B, S]: dense."""

    x: int
    h_0: int
    c_0: int
    y: int
    h_n: int
    c_n: int


def plan(spec: LSTMSpec) -> Plan | None:
    """None where the kernel cannot serve, or layers are joined in other ways than one upon the other."""
    return None if job.refusal(spec, None) else _plan(spec)


@functools.lru_cache(256)
def _plan(spec: LSTMSpec) -> Plan | None:
    if spec.direction != "forward" or spec.residual:
        return None
    layers = []
    for k in range(spec.num_layers):
        inputs = spec.layer_input_size(k)
        one, names = job.Job(), dict(spec.roles[k])
        one.number[:] = [1, 1, inputs, *job.equations(spec).numbers, False, inputs, inputs, False, 1, False]
        one.real[:] = job.equations(spec).reals
        parameters = tuple((job.ARRAYS.index(name), role) for name, role in job.given(names).items())
        layers.append(Layer(one, inputs, parameters))
    c = (spec.hidden_size,) if spec.slots == 1 else (spec.slots, spec.hidden_size)
    every = tuple(name for layer in layers for _, name in layer.parameters)
    return Plan(tuple(layers), every, (spec.num_layers, spec.state_size), (spec.num_layers, *c))


def run(plan: Plan, rows: int, double: bool, threads: int, pointers: Pointers, parameters: Mapping[str, int]) -> None:
    """One step. parameters: where each is, by canonical name; dense."""
    found = library.library()
    assert not isinstance(found, str), found  # plan() looked
    x, h_0, c_0, y, h_n, c_n = pointers
    size = 8 if double else 4
    h_bytes, c_bytes = rows * plan.h[1] * size, rows * size
    for n in plan.c[1:]:
        c_bytes *= n
    for layer in plan.layers:
        one = job.Job.from_buffer_copy(layer.job)
        number, array = one.number, one.array
        number[_ROWS], number[_STRIDE_T] = rows, rows * layer.inputs
        number[_DOUBLE], number[_THREADS] = double, threads
        for index, name in layer.parameters:
            array[index] = parameters[name]
        array[_X], array[_H_0], array[_C_0], array[_Y], array[_H_N], array[_C_N] = x, h_0, c_0, y, h_n, c_n
        if found.unilstm_run(ctypes.byref(one), False):
            raise MemoryError("the kernel found no memory for its working arrays")
        # What the next layer reads is this one's last h: y may be written anew.
        x, h_0, c_0, h_n, c_n = h_n, h_0 + h_bytes, c_0 + c_bytes, h_n + h_bytes, c_n + c_bytes
