"""The cells written out once more, as cells of one's own, with a method wherever a mutant differs.

The loops around them, over layers, directions and steps, are the sound ones. NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm import cells
from unilstm.weights import Weights

from .faulty import CELL, FaultyLayer

Array = np.ndarray
Gate = tuple[int, str]  # lane, letter


class Written(FaultyLayer):
    """A layer whose cell is `equations`, in place of the project's cell of that name."""

    replaces = "lstm"

    def build(self, weights: Weights) -> Any:
        spec = weights.spec
        if spec.cell != self.replaces or spec.recurrent_dropout_kind != "state":  # those masks are the project's cell's
            return super().build(weights)
        return super().build(Weights(spec.replace(cell=self.registered()), dict(weights)))

    def registered(self) -> str:
        """The name of this class's cell, which is registered when it is first asked for."""
        name, sound = f"{CELL}{type(self).__name__}", cells.get(self.replaces)
        if name not in cells.names():
            hooks = object.__new__(type(self))  # the equations keep nothing between calls
            cells.register(
                cells.Cell(
                    name,
                    step=hooks.equations,
                    parameters=lambda spec, inputs: {
                        a.role: a.shape for a in sound.arrays(spec.replace(cell=self.replaces), inputs)
                    },
                    fields=sound.fields - cells.LOOP_FIELDS,
                    slots=lambda spec: spec.replace(cell=self.replaces).slots,
                    reads_h=sound.reads_h,
                )
            )
        return name

    def equations(self, ops: Any, spec: Any, p: dict[str, Array], x: Array, state: Any) -> tuple[Array, Array]:
        """One step: x [B, I], h [B, P], c [B, slots·H]."""
        raise NotImplementedError


