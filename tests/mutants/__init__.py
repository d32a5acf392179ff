"""Faulty backends that the conformance suite must reject, each with the check that must reject it.

A mutant wraps a sound layer of a real backend and spoils one thing, through the layer's public calls where that can be
done. Each fault is one that somebody has made: the class says which, in a sentence.
"""

from . import (  # each registers its mutants
    blocks,
    calls,
    equations,
    gradients,
    masks,
    other_cells,
    precision,
    states,
    weights,
)
from .faulty import MUTANTS, FaultyLayer, Mutant, registered

__all__ = [
    "MUTANTS",
    "FaultyLayer",
    "Mutant",
    "blocks",
    "calls",
    "equations",
    "gradients",
    "masks",
    "other_cells",
    "precision",
    "registered",
    "states",
    "weights",
]
