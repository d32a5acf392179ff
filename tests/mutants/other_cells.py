"""Faults in the sLSTM and the minLSTM."""

from __future__ import annotations

from typing import Any

import numpy as np

from .faulty import mutant
from .written import Array, Written


class WrittenSLSTM(Written):
    """The sLSTM, sound."""

    replaces = "slstm"

    def equations(self, ops: Any, spec: Any, p: dict[str, Array], x: Array, state: Any) -> tuple[Array, Array]:
        h, (c, n, m) = state[0], np.split(state[1], 3, axis=1)
        z = x @ p["weight_ih"].T + self.recurrent(spec, p["weight_hh"], h)
        z_i, z_f, z_g, z_o = np.split(z + p.get("bias", 0) + p.get("bias_ih", 0) + p.get("bias_hh", 0), 4, axis=1)
        forgot = (z_f if spec.exponential_forget else -np.logaddexp(0, -z_f).astype(z_f.dtype)) + m
        fresh = self.fresh(n)
        new_m = np.where(fresh, z_i, np.maximum(forgot, z_i))
        i, f = np.exp(z_i - new_m), np.where(fresh, z_i.dtype.type(0), self.kept(forgot, m, new_m))
        c, n = f * c + i * np.tanh(z_g), f * n + i
        return ops.sigmoid(z_o) * self.normalised(c, n), np.concatenate([c, n, new_m], axis=1)

    def recurrent(self, spec: Any, weights: Array, h: Array) -> Array:
        """Head by head: rows [gate, head, unit], each head's rows on its own part of h."""
        size = spec.hidden_size // spec.num_heads
        by_head = weights.reshape(4, spec.num_heads, size, size)
        return np.einsum("gkus,bks->bgku", by_head, h.reshape(len(h), spec.num_heads, size)).reshape(len(h), -1)

    def fresh(self, n: Array) -> Array:
        return n == 0

    def kept(self, forgot: Array, m: Array, new_m: Array) -> Array:
        """f, on the scale of the new stabiliser."""
        return np.exp(np.minimum(forgot - new_m, 0))

    def normalised(self, c: Array, n: Array) -> Array:
        return c / n


@mutant("outputs", "slstm-L1 or slstm-heads")
class StabiliserNotExchanged(WrittenSLSTM):
    """The old c and n stay on the scale of the old stabiliser: f lacks exp(m - m')."""

    def kept(self, forgot: Array, m: Array, new_m: Array) -> Array:
        return np.exp(forgot - m)


@mutant("outputs", "slstm-L1 or slstm-heads")
class NormaliserForgotten(WrittenSLSTM):
    """h is o·c, without the normaliser."""

    def normalised(self, c: Array, n: Array) -> Array:
        return c


@mutant("outputs", "slstm-L1 or slstm-heads")
class NormaliserAtLeastOne(WrittenSLSTM):
    """h is o·c / max(n, 1), as in the mLSTM of the same paper."""

    def normalised(self, c: Array, n: Array) -> Array:
        return c / np.maximum(n, 1)


@mutant("final_state", "slstm-masks")
class FreshStateKeepsZero(WrittenSLSTM):
    """A state that has seen nothing enters the maximum with its stabiliser of 0."""

    def fresh(self, n: Array) -> Array:
        return np.zeros_like(n, dtype=bool)


@mutant("outputs", "slstm-heads or slstm-learned")
class HeadsMixed(WrittenSLSTM):
    """Each head reads the h of the next one."""

    def recurrent(self, spec: Any, weights: Array, h: Array) -> Array:
        return super().recurrent(spec, weights, np.roll(h, -(spec.hidden_size // spec.num_heads), axis=1))


@mutant("outputs", "slstm-heads or slstm-learned")
class HeadsOutsideGates(WrittenSLSTM):
    """The rows of weight_hh are taken head by head with four gates in each, as FlashRNN stores them."""

    def recurrent(self, spec: Any, weights: Array, h: Array) -> Array:
        size = spec.hidden_size // spec.num_heads
        rows = weights.reshape(spec.num_heads, 4, size, size).swapaxes(0, 1).reshape(weights.shape)
        return super().recurrent(spec, rows, h)


@mutant("outputs", "slstm-heads")
class ExponentialForgetIgnored(WrittenSLSTM):
    """exponential_forget is taken and ignored."""

    def equations(self, ops: Any, spec: Any, *args: Any) -> tuple[Array, Array]:
        return super().equations(ops, spec.replace(exponential_forget=False), *args)


class WrittenMinLSTM(Written):
    """The minLSTM, sound."""

    replaces = "minlstm"

    def equations(self, ops: Any, spec: Any, p: dict[str, Array], x: Array, state: Any) -> tuple[Array, Array]:
        z = x @ p["weight_ih"].T + p.get("bias", 0) + p.get("bias_ih", 0) + p.get("bias_hh", 0)
        z_i, z_f, z_g = np.split(z, 3, axis=1)
        i, f = self.gates(ops.sigmoid(z_i), ops.sigmoid(z_f))
        h = f * self.old(state) + i * spec.cell_activation(ops, z_g)
        return h, h

    def gates(self, i: Array, f: Array) -> tuple[Array, Array]:
        return i / (f + i), f / (f + i)

    def old(self, state: Any) -> Array:
        return state[1]


@mutant("outputs", "minlstm-L1 or minlstm-residual")
class MinLSTMUnnormalised(WrittenMinLSTM):
    """The gates do not add up to 1."""

    def gates(self, i: Array, f: Array) -> tuple[Array, Array]:
        return i, f


@mutant("outputs", "minlstm-L1 or minlstm-residual")
class MinLSTMReadsHidden(WrittenMinLSTM):
    """What is kept is the old h instead of the old c: the same, but for an initial state."""

    def old(self, state: Any) -> Array:
        return state[0]


@mutant("outputs", "minlstm-L1 or minlstm-residual")
class MinLSTMGatesSwapped(WrittenMinLSTM):
    """The forget gate's share is the input gate's."""

    def gates(self, i: Array, f: Array) -> tuple[Array, Array]:
        return super().gates(f, i)
