"""Faulty backends that the conformance suite must reject, each with the check that must reject it.

A mutant wraps a sound layer of a real backend and spoils one thing, through the layer's public calls where that can be
done. Each fault is one that somebody has made: the class says which, in a sentence.
"""

from . import calls, equations, gradients, precision, states, weights  # each registers its mutants
from .faulty import MUTANTS, FaultyLayer, Mutant, registered

__all__ = [
    "MUTANTS",
    "FaultyLayer",
    "Mutant",
    "calls",
    "equations",
    "gradients",
    "precision",
    "registered",
    "states",
    "weights",
]
