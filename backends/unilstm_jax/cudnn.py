"""cuDNN's LSTM, which JAX calls as jax.experimental.rnn.lstm, for the standard LSTM on an NVIDIA GPU.

One direction at a time. What cuDNN is not trusted with is done around it by ordinary operations: a right-to-left
direction runs over its reversed input; an empty row takes one step of zeros, which is taken back. Of JAX's binding
(jaxlib 0.10, jaxlib/gpu/rnn_kernels.cc) it is known that it computes in float32 whatever it is given, always with both
biases, and with lengths in padded batches. With Precision.HIGHEST it does not use TF32.

A function compiled for another platform, or a layer put on the CPU beside a GPU, computes the equations instead.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jax.experimental import rnn

from unilstm.run import DirectionResult, LayerCall
from unilstm.spec import LSTMSpec
from unilstm_kernels import job

from . import derivatives
from .derivatives import Plan
from .ops import OPS

Array = Any
_PLATFORM = "cuda"
_WEIGHTS = ("weight_ih", "weight_hh", "bias", "bias_hh")


def missing() -> str | None:
    """Why there is no cuDNN for JAX here, or None."""
    if jax.default_backend() != "gpu":
        return f"cuDNN runs on an NVIDIA GPU, not on {jax.default_backend()}"
    if "cuda" not in jax.devices()[0].client.platform_version:
        return "only cuDNN is proven equal: ROCm's LSTM takes its gates in another order"
    if not hasattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes"):
        return "this jaxlib has no binding to cuDNN's LSTM (jax[cuda13] or jax[cuda12] brings it)"
    return None


def refusal(spec: LSTMSpec, call: LayerCall | None) -> str | None:
    """Why cuDNN cannot serve this layer, or None."""
    reason = missing()
    if reason is not None:
        return reason
    if spec.beyond_standard:
        return f"cuDNN has no {', '.join(spec.beyond_standard)} of this kind"
    if spec.proj_size:
        return "jax.experimental.rnn.lstm has no projection"
    return None if call is None else _refusal_of_call(call)


def _refusal_of_call(call: LayerCall) -> str | None:
    if call.masks is not None:
        return "cuDNN has no recurrent dropout, nor one mask on x for all steps"
    if call.cells:
        return "cuDNN does not return c of every step"
    if call.x.dtype != jnp.float32:
        return f"jax.experimental.rnn.lstm computes in float32 alone, not in {call.x.dtype}"
    if not all(isinstance(size, int) for size in call.x.shape):
        return "a size is symbolic, as in jax.export"
    if any(map(derivatives.varying, call.tensors())):
        return "jax.experimental.rnn.lstm does not say how its results vary inside shard_map"
    return None


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    directions = zip(spec.reversed_directions(layer), call.states, call.p, strict=True)
    x = call.without_padding(OPS)
    return [_direction(spec, call, x, *direction) for direction in directions]


def _direction(spec: LSTMSpec, call: LayerCall, x: Array, reverse: bool, state: Any, p: Any) -> DirectionResult:
    steps, rows, _ = x.shape
    lengths = jnp.full(rows, steps, jnp.int32) if call.lengths is None else call.lengths.astype(jnp.int32)
    arrays = {"x": _reversed(x, call.lengths) if reverse else x, "h_0": state[0], "c_0": state[1], **job.given(p)}
    plan = Plan(_ENGINE, spec, (False,), False, tuple(arrays), ("lengths",))
    given = tuple(jnp.asarray(a) for a in arrays.values())
    y, h, c = derivatives.run(plan, given, (jnp.maximum(lengths, 1),))
    if call.lengths is not None:
        some = (lengths > 0)[:, None]
        y, h, c = jnp.where(some, y, 0), jnp.where(some, h, state[0]), jnp.where(some, c, state[1])
    return DirectionResult(_reversed(y, call.lengths) if reverse else y, h, c)


def _reversed(x: Array, lengths: Array | None) -> Array:
    """[T, B, F] with each row's valid steps in reverse order, and the rest where it was."""
    if lengths is None:
        return jnp.flip(x, 0)
    t = jnp.arange(x.shape[0])[:, None]
    return jnp.take_along_axis(x, jnp.where(t < lengths, lengths - 1 - t, t)[:, :, None], 0)


def packed(given: dict[str, Array], hidden: int) -> Array:
    """The vector that cuDNN takes: weight_ih, weight_hh, bias_ih, bias_hh, each i f g o. A bias that is not there is an
    exact zero."""
    zero = jnp.zeros(4 * hidden, given["x"].dtype)
    return jnp.concatenate([given.get(name, zero).reshape(-1) for name in _WEIGHTS])


