"""One step of a stream through every layer of a stack, straight into the kernel.

A step computes for a tenth of a millisecond or less, so what a call does before and after it is worth saving. The
backends' own streaming.py see whether a step is plain, and leave what is not to the call that serves everything, which
also says what is wrong with it.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unilstm.spec import LSTMSpec

from . import job, library


class Plan(NamedTuple):
    """How a spec is streamed. names, shapes: of the parameters, in order. h, c: the shapes of the states without the
    rows, which come second. jobs, about: see unilstm_step in source/entry.cpp; call: the type of its last argument."""

    inputs: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    h: tuple[int, ...]
    c: tuple[int, ...]
    jobs: ctypes.Array[job.Job]
    about: ctypes.Array[ctypes.c_int64]
    call: Any

    def fits(self, x: Sequence[int], h_0: Sequence[int], c_0: Sequence[int]) -> bool:
        """Have x and the states such shapes? x [B, I], B not 0."""
        if len(x) != 2 or not x[0] or x[1] != self.inputs:
            return False
        (layers, *h), (_, *c), rows = self.h, self.c, x[0]
        return tuple(h_0) == (layers, rows, *h) and tuple(c_0) == (layers, rows, *c)


def plan(spec: LSTMSpec) -> Plan | None:
    """None where the kernel cannot serve, or layers are joined in other ways than one upon the other. In any of its
    dtypes: who asks has seen to that."""
    return None if job.refusal(spec, job.DTYPES[0]) else _plan(spec)


@functools.lru_cache(256)
def _plan(spec: LSTMSpec) -> Plan | None:
    if spec.direction != "forward" or spec.residual:
        return None
    jobs, names = (job.Job * spec.num_layers)(), []
    about = [spec.num_layers, spec.state_size, spec.slots * spec.hidden_size]
    for k, one in enumerate(jobs):
        inputs = spec.layer_input_size(k)
        equations = job.equations(spec)
        one.number[:] = job.numbers(equations, (1, 1, inputs), 1, 0, False, (inputs, inputs), None, False, 1, 0)
        one.real[:] = equations.reals
        given = job.given(dict(spec.roles[k]))
        about += [len(given), *map(job.ARRAYS.index, given)]
        names += given.values()
    shapes = (spec.num_layers, spec.state_size), (spec.num_layers, *spec.cell_shape)
    call = ctypes.c_int64 * (11 + len(names))
    of_names = tuple(spec.shapes[name] for name in names)
    numbers = (ctypes.c_int64 * len(about))(*about)
    return Plan(spec.layer_input_size(0), tuple(names), of_names, *shapes, jobs, numbers, call)


def run(
    plan: Plan,
    rows: int,
    double: bool,
    threads: int,
    pointers: Iterable[int],
    parameters: Iterable[int],
    openmp: int = 0,
) -> None:
    """One step. pointers: to x [B, I], h_0 [L, B, S], c_0 [L, B, C], y [B, S], h_n, c_n; all dense, as are the
    parameters. openmp: as of job.run."""
    found = library.library()
    assert not isinstance(found, str), found  # plan() looked
    call = plan.call(rows, double, threads, *pointers, 0, openmp, *parameters)
    if found.unilstm_step(plan.jobs, plan.about, call):
        raise MemoryError(job.NO_MEMORY)


class _Packed(ctypes.Structure):
    """Packed of source/job.h."""

    _fields_ = (
        ("stamp", ctypes.c_int64),
        ("bytes", ctypes.c_int64),
        ("memory", ctypes.c_void_p),
        ("calls", ctypes.c_int64),
    )


class Steps:
    """A stream's steps (unilstm.stream) on weights that are packed at the first. h, c: the stream's own from now on.

    A backend says how its tensors are read and made: dense, pointer, empty; on how many threads: setting, threads; and
    adds plain, tidy and state. Weights displace from the caches what a step touches in Python, so it touches little.
    """

    def __init__(self, plan: Plan, tensors: Mapping[str, Any], h: Any, c: Any, rows: int | None, double: bool) -> None:
        self.x_shape = (plan.inputs,) if rows is None else (rows, plan.inputs)
        self.y_shape = (*self.x_shape[:-1], plan.h[1])
        self.dtype = h.dtype
        self._plan, self._held = plan, [self.dense(tensors[name]) for name in plan.names]
        packed = (_Packed * len(plan.jobs))()
        places = map(self.pointer, self._held)
        self._call = plan.call(rows or 1, double, 1, 0, 0, 0, 0, 0, 0, ctypes.addressof(packed), 0, *places)
        self.set_state(h, c)
        self._setting: Any = ()  # none yet
        found: Any = library.library()
        self._step = found.unilstm_step
        weakref.finalize(self, found.unilstm_forget, packed, ctypes.c_int64(len(packed)))

    def set_state(self, h: Any, c: Any) -> None:
        self.h, self.c = self.dense(h), self.dense(c)
        self._call[4] = self._call[7] = self.pointer(self.h)  # a step writes it anew
        self._call[5] = self._call[8] = self.pointer(self.c)

    def run(self, x: Any) -> Any:
        y, call, pointer = self.empty(), self._call, self.pointer
        setting = self.setting()
        if setting != self._setting:
            call[2], call[10] = self.threads()
            self._setting = setting
        call[3], call[6] = pointer(x), pointer(y)
        if self._step(self._plan.jobs, self._plan.about, call):
            raise MemoryError(job.NO_MEMORY)
        return y

    def dense(self, tensor: Any) -> Any:
        raise NotImplementedError

    def pointer(self, tensor: Any) -> int:
        raise NotImplementedError

    def empty(self) -> Any:
        """A new y."""
        raise NotImplementedError

    def setting(self) -> int | None:
        """What the framework's threads are set to. The environment is read again only where that has changed."""
        raise NotImplementedError

    def threads(self) -> tuple[int, int]:
        """How many, and openmp as of job.run."""
        raise NotImplementedError
