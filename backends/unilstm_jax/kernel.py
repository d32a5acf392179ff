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


def refusal(spec: LSTMSpec, dtype: str, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve a layer of this dtype, or None."""
    reason = job.refusal(spec, dtype) or _registered()
    if reason is not None:
        return reason
    if jax.default_backend() != "cpu":
        return f"the kernel runs on the CPU, not on {jax.default_backend()}"
    if call is not None and not all(isinstance(size, int) for size in call.x.shape):
        return "a size is symbolic, as in jax.export"
    return None


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer, or a stack of them. Past a row's length nothing of x is read."""
    reverse, givens = job.reversed_ones(spec, layer, call), job.tensors(call)
    lengths = {} if call.lengths is None else {"lengths": call.lengths.astype(jnp.int32)}
    of_masks = [job.fixed(masks) | lengths for masks in call.all_masks()]
    plan = Plan(_ENGINE, spec, reverse, call.cells, tuple(givens[0]), tuple(of_masks[0]), call.stacked)
    every = derivatives.alike([jnp.asarray(a) for given in (*givens, *of_masks) for a in given.values()])
    count = sum(map(len, givens))
    y, *rest = derivatives.run(plan, tuple(every[:count]), tuple(every[count:]))
    found = [(h, c, *cells) for h, c, *cells in plan.parts(rest)]
    joined = len(reverse) > 1 and not call.stacked
    return [DirectionResult(y, h, c, cells[0] if cells else None, joined) for h, c, *cells in found]


def _call(
    plan: Plan, givens: list[dict[str, Array]], results: list[dict[str, tuple[int, ...]]], backward: bool
) -> list[list[Array]]:
    """Of each direction. givens and results: by the names of job.ARRAYS; the shapes of results. y and its gradient,
    which are the layer's, are the first direction's here, or each its own of the layers of a stack."""
    x, equations = givens[0]["x"], job.equations(plan.spec)
    _, rows, inputs = x.shape
    threads = library.threads() if library.own_threads() else 0  # 0: as many as XLA has
    numbers = []
    for n, reverse in enumerate(plan.reverse):
        rest = (reverse, (rows * inputs, inputs), None, x.dtype == jnp.float64, threads, 0, plan.stacked)
        numbers += job.numbers(equations, x.shape, len(plan.reverse), n, *rest)
    more = derivatives.varies_as(x)
    made = [jax.ShapeDtypeStruct(shape, x.dtype, **more) for of in results for shape in of.values()]
    call = jax.ffi.ffi_call(_TARGET, made, vmap_method="sequential")
    found = iter(
        call(
            *(array for given in givens for array in given.values()),
            numbers=np.array([*numbers, backward], np.int64),
            reals=np.array(equations.reals, np.float64),
            arguments=_places(givens),
            results=_places(results),
        )
    )
    return [[next(found) for _ in of] for of in results]


def _places(every: list[dict[str, Any]]) -> Any:
    """Which array of which direction's job each of them is."""
    places = [n * len(job.ARRAYS) + job.ARRAYS.index(name) for n, of in enumerate(every) for name in of]
    return np.array(places, np.int64)


def _forward(plan: Plan, givens: list[dict[str, Array]], keep: bool) -> list[Array]:
    equations, (steps, rows, _) = job.equations(plan.spec), givens[0]["x"].shape
    how = {"stacked": plan.stacked, "keep": keep, "cells": plan.cells}
    shapes = equations.made_shapes(steps, rows, len(givens), **how)
    made = _call(plan, givens, shapes, backward=False)
    every = [dict(zip(of, one, strict=True)) for of, one in zip(shapes, made, strict=True)]
    found = [every[-1 if plan.stacked else 0]["y"]]
    for of in every:
        y = of.pop("y", None)
        found += [*of.values(), *([y] if plan.stacked and keep else [])]
    return found


def _backward(
    plan: Plan, givens: list[dict[str, Array]], kept: Any, cotangents: list[dict[str, Array]], wanted: list[list[str]]
) -> list[Array]:
    steps, rows, _ = givens[0]["x"].shape
    names = ("cells", *job.equations(plan.spec).kept_shapes(steps, rows), *(["y"] if plan.stacked else []))
    everything, shapes = [], []
    y, *rest = kept
    for given, (_, _, *held), into, some in zip(givens, plan.parts(rest), cotangents, wanted, strict=True):
        everything.append({**given, **dict(zip(names, held, strict=True)), **into})
        shapes.append({job.gradient_name(name): given[name].shape for name in some})
    if not plan.stacked:
        everything[0]["y"] = y
    found = _call(plan, everything, shapes, backward=True)
    every = [dict(zip(of, one, strict=True)) for of, one in zip(shapes, found, strict=True)]
    return [of[job.gradient_name(name)] for of, some in zip(every, wanted, strict=True) for name in some]


_ENGINE = derivatives.Engine(_forward, _backward)
