"""unilstm.ops.Ops in JAX."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unilstm.calls import whole_numbers
from unilstm.errors import InputError
from unilstm.masks import INTEGERS, split_key

Array = Any


@functools.partial(jax.jit, static_argnums=2)  # outside jit it would run operation by operation
def _composed_pairs(a: Any, b: Any, reverse: bool) -> Any:
    def after(first: Any, second: Any) -> Any:
        return first[0] * second[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(after, (a, b), reverse=reverse)


class JaxWords:
    """32-bit words in uint32, which wraps by itself and needs no x64 mode."""

    def counter(self, count: int) -> Array:
        return jnp.arange(count, dtype=jnp.uint32)

    def constant(self, value: int) -> Array:
        return jnp.uint32(value)


class JaxOps:
    words = JaxWords()

    sigmoid = staticmethod(jax.nn.sigmoid)
    tanh = staticmethod(jnp.tanh)
    exp = staticmethod(jnp.exp)
    expm1 = staticmethod(jnp.expm1)
    log1p = staticmethod(jnp.log1p)
    sqrt = staticmethod(jnp.sqrt)
    abs = staticmethod(jnp.abs)
    maximum = staticmethod(jnp.maximum)
    minimum = staticmethod(jnp.minimum)
    clip = staticmethod(jnp.clip)
    where = staticmethod(jnp.where)

    def linear(self, x: Array, weight: Array) -> Array:
        return x @ weight.T

    def sum(self, x: Array) -> Array:
        return jnp.sum(x, axis=-1, keepdims=True)

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return jnp.reshape(x, tuple(shape))

    def transpose(self, x: Array) -> Array:
        return jnp.swapaxes(x, 0, 1)

    def split(self, x: Array, count: int) -> Sequence[Array]:
        return jnp.split(x, count, axis=-1)

    def concat(self, parts: Sequence[Array]) -> Array:
        return jnp.concatenate(list(parts), axis=-1)

    def stack(self, parts: Sequence[Array]) -> Array:
        return jnp.stack(list(parts))

    def expand(self, x: Array, rows: int) -> Array:
        return jnp.broadcast_to(x, (rows, *x.shape))

    def full(self, value: float, like: Array) -> Array:
        return jnp.asarray(value, dtype=like.dtype)

    def zeros(self, shape: Sequence[int], like: Array) -> Array:
        # zeros_like, because inside shard_map a value's type says over which mesh axes it varies: a carry must keep it.
        return jnp.zeros_like(like, shape=tuple(shape))

    def valid(self, steps: int, lengths: Array, like: Array) -> Array:
        return (jnp.arange(steps)[:, None] < lengths[None, :])[:, :, None]

    def scan(self, body: Any, carry: Any, xs: Any, reverse: bool) -> tuple[Any, Any]:
        return jax.lax.scan(body, carry, xs, reverse=reverse)

    def associative(self, a: Array, b: Array, reverse: bool) -> tuple[Array, Array]:
        return _composed_pairs(a, b, reverse)  # type: ignore[no-any-return]

    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, (jax.Array, np.ndarray)) and not isinstance(x, np.ma.MaskedArray)

    def tensor_kind(self) -> str:
        return "jax.Array"

    def dtype(self, x: Array) -> str:
        return str(x.dtype)

    def lengths(self, lengths: Any, like: Array) -> tuple[Array, Any]:
        if not isinstance(lengths, jax.Array):
            known = whole_numbers(lengths)
            return jnp.asarray(known), known
        if lengths.dtype.kind not in "iu":
            raise InputError(f"lengths is {lengths.dtype}, but must hold whole numbers. Use lengths.astype('int32').")
        return lengths, None if isinstance(lengths, jax.core.Tracer) else np.asarray(lengths)

    def key(self, key: Any, like: Array) -> tuple[Any, Any]:
        if isinstance(key, INTEGERS):
            low, high = split_key(key)
            return jnp.uint32(low), jnp.uint32(high)
        if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            key = jax.random.key_data(key)
        words = jnp.asarray(key)
        if words.shape != (2,) or words.dtype.kind not in "iu":
            raise InputError(
                f"key={key!r} must be a whole number in [0, 2**64), two 32-bit words, or a jax.random.key (threefry)."
            )
        words = words.astype(jnp.uint32)
        return words[0], words[1]


OPS = JaxOps()