def _unpacked(flat: Array, inputs: int, hidden: int) -> dict[str, Array]:
    shapes = [(4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    found, start = {}, 0
    for name, shape in zip(_WEIGHTS, shapes, strict=True):
        size = shape[0] * (shape[1] if len(shape) == 2 else 1)
        found[name] = flat[start : start + size].reshape(shape)
        start += size
    return found


def _settings(plan: Plan, given: dict[str, Array]) -> dict[str, Any]:
    sizes = {"input_size": given["x"].shape[2], "hidden_size": plan.spec.hidden_size, "num_layers": 1}
    return {**sizes, "dropout": 0.0, "bidirectional": False, "precision": jax.lax.Precision.HIGHEST}


def _with_cudnn(plan: Plan, *arrays: Array) -> Any:
    """y [T, B, H], h, c, and cuDNN's reserve for the way back."""
    given = dict(zip((*plan.arrays, *plan.fixed), arrays, strict=True))
    flat, x = packed(given, plan.spec.hidden_size), given["x"].swapaxes(0, 1)
    states = given["h_0"][None], given["c_0"][None]
    (y, h, c), kept = rnn.lstm_fwd(x, *states, flat, given["lengths"], **_settings(plan, given))
    return y.swapaxes(0, 1), h[0], c[0], kept[-1]


def _with_equations(plan: Plan, reserve: Any, *arrays: Array) -> Any:
    count = len(plan.arrays)
    y, h, c, _ = derivatives.composed(plan, arrays[:count], arrays[count:])
    return y, h, c, jnp.zeros(reserve.shape, reserve.dtype)


def _forward(plan: Plan, givens: list[dict[str, Array]], keep: bool) -> list[Array]:
    (given,) = givens

    @sequential_vmap  # neither the call nor a choice of platforms has a rule of its own
    def call(*arrays: Array) -> Any:
        reserve = jax.eval_shape(functools.partial(_with_cudnn, plan), *arrays)[3]
        branches = {_PLATFORM: functools.partial(_with_cudnn, plan)}
        return jax.lax.platform_dependent(
            *arrays, default=functools.partial(_with_equations, plan, reserve), **branches
        )

    y, h, c, reserve = call(*(given[name] for name in (*plan.arrays, *plan.fixed)))
    return [y, h, c, jnp.zeros_like(y), reserve] if keep else [y, h, c]  # cuDNN keeps c of every step to itself


def _backward(plan: Plan, givens: list[dict[str, Array]], kept: Any, into: Any, wanted: Any) -> list[Array]:
    (given,), (y, h, c, _, reserve), (cotangents,), (some,) = givens, kept, into, wanted
    names = (*plan.arrays, *plan.fixed)
    zeros = {"d_y": y, "d_h_n": h, "d_c_n": c}
    of_results = [cotangents.get(name, jnp.zeros_like(like)) for name, like in zeros.items()]

    @sequential_vmap
    def call(*arrays: Array) -> Any:
        branches = {_PLATFORM: functools.partial(_back_with_cudnn, plan)}
        return jax.lax.platform_dependent(*arrays, default=functools.partial(_back_with_equations, plan), **branches)

    found = dict(zip(plan.arrays, call(y, reserve, *of_results, *(given[name] for name in names)), strict=True))
    return [found[name] for name in some]


def _back_with_cudnn(plan: Plan, y: Array, reserve: Array, dy: Array, dh: Array, dc: Array, *arrays: Array) -> Any:
    given = dict(zip((*plan.arrays, *plan.fixed), arrays, strict=True))
    flat, x = packed(given, plan.spec.hidden_size), given["x"].swapaxes(0, 1)
    kept = x, given["h_0"][None], given["c_0"][None], flat, given["lengths"], y.swapaxes(0, 1), reserve
    into = dy.swapaxes(0, 1), dh[None], dc[None]
    dx, dh_0, dc_0, of_weights, _ = rnn.lstm_bwd(*_settings(plan, given).values(), kept, into)
    found = {"x": dx.swapaxes(0, 1), "h_0": dh_0[0], "c_0": dc_0[0]}
    found |= _unpacked(of_weights, x.shape[2], plan.spec.hidden_size)
    return tuple(found[name] for name in plan.arrays)


def _back_with_equations(plan: Plan, y: Array, reserve: Array, dy: Array, dh: Array, dc: Array, *arrays: Array) -> Any:
    count = len(plan.arrays)
    _, pull = jax.vjp(lambda *given: derivatives.composed(plan, given, arrays[count:])[:3], *arrays[:count])
    return pull((dy, dh, dc))


_ENGINE = derivatives.Engine(_forward, _backward)