class WrittenLSTM(Written):
    """The LSTM and its variants, sound."""

    def equations(self, ops: Any, spec: Any, p: dict[str, Array], x: Array, state: Any) -> tuple[Array, Array]:
        h, c = state
        groups = self.groups(spec)
        sizes = [spec.num_blocks or spec.hidden_size if g in "ifo" else spec.hidden_size for _, g in groups]
        z = self.preactivations(spec, p, x, h, sizes)
        parts = dict(zip(groups, np.split(z, np.cumsum(sizes)[:-1], axis=1), strict=True))
        old = np.split(c, spec.slots, axis=1)
        remembered = [g for g in "ifo" if (0, g) in parts] if spec.gate_recurrence else []
        if remembered:
            sent = np.split(np.concatenate(old[1:], axis=1) @ self.gate_weights(p).T, len(remembered), axis=1)
            parts |= {(0, g): parts[0, g] + part for g, part in zip(remembered, sent, strict=True)}
        shares = self.shares(spec, p, x)
        made = [self.lane(ops, spec, p, n, parts, old[n], shares[n]) for n in range(spec.lanes)]
        gates, cs, ms = zip(*made, strict=True)
        m = self.pooled(spec, ms, [g.get("o") for g in gates], cs)
        if spec.highway:
            u = x @ p["weight_xh"].T + p.get("bias_xh", 0)
            m = self.highway(self.activated(ops, spec, parts[0, "r"]), m, u)
        return self.projected(spec, p, m), np.concatenate([*cs, *(gates[0][g] for g in remembered)], axis=1)

    def groups(self, spec: Any) -> list[Gate]:
        """The groups of rows, in their order."""
        names = {"i": "input", "f": "forget", "o": "output"}
        letters = [g for g in "ifgo" if g == "g" or names[g] in spec.gates]
        letters = [g for g in letters if not (g == "f" and spec.coupled_gates)]
        return [(lane, g) for lane in range(spec.lanes) for g in letters] + [(0, "r")] * spec.highway

    def preactivations(self, spec: Any, p: dict[str, Array], x: Array, h: Array, sizes: list[int]) -> Array:
        zx, zh = x @ p["weight_ih"].T, h @ p["weight_hh"].T
        biases = p.get("bias", 0) + p.get("bias_ih", 0) + p.get("bias_hh", 0)
        if spec.layer_norm == "none":
            return zx + zh + biases
        if spec.layer_norm == "per-gate":
            split = np.split(zx + zh, np.cumsum(sizes)[:-1], axis=1)
            return p["gamma"] * np.concatenate([self.norm(spec, v) for v in split], axis=1) + biases
        return p["gamma_ih"] * self.norm(spec, zx) + p["gamma_hh"] * self.norm(spec, zh) + biases

    def norm(self, spec: Any, v: Array) -> Array:
        d = v - v.mean(1, keepdims=True)
        return d / np.sqrt((d * d).mean(1, keepdims=True) + v.dtype.type(spec.layer_norm_eps))

    def gate_weights(self, p: dict[str, Array]) -> Array:
        """Rows: the gates that receive; columns: those that send."""
        return p["weight_gg"]

    def shares(self, spec: Any, p: dict[str, Array], x: Array) -> list[Any]:
        """Each lane's part of the attention; None where there is none."""
        if not spec.lane_pooling.startswith("attention"):
            return [None] * spec.lanes
        a = 1 / (1 + np.exp(-(x @ p["weight_xa"].T + p.get("bias_xa", 0))))
        e = np.exp(np.stack(np.split(a, spec.lanes, axis=1)))
        s = e / e.sum(0)
        return [s.max(0)] * spec.lanes if spec.lane_pooling == "attention-max" else list(s)

    def lane(self, ops: Any, spec: Any, p: Any, n: int, z: dict[Gate, Array], c: Array, share: Any) -> Any:
        """One lane's gates, stored c, and m."""
        gates: dict[str, Array] = {}

        def gate(letter: str, seen: Array) -> Any:
            if (n, letter) not in z:
                return self.coupled(gates["i"]) if letter == "f" and spec.coupled_gates else self.absent()
            a = self.peeped(spec, p, (n, letter), z, seen)
            gates[letter] = self.shared(spec, self.activated(ops, spec, a))
            return gates[letter] if share is None else gates[letter] * share

        i, f = gate("i", c), gate("f", c)
        g = spec.cell_activation(ops, self.clipped(spec, z[n, "g"]))
        unclipped = self.kept(f, share) * c + i * g
        new = self.clip_cell(spec, unclipped)
        shown = new
        if spec.layer_norm != "none":
            units = slice(n * spec.hidden_size, (n + 1) * spec.hidden_size)
            shown = p["gamma_c"][units] * self.norm(spec, new) + (p["beta_c"][units] if "beta_c" in p else 0)
        stored = self.stored(spec, new, shown)
        o = gate("o", self.seen_by_output(c, unclipped, stored))
        return gates, stored, o * spec.output_activation(ops, shown)

    def peeped(self, spec: Any, p: Any, gate: Gate, z: dict[Gate, Array], c: Array) -> Array:
        """The pre-activation with its peephole."""
        if not spec.peephole:
            return z[gate]
        order = [g for g in self.groups(spec) if g[1] in "ifo"]
        v = np.split(p["weight_ch"], len(order))[order.index(gate)] * c
        return z[gate] + (self.of_block(spec, v) if spec.num_blocks else v)

    def of_block(self, spec: Any, v: Array) -> Array:
        return v.reshape(len(v), spec.num_blocks, -1).sum(2)

    def shared(self, spec: Any, gate: Array) -> Array:
        """A block's gate, for each of its units."""
        return np.repeat(gate, spec.hidden_size // spec.num_blocks, axis=1) if spec.num_blocks else gate

    def activated(self, ops: Any, spec: Any, a: Array) -> Array:
        return spec.gate_activation(ops, self.clipped(spec, a))

    def clipped(self, spec: Any, a: Array) -> Array:
        return np.clip(a, -spec.gate_clip, spec.gate_clip) if spec.gate_clip else a

    def coupled(self, i: Array) -> Array:
        return 1 - i

    def absent(self) -> float:
        return 1.0

    def kept(self, f: Array, share: Any) -> Array:
        return f if share is None else 1 - f

    def clip_cell(self, spec: Any, c: Array) -> Array:
        return np.clip(c, -spec.cell_clip, spec.cell_clip) if spec.cell_clip else c

    def stored(self, spec: Any, raw: Array, normed: Array) -> Array:
        return raw if spec.layer_norm == "joint" else normed

    def seen_by_output(self, old: Array, unclipped: Array, stored: Array) -> Array:
        return stored

    def pooled(self, spec: Any, ms: Any, os: Any, cs: Any) -> Array:
        if spec.lane_pooling != "argmax":
            return sum(ms[1:], ms[0])
        wins = np.argmax(np.stack(os), axis=0)
        return np.take_along_axis(np.stack(ms), wins[None], axis=0)[0]

    def highway(self, r: Array, m: Array, u: Array) -> Array:
        return r * m + (1 - r) * u

    def projected(self, spec: Any, p: dict[str, Array], m: Array) -> Array:
        h = m @ p["weight_hr"].T if spec.proj_size else m
        return np.clip(h, -spec.proj_clip, spec.proj_clip) if spec.proj_clip else h
