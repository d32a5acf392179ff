"""Faults in blocks, lanes, norms and gates that remember."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm.weights import Weights

from .faulty import FaultyLayer, changed, mutant
from .written import Array, WrittenLSTM


@mutant("outputs", "lstm-2002 or blocks-coupled")
class BlockPeepholeNotSummed(WrittenLSTM):
    """A block's gate sees, through its peephole, the first unit of the block alone."""

    def of_block(self, spec: Any, v: Array) -> Array:
        return v.reshape(len(v), spec.num_blocks, -1)[..., 0]


@mutant("outputs", "lstm-2002 or blocks-coupled")
class BlockPeepholeAveraged(WrittenLSTM):
    """A block's peephole is the mean over its units instead of the sum."""

    def of_block(self, spec: Any, v: Array) -> Array:
        return v.reshape(len(v), spec.num_blocks, -1).mean(2)


@mutant("outputs", "lstm-1997 or blocks-coupled")
class BlocksInterleaved(WrittenLSTM):
    """The units of a block lie apart, one in every num_blocks, instead of side by side."""

    def shared(self, spec: Any, gate: Array) -> Array:
        return np.tile(gate, (1, spec.hidden_size // spec.num_blocks)) if spec.num_blocks else gate


@mutant("outputs", "array-L1-bidirectional")
class LanesAveraged(WrittenLSTM):
    """Lanes are pooled by their mean instead of their sum."""

    def pooled(self, spec: Any, ms: Any, os: Any, cs: Any) -> Array:
        m = super().pooled(spec, ms, os, cs)
        return m / spec.lanes if spec.lane_pooling == "sum" else m


@mutant("outputs", "stochastic-array")
class ArgmaxByCell(WrittenLSTM):
    """The lane that speaks is the one with the largest c, not with the most open output gate."""

    def pooled(self, spec: Any, ms: Any, os: Any, cs: Any) -> Array:
        return super().pooled(spec, ms, cs, cs)


@mutant("outputs", "stochastic-array")
class ArgmaxOfTheWholeLane(WrittenLSTM):
    """One lane speaks for all units, instead of one for each."""

    def pooled(self, spec: Any, ms: Any, os: Any, cs: Any) -> Array:
        if spec.lane_pooling != "argmax":
            return super().pooled(spec, ms, os, cs)
        return super().pooled(spec, ms, [np.broadcast_to(o.sum(1, keepdims=True), o.shape) for o in os], cs)


@mutant("outputs", "argmax-of-equals")
class ArgmaxTakesTheLastOfEquals(WrittenLSTM):
    """Of lanes whose output gates are equal, the last one speaks."""

    def pooled(self, spec: Any, ms: Any, os: Any, cs: Any) -> Array:
        return super().pooled(spec, ms[::-1], os[::-1], cs[::-1])


@mutant("outputs", "attention-array")
class AttentionForgetsTheOldWay(WrittenLSTM):
    """With attention c is f·c + i·g, not (1 - f)·c + i·g."""

    def kept(self, f: Array, share: Any) -> Array:
        return f


@mutant("outputs", "attention-array")
class AttentionWithoutSigmoid(WrittenLSTM):
    """The softmax over the lanes is taken of W_xa x itself, without its sigmoid."""

    def shares(self, spec: Any, p: dict[str, Array], x: Array) -> list[Any]:
        if spec.lane_pooling != "attention":
            return super().shares(spec, p, x)
        e = np.exp(np.stack(np.split(x @ p["weight_xa"].T + p["bias_xa"], spec.lanes, axis=1)))
        return list(e / e.sum(0))


@mutant("outputs", "attention-max")
class AttentionMaxIgnored(FaultyLayer):
    """attention-max is taken for attention."""

    def build(self, weights: Weights) -> Any:
        pooling = weights.spec.lane_pooling.removesuffix("-max")
        return super().build(Weights(weights.spec.replace(lane_pooling=pooling), dict(weights)))


@mutant("outputs", "layer-norm-L1 or norm-per-gate")
class UnbiasedVariance(WrittenLSTM):
    """The norm divides by n - 1, as a sample's standard deviation does."""

    def norm(self, spec: Any, v: Array) -> Array:
        d = v - v.mean(1, keepdims=True)
        return d / np.sqrt(
            (d * d).sum(1, keepdims=True) / v.dtype.type(v.shape[1] - 1) + v.dtype.type(spec.layer_norm_eps)
        )


@mutant("outputs", "layer-norm-L1 or norm-in-lanes or norm-per-gate")
class EpsOutsideTheRoot(WrittenLSTM):
    """eps is added to the standard deviation, not to the variance."""

    def norm(self, spec: Any, v: Array) -> Array:
        d = v - v.mean(1, keepdims=True)
        return d / (np.sqrt((d * d).mean(1, keepdims=True)) + v.dtype.type(spec.layer_norm_eps))


@mutant("outputs", "layer-norm-L1")
class NormOverTheBatch(WrittenLSTM):
    """Each feature is normalised over the rows of the batch."""

    def norm(self, spec: Any, v: Array) -> Array:
        return super().norm(spec, v.T).T


@mutant("outputs", "layer-norm-L1")
class JointNormGateByGate(WrittenLSTM):
    """The joint norm normalises each gate by itself."""

    def preactivations(self, spec: Any, p: dict[str, Array], x: Array, h: Array, sizes: list[int]) -> Array:
        if spec.layer_norm != "joint":
            return super().preactivations(spec, p, x, h, sizes)
        ends = np.cumsum(sizes)[:-1]
        nx, nh = (
            np.concatenate([self.norm(spec, part) for part in np.split(v @ p[w].T, ends, axis=1)], axis=1)
            for v, w in ((x, "weight_ih"), (h, "weight_hh"))
        )
        return p["gamma_ih"] * nx + p["gamma_hh"] * nh + p.get("bias_ih", 0) + p.get("bias_hh", 0) + p.get("bias", 0)


@mutant("outputs", "layer-norm-L1")
class GammasSwapped(FaultyLayer):
    """The two norms have each other's scales."""

    def corrupt(self, weights: Weights) -> Weights:
        other = {"gamma_ih": "gamma_hh", "gamma_hh": "gamma_ih"}
        return Weights(
            weights.spec,
            {
                n: weights[n.replace(r, other[r])] if (r := n.partition("_l")[0]) in other else weights[n]
                for n in weights
            },
        )


@mutant("final_state", "layer-norm-L1")
class JointNormStoresNormalised(WrittenLSTM):
    """With the joint norm, c is stored normalised."""

    def stored(self, spec: Any, raw: Array, normed: Array) -> Array:
        return normed


@mutant("final_state", "norm-of-state-L1")
class NormalisedStateStoresRaw(WrittenLSTM):
    """With normalized-state, only what h sees is normalised."""

    def stored(self, spec: Any, raw: Array, normed: Array) -> Array:
        return raw


@mutant("outputs", "layer-norm-L1")
class ShiftOfTheCellForgotten(FaultyLayer):
    """beta_c is left out."""

    def corrupt(self, weights: Weights) -> Weights:
        return changed(weights, lambda role, a: np.zeros_like(a) if role == "beta_c" else a)


@mutant("outputs", "full-gate-recurrence")
class GateRecurrenceTransposed(WrittenLSTM):
    """The weights from gates to gates are used transposed."""

    def gate_weights(self, p: dict[str, Array]) -> Array:
        return p["weight_gg"].T


@mutant("outputs", "full-gate-recurrence")
class GateRecurrenceForgotten(WrittenLSTM):
    """The gates of the step before are carried and not looked at."""

    def gate_weights(self, p: dict[str, Array]) -> Array:
        return 0 * p["weight_gg"]
