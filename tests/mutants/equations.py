"""Faults in the equations of a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from .faulty import FaultyLayer, mutant
from .written import Array, Gate, WrittenLSTM


@mutant("outputs", "peephole and L1-forward")
class OutputGateSeesOldCell(WrittenLSTM):
    """The output gate's peephole is on the c of the step before."""

    def seen_by_output(self, old: Array, unclipped: Array, stored: Array) -> Array:
        return old


@mutant("outputs", "peephole-clipped")
class OutputGateSeesUnclippedCell(WrittenLSTM):
    """The output gate's peephole is on the new c before its clip."""

    def seen_by_output(self, old: Array, unclipped: Array, stored: Array) -> Array:
        return unclipped


@mutant("outputs", "peephole-clipped")
class PeepholeAfterGateClip(WrittenLSTM):
    """The gate's pre-activation is clipped before the peephole is added."""

    def peeped(self, spec: Any, p: Any, gate: Gate, z: dict[Gate, Array], c: Array) -> Array:
        return super().peeped(spec, p, gate, {gate: self.clipped(spec, z[gate])}, c)

    def activated(self, ops: Any, spec: Any, a: Array) -> Array:
        return spec.gate_activation(ops, a)


@mutant("outputs", "gate-clip")
class GateClipNotApplied(WrittenLSTM):
    """gate_clip is taken and ignored."""

    def clipped(self, spec: Any, a: Array) -> Array:
        return a


@mutant("outputs", "cell-clip")
class CellClipNotApplied(WrittenLSTM):
    """cell_clip is taken and ignored."""

    def clip_cell(self, spec: Any, c: Array) -> Array:
        return c


@mutant("outputs", "coupled")
class CoupledTheWrongWay(WrittenLSTM):
    """f = i instead of f = 1 - i."""

    def coupled(self, i: Array) -> Array:
        return i


@mutant("outputs", "proj-clip")
class ProjectionClippedBefore(WrittenLSTM):
    """proj_clip acts on what is projected, not on the projection."""

    def projected(self, spec: Any, p: dict[str, Array], m: Array) -> Array:
        if spec.proj_clip:
            m = np.clip(m, -spec.proj_clip, spec.proj_clip)
        return m @ p["weight_hr"].T if spec.proj_size else m


@mutant("final_state", "cell-clip")
class StoredCellUnclipped(WrittenLSTM):
    """The clipped c reaches h only; the c that is carried on is the unclipped one."""

    def lane(self, ops: Any, spec: Any, *args: Any) -> Any:
        gates, _, m = super().lane(ops, spec, *args)
        return gates, super().lane(ops, spec.replace(cell_clip=0), *args)[1], m


@mutant("outputs", "softplus+sigmoid+tanh or tanh+relu+affine")
class CandidateThroughGateActivation(WrittenLSTM):
    """The candidate g goes through the gates' activation."""

    def lane(self, ops: Any, spec: Any, *args: Any) -> Any:
        return super().lane(ops, spec.replace(cell_activation=spec.gate_activation), *args)


@mutant("outputs", "no-input-gate or no-forget-gate or no-output-gate")
class AbsentGateIsClosed(WrittenLSTM):
    """A gate that does not exist is 0 instead of 1."""

    def absent(self) -> float:
        return 0.0


@mutant("outputs", "alternating-highway")
class HighwayTheWrongWay(WrittenLSTM):
    """The highway gate carries what it should transform."""

    def highway(self, r: Array, m: Array, u: Array) -> Array:
        return (1 - r) * m + r * u


@mutant("outputs", "residual-L3-bidirectional")
class ResidualForgotten(FaultyLayer):
    """The layers' inputs are not added to their outputs."""

    def build(self, weights: Any) -> Any:
        return super().build(type(weights)(self.spec.replace(residual=False), dict(weights)))
