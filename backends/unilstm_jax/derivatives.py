"""The derivatives of a direction that is computed by something foreign: the kernel's XLA call, or cuDNN's.

Reverse mode is what the engine computes; every other derivative comes from the composed equations. The rule of a
direction is a forward one (custom_jvp) whose tangents go through a primitive, `tangent`: evaluated, differentiated or
batched, it is the composed equations' tangent; transposed, it is the engine's way back. So jvp, vmap and higher
derivatives stay, which a custom_vjp would have lost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from unilstm.cells import lstm
from unilstm.run import LayerCall, scan_direction
from unilstm.spec import LSTMSpec
from unilstm_kernels import job

from .ops import OPS
from .scan import recurrence

Array = Any


@dataclass(frozen=True)
class Engine:
    """Arrays are by the names of job.ARRAYS.

    forward(plan, given, keep): y [T, B, S], h [B, S], c [B, C]; then, where wanted or kept, every c [T, B, C]; then
    what else is kept. backward(plan, given, kept, cotangents, wanted): the gradients of the wanted ones of given, in
    their order, from what forward returned and the cotangents that there are, as job.GRADIENTS_IN names them.
    """

    forward: Callable[..., list[Array]]
    backward: Callable[..., list[Array]]


@dataclass(frozen=True)
class Plan:
    """What is static of a direction. arrays, fixed: the names of what it is given that has a gradient, and has none."""

    engine: Engine
    spec: LSTMSpec
    reverse: bool
    cells: bool
    arrays: tuple[str, ...]
    fixed: tuple[str, ...]


def alike(arrays: list[Array]) -> list[Array]:
    """Inside shard_map: all of them varying over the mesh axes that any of them varies over, as one call needs."""
    over: set[str] = set()
    for array in arrays:
        over |= set(getattr(jax.typeof(array), "vma", ()))
    if not over:
        return arrays
    return [jax.lax.pcast(a, tuple(over - set(jax.typeof(a).vma)), to="varying") for a in arrays]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _direction(plan: Plan, arrays: Any, fixed: Any) -> Any:
    """y, h, c[, every c]."""
    return tuple(plan.engine.forward(plan, _given(plan, arrays, fixed), False))


@_direction.defjvp
def _direction_jvp(plan: Plan, primals: Any, tangents: Any) -> Any:
    found, slopes = _keeping_jvp(plan, primals, tangents)
    count = 4 if plan.cells else 3
    return found[:count], slopes[:count]


run = jax.jit(_direction, static_argnums=0)  # a call outside jit would otherwise be traced each time


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _keeping(plan: Plan, arrays: Any, fixed: Any) -> Any:
    """y, h, c, every c, and what is kept for the way back. What is kept has no tangent: who reads it derives anew."""
    return tuple(plan.engine.forward(plan, _given(plan, arrays, fixed), True))


@_keeping.defjvp
def _keeping_jvp(plan: Plan, primals: Any, tangents: Any) -> Any:
    arrays, fixed = primals
    found = _keeping(plan, arrays, fixed)
    slopes = _tangent.bind(*arrays, *fixed, *found, *tangents[0], plan=plan)
    return found, (*slopes, *(jnp.zeros_like(kept) for kept in found[4:]))


def _given(plan: Plan, arrays: Any, fixed: Any) -> dict[str, Array]:
    return dict(zip((*plan.arrays, *plan.fixed), (*arrays, *fixed), strict=True))


# The tangent, and its transpose.


def _parts(plan: Plan, args: Any) -> tuple[Any, Any, Any, Any]:
    """The arguments of `tangent`: arrays, fixed, what _keeping returned, tangents of the arrays."""
    args, count, fixed = tuple(args), len(plan.arrays), len(plan.fixed)
    return args[:count], args[count : count + fixed], args[count + fixed : -count], args[-count:]


def composed(plan: Plan, arrays: Any, fixed: Any) -> Any:
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


def _tangent_of_equations(plan: Plan, *args: Any) -> Any:
    arrays, fixed, _, tangents = _parts(plan, args)
    return jax.jvp(lambda *a: composed(plan, a, fixed), tuple(arrays), tuple(tangents))[1]


def _tangent_jvp(primals: Any, tangents: Any, *, plan: Plan) -> Any:
    arrays, fixed, kept, linear = _parts(plan, primals)
    of_arrays, _, _, of_linear = _parts(plan, [ad.instantiate_zeros(t) for t in tangents])

    def slope(arrays: Any, linear: Any) -> Any:
        return _tangent_of_equations(plan, *arrays, *fixed, *kept, *linear)

    _, found = jax.jvp(slope, (arrays, linear), (of_arrays, of_linear))
    return _tangent.bind(*primals, plan=plan), found


def _tangent_transpose(cotangents: Any, *args: Any, plan: Plan) -> Any:
    arrays, fixed, kept, linear = _parts(plan, args)
    needs = tuple(ad.is_undefined_primal(one) for one in linear)
    there = tuple(type(ct) is not ad.Zero for ct in cotangents)
    given = tuple(ct for ct, one in zip(cotangents, there, strict=True) if one)
    found = iter(_back(plan, needs, there, tuple(arrays), tuple(fixed), tuple(kept), given))
    known = len(args) - len(linear)
    return [None] * known + [next(found) if need else None for need in needs]


def _tangent_batched(args: Any, dims: Any, *, plan: Plan) -> Any:
    found = jax.vmap(functools.partial(_tangent_of_equations, plan), in_axes=tuple(dims))(*args)
    return found, (0,) * len(found)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _back(plan: Plan, needs: Any, there: Any, arrays: Any, fixed: Any, kept: Any, cotangents: Any) -> Any:
    """The gradients of those arrays that need one. there: which of y, h, c, every c have a cotangent."""
    given = _given(plan, arrays, fixed)
    names = [name for name, one in zip(job.GRADIENTS_IN, there, strict=True) if one]
    of_results = dict(zip(names, alike([given["x"], *cotangents])[1:], strict=True))
    wanted = [name for name, need in zip(plan.arrays, needs, strict=True) if need]
    return tuple(plan.engine.backward(plan, given, kept, of_results, wanted)) if wanted else ()


@_back.defjvp
def _back_jvp(plan: Plan, needs: Any, there: Any, primals: Any, tangents: Any) -> Any:
    arrays, fixed, kept, cotangents = primals
    of_arrays, _, _, of_cotangents = tangents

    def pull(arrays: Any, cotangents: Any) -> Any:
        results, back = jax.vjp(lambda *a: composed(plan, a, fixed), *arrays)
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
