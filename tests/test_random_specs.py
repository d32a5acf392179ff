"""Ten specs drawn anew in every run, from all that is valid, conform on every backend.

A failure prints the seed of the run. UNILSTM_SEED=… draws the same specs again.
"""

from __future__ import annotations

import os
import random
import zlib
from typing import Any

import pytest

from conftest import BACKENDS, require
from unilstm_conformance.against_oracle import at_once
from unilstm_conformance.cases import LENGTHS, Case, drops
from unilstm_conformance.execution import Target
from unilstm_conformance.strategies import random_spec

COUNT = 10


def run_seed() -> int:
    """Given by the environment, or common to the workers of one run of pytest-xdist, or by chance."""
    if "UNILSTM_SEED" in os.environ:
        return int(os.environ["UNILSTM_SEED"])
    worker = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return zlib.crc32(worker.encode()) if worker else random.SystemRandom().getrandbits(32)


SEED = run_seed()


def random_case(seed: int) -> Case:
    """In float64, where no number comes near a kink by chance; gain and steps such that unbounded gates stay small."""
    spec, pick = random_spec(seed), random.Random(seed)
    about: dict[str, Any] = {
        "lengths": pick.choice(LENGTHS),
        "batch": pick.choice((1, 3)),
        "steps": pick.choice((1, 4)),
    }
    about |= {"state": not spec.learned_state and pick.random() < 0.8, "key": seed if drops(spec) else None}
    return Case(f"random{seed}", spec, "float64", gain=1.0, **about)


@pytest.mark.parametrize("number", range(COUNT))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_random_spec_conforms(backend: str, number: int) -> None:
    """In training where something is dropped: outputs, final states, and the gradients of all that has one."""
    conforms(backend, SEED + number, "auto", f"UNILSTM_SEED={SEED} number {number}")


@pytest.mark.parametrize("path", ["auto", "composed"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_zoneout_takes_a_new_value_to_the_last_bit(backend: str, path: str) -> None:
    """Found by chance: old + taken · (new - old) rounds a small new h by a large old one."""
    conforms(backend, 2983832147, path, "this spec")


def conforms(backend: str, seed: int, path: str, which: str) -> None:
    case = random_case(seed)
    failures = [m for m in at_once(Target(backend, require(backend), path), case) if not m.ok]
    assert not failures, "\n".join([f"{which}: {case.spec!r}, {case.id}, key={case.key}", *map(str, failures)])
