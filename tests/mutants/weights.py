"""Faults in what the weights are taken for."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm.weights import Weights

from .faulty import FaultyLayer, changed, mutant


def reordered(weights: Weights, order: str) -> Weights:
    """Gate blocks in another order: order names, for i f g o in turn, the gate whose rows are used."""

    def change(role: str, array: np.ndarray) -> np.ndarray:
        if role not in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "bias"):
            return array
        blocks = dict(zip("ifgo", np.split(array, 4), strict=True))
        return np.concatenate([blocks[letter] for letter in order])

    return changed(weights, change)


@mutant("outputs", "vanilla and L1-forward")
class SwappedInputAndForgetGates(FaultyLayer):
    """The input gate computes with the forget gate's weights, and the other way round."""

    def corrupt(self, weights: Weights) -> Weights:
        return reordered(weights, "figo")


@mutant("golden", "torch and (vanilla or bidirectional)")
class SwappedCandidateAndOutputGates(FaultyLayer):
    """Gates i f o g instead of i f g o, as TensorFlow Addons and array-lstm have them, read without reordering."""

    def corrupt(self, weights: Weights) -> Weights:
        return reordered(weights, "ifog") if weights.spec.gate_names == "ifgo" else weights


@mutant("outputs", "vanilla and L1")
class DroppedRecurrentBias(FaultyLayer):
    """bias_hh is left out."""

    def corrupt(self, weights: Weights) -> Weights:
        return changed(weights, lambda role, a: np.zeros_like(a) if role == "bias_hh" else a)


@mutant("outputs", "bias-single")
class SingleBiasCountedTwice(FaultyLayer):
    """A single bias is given to both biases of a framework that has two."""

    def corrupt(self, weights: Weights) -> Weights:
        return changed(weights, lambda role, a: 2 * a if role == "bias" else a)


@mutant("outputs", "vanilla and L3-bidirectional")
class TransposedRecurrentWeights(FaultyLayer):
    """Each gate's block of weight_hh is used transposed, as Keras's legacy CuDNNLSTM stores it."""

    def corrupt(self, weights: Weights) -> Weights:
        def change(role: str, array: np.ndarray) -> np.ndarray:
            if role != "weight_hh":
                return array
            return np.concatenate([block.T for block in np.split(array, array.shape[0] // array.shape[1])])

        return changed(weights, change)


@mutant("outputs", "learned-state-L1")
class LearnedStateIgnored(FaultyLayer):
    """Without an initial state the layer starts from zeros, although it has learned one."""

    def corrupt(self, weights: Weights) -> Weights:
        return changed(weights, lambda role, a: np.zeros_like(a) if role in ("h_0", "c_0") else a)


@mutant("weights_round_trip", "vanilla")
class WeightsGivenBackMerged(FaultyLayer):
    """weights() gives back the sum of the two biases as one and zeros as the other: the same function, other bits."""

    def weights(self) -> Weights:
        own = dict(self.given)
        for name in [n for n in own if n.startswith("bias_ih")]:
            other = name.replace("_ih", "_hh")
            own[name], own[other] = own[name] + own[other], np.zeros_like(own[other])
        return Weights(self.spec, own)


@mutant("weights_round_trip", "projected")
class WeightsMovedByACall(FaultyLayer):
    """A call leaves its mark on the parameters."""

    moved = False

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        self.moved = True
        return super().__call__(x, state, **named)

    def weights(self) -> Weights:
        return changed(self.given, lambda role, a: np.nextafter(a, a.dtype.type(2))) if self.moved else self.given
