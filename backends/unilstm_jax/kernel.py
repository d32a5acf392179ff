"""The project's own kernel in JAX: an XLA call forward, and one back.

Reverse mode is what the kernel computes; every other derivative comes from the composed equations. The rule of a
direction is a forward one (custom_jvp) whose tangents go through a primitive, `tangent`: evaluated, differentiated or
batched, it is the composed equations' tangent; transposed, it is the kernel's way back. So jvp, vmap and higher
derivatives stay, which a custom_vjp would have lost.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from unilstm.cells import lstm
from unilstm.run import DirectionResult, LayerCall, scan_direction
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

from .ops import OPS
from .scan import recurrence

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
    plan = _Plan(spec, reverse, call.cells, tuple(arrays), tuple(fixed))
    every = _alike([jnp.asarray(a) for a in (*arrays.values(), *fixed.values())])
    y, h, c, *cells = _compiled(plan, tuple(every[: len(arrays)]), tuple(every[len(arrays) :]))
    return DirectionResult(y, h, c, cells[0] if cells else None)


def _alike(arrays: list[Array]) -> list[Array]:
    """Inside shard_map: all of them varying over the mesh axes that any of them varies over, as one call needs."""
    over: set[str] = set()
    for array in arrays:
        over |= set(getattr(jax.typeof(array), "vma", ()))
    if not over:
        return arrays
    return [jax.lax.pcast(a, tuple(over - set(jax.typeof(a).vma)), to="varying") for a in arrays]


@dataclass(frozen=True)
class _Plan:
    """What is static of a direction. arrays, fixed: the names of what it is given that has a gradient, and has none."""

    spec: LSTMSpec
    reverse: bool
    cells: bool
    arrays: tuple[str, ...]
    fixed: tuple[str, ...]


# The calls.


def _call(plan: _Plan, given: dict[str, Array], results: dict[str, tuple[int, ...]], backward: bool) -> list[Array]:
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


def _forward(plan: _Plan, arrays: Any, fixed: Any, keep: bool) -> list[Array]:
    """y [T, B, S], h [B, S], c [B, C]; then, where wanted or kept, every c [T, B, C]; then what else is kept."""
    given = dict(zip((*plan.arrays, *plan.fixed), (*arrays, *fixed), strict=True))
    equations, (steps, rows, _) = job.equations(plan.spec), given["x"].shape
    shapes = {"y": (steps, rows, equations.state), "h_n": (rows, equations.state), "c_n": (rows, equations.remembered)}
    if keep or plan.cells:
        shapes["cells"] = (steps, rows, equations.remembered)
    return _call(plan, given, shapes | (equations.kept_shapes(steps, rows) if keep else {}), backward=False)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _direction(plan: _Plan, arrays: Any, fixed: Any) -> Any:
    """y, h, c[, every c]."""
    return tuple(_forward(plan, arrays, fixed, keep=False))


@_direction.defjvp
def _direction_jvp(plan: _Plan, primals: Any, tangents: Any) -> Any:
    found, slopes = _keeping_jvp(plan, primals, tangents)
    count = 4 if plan.cells else 3
    return found[:count], slopes[:count]


_compiled = jax.jit(_direction, static_argnums=0)  # a call outside jit would otherwise be traced each time


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _keeping(plan: _Plan, arrays: Any, fixed: Any) -> Any:
    """y, h, c, every c, and what is kept for the way back. What is kept has no tangent: who reads it derives anew."""
    return tuple(_forward(plan, arrays, fixed, keep=True))


@_keeping.defjvp
def _keeping_jvp(plan: _Plan, primals: Any, tangents: Any) -> Any:
    arrays, fixed = primals
    found = _keeping(plan, arrays, fixed)
    slopes = _tangent.bind(*arrays, *fixed, *found, *tangents[0], plan=plan)
    return found, (*slopes, *(jnp.zeros_like(kept) for kept in found[4:]))


# The tangent, and its transpose.


def _parts(plan: _Plan, args: Any) -> tuple[Any, Any, Any, Any]:
    """The arguments of `tangent`: arrays, fixed, what _keeping returned, tangents of the arrays."""
    args, count, fixed = tuple(args), len(plan.arrays), len(plan.fixed)
    return args[:count], args[count : count + fixed], args[count + fixed : -count], args[-count:]


def _composed(plan: _Plan, arrays: Any, fixed: Any) -> Any:
    """y, h, c, every c by the equations."""
    given, extra = dict(zip(plan.arrays, arrays, strict=True)), dict(zip(plan.fixed, fixed, strict=True))
    p, masks, lengths = job.parameters(plan.spec, given), job.masks(extra), extra.get("lengths")
    x, state = given["x"], (given["h_0"], given["c_0"])
    if not lstm.elementwise(plan.spec) or (masks and plan.spec.recurrent_dropout_kind != "state"):
        call = LayerCall(x, [state], [p], lengths, cells=True)
        r = scan_direction(OPS, plan.spec, call, plan.reverse, state, p, masks)
        return r.y, r.h, r.c, r.cells
    valid = None if lengths is None else OPS.valid(x.shape[0], lengths, x)
    x = x if valid is None else jnp.where(valid, x, 0)
    h_all, c_all, h, c = recurrence(plan.spec, plan.reverse, (x, *state, p), valid, masks.get("recurrent"))
    if valid is None:
        return h_all, h, c, c_all
    return jnp.where(valid, h_all, 0), h, c, jnp.where(valid, c_all, 0)


def _tangent_of_equations(plan: _Plan, *args: Any) -> Any:
    arrays, fixed, _, tangents = _parts(plan, args)
    return jax.jvp(lambda *a: _composed(plan, a, fixed), tuple(arrays), tuple(tangents))[1]


def _tangent_jvp(primals: Any, tangents: Any, *, plan: _Plan) -> Any:
    arrays, fixed, kept, linear = _parts(plan, primals)
    of_arrays, _, _, of_linear = _parts(plan, [ad.instantiate_zeros(t) for t in tangents])

    def slope(arrays: Any, linear: Any) -> Any:
        return _tangent_of_equations(plan, *arrays, *fixed, *kept, *linear)

    _, found = jax.jvp(slope, (arrays, linear), (of_arrays, of_linear))
    return _tangent.bind(*primals, plan=plan), found


def _tangent_transpose(cotangents: Any, *args: Any, plan: _Plan) -> Any:
    arrays, fixed, kept, linear = _parts(plan, args)
    needs = tuple(ad.is_undefined_primal(one) for one in linear)
    there = tuple(type(ct) is not ad.Zero for ct in cotangents)
    given = tuple(ct for ct, one in zip(cotangents, there, strict=True) if one)
    found = iter(_back(plan, needs, there, tuple(arrays), tuple(fixed), tuple(kept), given))
    known = len(args) - len(linear)
    return [None] * known + [next(found) if need else None for need in needs]


def _tangent_batched(args: Any, dims: Any, *, plan: _Plan) -> Any:
    found = jax.vmap(functools.partial(_tangent_of_equations, plan), in_axes=tuple(dims))(*args)
    return found, (0,) * len(found)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _back(plan: _Plan, needs: Any, there: Any, arrays: Any, fixed: Any, kept: Any, cotangents: Any) -> Any:
    """The gradients of those arrays that need one. there: which of y, h, c, every c have a cotangent."""
    given = dict(zip((*plan.arrays, *plan.fixed), (*arrays, *fixed), strict=True))
    given["y"], given["cells"] = kept[0], kept[3]
    steps, rows, _ = given["x"].shape
    given |= dict(zip(job.equations(plan.spec).kept_shapes(steps, rows), kept[4:], strict=True))
    names = [name for name, one in zip(job.GRADIENTS_IN, there, strict=True) if one]
    given |= dict(zip(names, _alike([given["x"], *cotangents])[1:], strict=True))
    wanted = [name for name, need in zip(plan.arrays, needs, strict=True) if need]
    shapes = {job.gradient_name(name): given[name].shape for name in wanted}
    found = dict(zip(shapes, _call(plan, given, shapes, backward=True), strict=True)) if shapes else {}
    return tuple(found[job.gradient_name(name)] for name in wanted)


@_back.defjvp
def _back_jvp(plan: _Plan, needs: Any, there: Any, primals: Any, tangents: Any) -> Any:
    arrays, fixed, kept, cotangents = primals
    of_arrays, _, _, of_cotangents = tangents

    def pull(arrays: Any, cotangents: Any) -> Any:
        results, back = jax.vjp(lambda *a: _composed(plan, a, fixed), *arrays)
        given = iter(cotangents)
        every = tuple(next(given) if one else jnp.zeros_like(r) for one, r in zip(there, results, strict=True))
        return tuple(g for g, need in zip(back(every), needs, strict=True) if need)

    found = jax.jvp(pull, (arrays, cotangents), (of_arrays, of_cotangents))[1]
    return _back(plan, needs, there, arrays, fixed, kept, cotangents), found


_tangent = Primitive("unilstm_tangent")
_tangent.multiple_results = True
_tangent.def_impl(lambda *args, plan: _compiled_tangent(plan, *args))
_tangent.def_abstract_eval(lambda *avals, plan: list(_parts(plan, avals)[2][:4]))
_compiled_tangent = jax.jit(_tangent_of_equations, static_argnums=0)
ad.primitive_jvps[_tangent] = _tangent_jvp
ad.primitive_transposes[_tangent] = _tangent_transpose
batching.primitive_batchers[_tangent] = _tangent_batched
mlir.register_lowering(
    _tangent, mlir.lower_fun(lambda *args, plan: _tangent_of_equations(plan, *args), multiple_results=True)
)
