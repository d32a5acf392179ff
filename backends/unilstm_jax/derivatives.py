"""The derivatives of a layer that is computed by something foreign: the kernel's XLA call, or cuDNN's.

Reverse mode is what the engine computes; every other derivative comes from the composed equations. The rule of a
layer is a forward one (custom_jvp) whose tangents go through a primitive, `tangent`: evaluated, differentiated or
batched, it is the composed equations' tangent; transposed, it is the engine's way back. So jvp, vmap and higher
derivatives stay, which a custom_vjp would have lost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
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
    """What it is given is a list of the layer's directions, arrays by the names of job.ARRAYS; what it returns is flat.

    forward(plan, givens, keep): y [T, B, D·S]; of each direction h [B, S], c [B, C]; then, where wanted or kept, every
    c [T, B, C]; then what else is kept. backward(plan, givens, kept, cotangents, wanted): the gradients of the wanted
    ones of what was given, in their order, from what forward returned and the cotangents that there are, as
    job.GRADIENTS_IN names them; that of y is the first direction's. Of a stack y is the last layer's, and so is the
    cotangent.
    """

    forward: Callable[..., list[Array]]
    backward: Callable[..., list[Array]]


@dataclass(frozen=True)
class Plan:
    """What is static of a layer. reverse: of each direction. arrays, fixed: the names of what a direction is given that
    has a gradient, and has none. Arrays are flat where JAX sees them, one direction's after the other's. stacked: of
    layers one upon the other; all but the first are given no x, the first of the arrays."""

    engine: Engine
    spec: LSTMSpec
    reverse: tuple[bool, ...]
    cells: bool
    arrays: tuple[str, ...]
    fixed: tuple[str, ...]
    stacked: bool = False

    def names(self) -> list[tuple[str, ...]]:
        """Of the arrays of each direction."""
        return [self.arrays[1:] if self.stacked and n else self.arrays for n in range(len(self.reverse))]

    def by_name(self, arrays: Sequence[Any]) -> list[dict[str, Any]]:
        """The arrays, or what there is of each of them, of each direction."""
        every = iter(arrays)
        return [{name: next(every) for name in names} for names in self.names()]

    def parts(self, every: Sequence[Any]) -> list[Sequence[Any]]:
        """Those of each direction, who have as many."""
        count = len(every) // len(self.reverse)
        return [every[n * count : (n + 1) * count] for n in range(len(self.reverse))]

    def givens(self, arrays: Sequence[Array], fixed: Sequence[Array]) -> list[dict[str, Array]]:
        both = zip(self.by_name(arrays), self.parts(fixed), strict=True)
        return [{**one, **dict(zip(self.fixed, more, strict=True))} for one, more in both]


def varying(array: Array) -> frozenset[str]:
    """Inside shard_map: the mesh axes over which an array varies."""
    kind = jax.typeof(array)
    if hasattr(kind, "manual_axis_type"):
        return kind.manual_axis_type.varying  # type: ignore[no-any-return]
    return getattr(kind, "vma", frozenset())  # before jax 0.10


def alike(arrays: list[Array]) -> list[Array]:
    """Inside shard_map: all of them varying over the mesh axes that any of them varies over, as one call needs."""
    over = frozenset[str]().union(*map(varying, arrays))
    if not over:
        return arrays
    return [jax.lax.pcast(a, tuple(over - varying(a)), to="varying") for a in arrays]


def varies_as(array: Array) -> dict[str, Any]:
    """For jax.ShapeDtypeStruct: that a result varies over the mesh axes that this array varies over."""
    kind = jax.typeof(array)
    if not varying(array):
        return {}
    if not hasattr(kind, "manual_axis_type"):
        return {"vma": kind.vma}
    here = jax.sharding.NamedSharding(kind.sharding.mesh, jax.sharding.PartitionSpec())
    return {"manual_axis_type": kind.manual_axis_type, "sharding": here}


def _first(plan: Plan, found: Any, count: int) -> tuple[Any, ...]:
    """y, and the first ones of each direction."""
    y, *rest = found
    return (y, *(one for part in plan.parts(rest) for one in part[:count]))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _layer(plan: Plan, arrays: Any, fixed: Any) -> Any:
    """y, and of each direction h, c[, every c]."""
    return tuple(plan.engine.forward(plan, plan.givens(arrays, fixed), False))


@_layer.defjvp
def _layer_jvp(plan: Plan, primals: Any, tangents: Any) -> Any:
    found, slopes = _keeping_jvp(plan, primals, tangents)
    return _first(plan, found, 3 if plan.cells else 2), _first(plan, slopes, 3 if plan.cells else 2)


run = jax.jit(_layer, static_argnums=0)  # a call outside jit would otherwise be traced each time


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _keeping(plan: Plan, arrays: Any, fixed: Any) -> Any:
    """y, and of each direction h, c, every c, and what is kept for the way back. What is kept has no tangent: who reads
    it derives anew."""
    return tuple(plan.engine.forward(plan, plan.givens(arrays, fixed), True))


@_keeping.defjvp
def _keeping_jvp(plan: Plan, primals: Any, tangents: Any) -> Any:
    arrays, fixed = primals
    found = _keeping(plan, arrays, fixed)
    y, *slopes = _tangent.bind(*arrays, *fixed, *found, *tangents[0], plan=plan)
    of_rest = []
    for slope, one in zip(plan.parts(slopes), plan.parts(found[1:]), strict=True):
        of_rest += [*slope, *(jnp.zeros_like(kept) for kept in one[3:])]
    return found, (y, *of_rest)


# The tangent, and its transpose.


def _arguments(plan: Plan, args: Any) -> tuple[Any, Any, Any, Any]:
    """Those of `tangent`: arrays, fixed, what _keeping returned, tangents of the arrays."""
    args, count, fixed = tuple(args), sum(map(len, plan.names())), len(plan.reverse) * len(plan.fixed)
    return args[:count], args[count : count + fixed], args[count + fixed : -count], args[-count:]


def composed(plan: Plan, arrays: Any, fixed: Any) -> Any:
    """y, and of each direction h, c, every c by the equations."""
    ys: list[Array] = []
    others: list[Array] = []
    for reverse, given in zip(plan.reverse, plan.givens(arrays, fixed), strict=True):
        y, *rest = _composed(plan, reverse, given if "x" in given else {"x": ys[-1], **given})
        ys.append(y)
        others += rest
    return (ys[-1] if plan.stacked else OPS.concat(ys)), *others


def _composed(plan: Plan, reverse: bool, given: dict[str, Array]) -> Any:
    p, masks, lengths = job.parameters(plan.spec, given), job.masks(given), given.get("lengths")
    x, state = given["x"], (given["h_0"], given["c_0"])
    if not lstm.elementwise(plan.spec) or (masks and plan.spec.recurrent_dropout_kind != "state"):
        call = LayerCall(x, [state], [p], lengths, cells=True)
        r = scan_direction(OPS, plan.spec, call, reverse, state, p, masks)
        return r.y, r.h, r.c, r.cells
    valid = None if lengths is None else OPS.valid(x.shape[0], lengths, x)
    x = x if valid is None else jnp.where(valid, x, 0)
    h_all, c_all, h, c = recurrence(plan.spec, reverse, (x, *state, p), valid, masks.get("recurrent"))
    if valid is None:
        return h_all, h, c, c_all
    return jnp.where(valid, h_all, 0), h, c, jnp.where(valid, c_all, 0)


def _tangent_of_equations(plan: Plan, *args: Any) -> Any:
    arrays, fixed, _, tangents = _arguments(plan, args)
    return jax.jvp(lambda *a: composed(plan, a, fixed), tuple(arrays), tuple(tangents))[1]


def _tangent_jvp(primals: Any, tangents: Any, *, plan: Plan) -> Any:
    arrays, fixed, kept, linear = _arguments(plan, primals)
    of_arrays, _, _, of_linear = _arguments(plan, [ad.instantiate_zeros(t) for t in tangents])

    def slope(arrays: Any, linear: Any) -> Any:
        return _tangent_of_equations(plan, *arrays, *fixed, *kept, *linear)

    _, found = jax.jvp(slope, (arrays, linear), (of_arrays, of_linear))
    return _tangent.bind(*primals, plan=plan), found


def _tangent_transpose(cotangents: Any, *args: Any, plan: Plan) -> Any:
    arrays, fixed, kept, linear = _arguments(plan, args)
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
    """The gradients of those arrays that need one. there: which of y, and of each direction's h, c, every c have a
    cotangent."""
    if not any(needs):
        return ()
    given = iter(alike([arrays[0], *cotangents])[1:])
    of_y, *of_rest = job.GRADIENTS_IN
    first = {of_y: next(given)} if there[0] else {}
    of_results = [
        {name: next(given) for name, one in zip(of_rest, part, strict=True) if one} for part in plan.parts(there[1:])
    ]
    of_results[-1 if plan.stacked else 0] |= first
    wanted = [[name for name, need in of.items() if need] for of in plan.by_name(needs)]
    return tuple(plan.engine.backward(plan, plan.givens(arrays, fixed), kept, of_results, wanted))


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
_tangent.def_abstract_eval(lambda *avals, plan: list(_first(plan, _arguments(plan, avals)[2], 3)))
_compiled_tangent = jax.jit(_tangent_of_equations, static_argnums=0)
ad.primitive_jvps[_tangent] = _tangent_jvp
ad.primitive_transposes[_tangent] = _tangent_transpose
batching.primitive_batchers[_tangent] = _tangent_batched
mlir.register_lowering(
    _tangent, mlir.lower_fun(lambda *args, plan: _tangent_of_equations(plan, *args), multiple_results=True)
)
