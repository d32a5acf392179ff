"""The project's own kernel in JAX: an XLA call forward, and one back. What else can be derived: derivatives.py."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unilstm.run import DirectionResult, LayerCall
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from . import derivatives
from .derivatives import Plan

Array = Any
_TARGET = "unilstm_direction"


@functools.cache
def _registered() -> str | None:
    """Why XLA cannot call the kernel, or None once it can."""
    found = library.library()
    assert not isinstance(found, str)  # job.refusal() came first
    header = (Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h").read_text()
    versions = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR")]
    major, minor = (-1 if v is None else int(v[1]) for v in versions)
    if major != 0:
        return f"the kernel knows version 0 of XLA's call interface, not {major}"
    found.unilstm_xla_version(major, minor)
    jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(found.unilstm_xla), platform="cpu")
    return None


def refusal(spec: LSTMSpec, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve this layer, or None."""
    reason = job.refusal(spec, call) or _registered()
    if reason is not None:
        return reason
    if jax.default_backend() != "cpu":
        return f"the kernel runs on the CPU, not on {jax.default_backend()}"
    if call is None:
        return None
    if call.x.dtype not in (jnp.float32, jnp.float64):
        return f"the kernel computes in float32 and float64, not in {call.x.dtype}"
    if not all(isinstance(size, int) for size in call.x.shape):
        return "a size is symbolic, as in jax.export"
    return None


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer. Past a row's length nothing of x is read."""
    directions = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
    return [_run(spec, call, *direction) for direction in directions]


def _run(spec: LSTMSpec, call: LayerCall, reverse: bool, state: Any, p: Any, masks: Any) -> DirectionResult:
    arrays, fixed = job.tensors(call, state, p, masks), job.fixed(masks)
    if call.lengths is not None:
        fixed["lengths"] = call.lengths.astype(jnp.int32)
    plan = Plan(_ENGINE, spec, reverse, call.cells, tuple(arrays), tuple(fixed))
    every = derivatives.alike([jnp.asarray(a) for a in (*arrays.values(), *fixed.values())])
    y, h, c, *cells = derivatives.run(plan, tuple(every[: len(arrays)]), tuple(every[len(arrays) :]))
    return DirectionResult(y, h, c, cells[0] if cells else None)


def _call(plan: Plan, given: dict[str, Array], results: dict[str, tuple[int, ...]], backward: bool) -> list[Array]:
    """given and results: by the names of job.ARRAYS; the shapes of results."""
    x, equations = given["x"], job.equations(plan.spec)
    steps, rows, inputs = x.shape
    numbers = [steps, rows, inputs, *equations.numbers, plan.reverse, rows * inputs, inputs, x.dtype == jnp.float64]
    threads = library.threads() if library.own_threads() else 0  # 0: as many as XLA has
    more = {"vma": jax.typeof(x).vma} if getattr(jax.typeof(x), "vma", None) else {}
    made = [jax.ShapeDtypeStruct(shape, x.dtype, **more) for shape in results.values()]
    call = jax.ffi.ffi_call(_TARGET, made, vmap_method="sequential")
    return call(  # type: ignore[no-any-return]
        *given.values(),
        numbers=np.array([*numbers, threads, 0, backward], np.int64),
        reals=np.array(equations.reals, np.float64),
        arguments=np.array([job.ARRAYS.index(name) for name in given], np.int64),
        results=np.array([job.ARRAYS.index(name) for name in results], np.int64),
    )


def _forward(plan: Plan, given: dict[str, Array], keep: bool) -> list[Array]:
    """y [T, B, S], h [B, S], c [B, C]; then, where wanted or kept, every c [T, B, C]; then what else is kept."""
    equations, (steps, rows, _) = job.equations(plan.spec), given["x"].shape
    shapes = {"y": (steps, rows, equations.state), "h_n": (rows, equations.state), "c_n": (rows, equations.remembered)}
    if keep or plan.cells:
        shapes["cells"] = (steps, rows, equations.remembered)
    return _call(plan, given, shapes | (equations.kept_shapes(steps, rows) if keep else {}), backward=False)


def _backward(plan: Plan, given: dict[str, Array], kept: Any, cotangents: Any, wanted: list[str]) -> list[Array]:
    steps, rows, _ = given["x"].shape
    held = dict(zip(job.equations(plan.spec).kept_shapes(steps, rows), kept[4:], strict=True))
    shapes = {job.gradient_name(name): given[name].shape for name in wanted}
    everything = {**given, "y": kept[0], "cells": kept[3], **held, **cotangents}
    found = dict(zip(shapes, _call(plan, everything, shapes, backward=True), strict=True))
    return [found[job.gradient_name(name)] for name in wanted]


_ENGINE = derivatives.Engine(_forward, _backward)
