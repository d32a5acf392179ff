"""Faults in the equations. The cell of unilstm.cells.lstm is replaced by a spoiled one while the layer runs."""

from __future__ import annotations

from typing import Any
from unittest import mock

from unilstm.cells import lstm
from unilstm.masks import Drawn
from unilstm_numpy.ops import OPS

from .faulty import FaultyLayer, mutant


class FaultyCell(FaultyLayer):
    """gates and output are those of unilstm.cells.lstm, with hooks where the mutants differ."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        with mock.patch.object(lstm, "gates", self.gates), mock.patch.object(lstm, "output", self.output):
            return self.inner(x, state, **named)

    def gates(self, ops: Any, spec: Any, peepholes: Any, z: Any, c: Any, u: Any = None) -> tuple[Any, Any]:
        part = dict(zip(spec.gate_names, ops.split(z, len(spec.gate_names)), strict=True))
        names = spec.peephole_names
        peep = dict(zip(names, ops.split(peepholes, len(names)), strict=True)) if names else {}

        def gate(name: str, seen: Any) -> Any:
            return spec.gate_activation(ops, self.clipped(ops, spec, part[name], peep.get(name, 0.0) * seen))

        i = gate("i", c) if "i" in part else self.absent()
        f = self.coupled(i) if spec.coupled_gates else gate("f", c) if "f" in part else self.absent()
        old, g = c, spec.cell_activation(ops, self.clipped(ops, spec, part["g"], 0.0 * c))
        c = f * c + i * g
        kept = self.clip_cell(ops, spec, c)
        o = gate("o", self.seen_by_output(old, c, kept)) if "o" in part else self.absent()
        m = o * spec.output_activation(ops, kept)
        return (m if u is None else self.highway(gate("r", c), m, u)), kept

    def absent(self) -> float:
        return 1.0

    def highway(self, r: Any, m: Any, u: Any) -> Any:
        return r * m + (1.0 - r) * u

    def clipped(self, ops: Any, spec: Any, z: Any, peephole: Any) -> Any:
        return ops.clip(z + peephole, -spec.gate_clip, spec.gate_clip) if spec.gate_clip else z + peephole

    def coupled(self, i: Any) -> Any:
        return 1.0 - i

    def clip_cell(self, ops: Any, spec: Any, c: Any) -> Any:
        return ops.clip(c, -spec.cell_clip, spec.cell_clip) if spec.cell_clip else c

    def seen_by_output(self, old: Any, new: Any, kept: Any) -> Any:
        return kept

    def output(self, ops: Any, spec: Any, p: Any, m: Any) -> Any:
        if not spec.proj_size:
            return m
        h = ops.linear(m, p["weight_hr"])
        return ops.clip(h, -spec.proj_clip, spec.proj_clip) if spec.proj_clip else h


@mutant("outputs", "peephole and L1-forward")
class OutputGateSeesOldCell(FaultyCell):
    """The output gate's peephole is on the c of the step before."""

    def seen_by_output(self, old: Any, new: Any, kept: Any) -> Any:
        return old


@mutant("outputs", "peephole-clipped")
class OutputGateSeesUnclippedCell(FaultyCell):
    """The output gate's peephole is on the new c before its clip."""

    def seen_by_output(self, old: Any, new: Any, kept: Any) -> Any:
        return new


@mutant("outputs", "peephole-clipped")
class PeepholeAfterGateClip(FaultyCell):
    """The gate's pre-activation is clipped before the peephole is added."""

    def clipped(self, ops: Any, spec: Any, z: Any, peephole: Any) -> Any:
        return (ops.clip(z, -spec.gate_clip, spec.gate_clip) if spec.gate_clip else z) + peephole


@mutant("outputs", "gate-clip")
class GateClipNotApplied(FaultyCell):
    """gate_clip is taken and ignored."""

    def clipped(self, ops: Any, spec: Any, z: Any, peephole: Any) -> Any:
        return z + peephole


@mutant("outputs", "cell-clip")
class CellClipNotApplied(FaultyCell):
    """cell_clip is taken and ignored."""

    def clip_cell(self, ops: Any, spec: Any, c: Any) -> Any:
        return c


@mutant("outputs", "coupled")
class CoupledTheWrongWay(FaultyCell):
    """f = i instead of f = 1 - i."""

    def coupled(self, i: Any) -> Any:
        return i


@mutant("outputs", "proj-clip")
class ProjectionClippedBefore(FaultyCell):
    """proj_clip acts on what is projected, not on the projection."""

    def output(self, ops: Any, spec: Any, p: Any, m: Any) -> Any:
        if spec.proj_clip:
            m = ops.clip(m, -spec.proj_clip, spec.proj_clip)
        return ops.linear(m, p["weight_hr"]) if spec.proj_size else m


@mutant("final_state", "cell-clip")
class StoredCellUnclipped(FaultyCell):
    """The clipped c reaches h only; the c that is carried on is the unclipped one."""

    def gates(self, ops: Any, spec: Any, peepholes: Any, z: Any, c: Any, u: Any = None) -> tuple[Any, Any]:
        m, _ = super().gates(ops, spec, peepholes, z, c, u)
        return m, super().gates(ops, spec.replace(cell_clip=0), peepholes, z, c, u)[1]


@mutant("outputs", "softplus+sigmoid+tanh or tanh+relu+affine")
class CandidateThroughGateActivation(FaultyCell):
    """The candidate g goes through the gates' activation."""

    def gates(self, ops: Any, spec: Any, peepholes: Any, z: Any, c: Any, u: Any = None) -> tuple[Any, Any]:
        return super().gates(ops, spec.replace(cell_activation=spec.gate_activation), peepholes, z, c, u)


@mutant("outputs", "no-input-gate or no-forget-gate or no-output-gate")
class AbsentGateIsClosed(FaultyCell):
    """A gate that does not exist is 0 instead of 1."""

    def absent(self) -> float:
        return 0.0


@mutant("outputs", "alternating-highway")
class HighwayTheWrongWay(FaultyCell):
    """The highway gate carries what it should transform."""

    def highway(self, r: Any, m: Any, u: Any) -> Any:
        return (1.0 - r) * m + r * u


@mutant("outputs", "residual-L3-bidirectional")
class ResidualForgotten(FaultyLayer):
    """The layers' inputs are not added to their outputs."""

    def build(self, weights: Any) -> Any:
        return super().build(type(weights)(self.spec.replace(residual=False), dict(weights)))


@mutant("masks", "recurrent-dropout")
class RecurrentMaskNotScaled(FaultyLayer):
    """The h that is kept is not divided by the probability of keeping it."""

    def __call__(self, x: Any, state: Any = None, *, key: Any = None, **named: Any) -> Any:
        if key is None:
            return self.inner(x, state, **named)
        drawn = Drawn(OPS, OPS.key(key, x))
        shape = (x.shape[0], self.spec.state_size)
        names = [f"recurrent_l{k}{s}" for k in range(self.spec.num_layers) for s in ("", "_reverse")]
        masks = {n: (drawn.get(n, shape, self.spec.recurrent_dropout, x) > 0).astype(x.dtype) for n in names}
        return self.inner(x, state, masks=masks, **named)
