"""The conformance suite can fail: each faulty backend is rejected, by the check that is there for its fault."""

from __future__ import annotations

import pytest

from mutants import MUTANTS, Mutant, registered
from unilstm_conformance import run_conformance
from unilstm_conformance.checks import CHECKS


@pytest.fixture(params=MUTANTS.values(), ids=lambda mutant: mutant.name)
def mutant(request: pytest.FixtureRequest) -> Mutant:
    found: Mutant = request.param
    if found.base != "numpy":
        pytest.importorskip(found.base)
    return found


def test_mutant_is_caught(mutant: Mutant) -> None:
    """Some case of the named check fails, on its numbers: a crash would prove nothing."""
    with registered(mutant):
        report = run_conformance([mutant.name], select=mutant.select)
    assert not report.ok, f"{mutant.name} passes {mutant.select!r}, but: {mutant.fault}"
    assert {r.check for r in report.failures} == {mutant.caught_by}
    assert not report.counts["error"], report.to_text()


def test_sound_backend_passes_what_catches_the_mutant(mutant: Mutant) -> None:
    """The wrapper itself is not the fault."""
    sound = Mutant(f"Sound{mutant.name}", mutant.sound, mutant.caught_by, mutant.select, mutant.base)
    with registered(sound):
        report = run_conformance([sound.name], select=sound.select)
    assert report.ok, report.to_text()


def test_every_check_catches_a_mutant() -> None:
    assert {mutant.caught_by for mutant in MUTANTS.values()} == set(CHECKS)


def test_every_mutant_says_what_its_fault_is() -> None:
    assert all(mutant.fault for mutant in MUTANTS.values())
    assert len(MUTANTS) >= 14
