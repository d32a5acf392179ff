"""The checks by name: what each claims, and on which cases it has something to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unilstm.presets import PRESETS

from . import against_oracle, invariants, vectors
from .cases import Case
from .execution import Target
from .measure import Measurement


@dataclass(frozen=True)
class Check:
    """One claim about a backend.

    run: measures it, in as many comparisons as it takes. applies: does the claim say anything about this case?
    NotApplicable, raised while running, is for what only the backend can tell; it is shown, with its reason.
    """

    name: str
    run: Callable[[Target, Any], list[Measurement]]
    applies: Callable[[Target, Any], bool]

    @property
    def title(self) -> str:
        """The claim in a line."""
        return (self.run.__doc__ or self.name).strip().splitlines()[0]


def _always(target: Target, case: Case) -> bool:
    return True


def _never(target: Target, case: Case) -> bool:
    return False  # on golden vectors, which are no cases


def _thorough(target: Target, case: Case) -> bool:
    return case.thorough


def _with_masks(target: Target, case: Case) -> bool:
    return case.key is not None


def _other_path(target: Target, case: Case) -> bool:
    return case.thorough and target.path not in ("auto", "composed")


def _kernel(target: Target, case: Case) -> bool:
    # A learned state's gradient sums over the rows, and a residual's sum of three is in the framework's order.
    of_kernel = target.path == "kernel" and not case.spec.learned_state and not case.spec.residual
    return of_kernel and (case.thorough or (case.stress == "all" and case.variant in PRESETS))


def _other_backend(target: Target, case: Case) -> bool:
    return case.thorough and target.name != "numpy"


def _streams(target: Target, case: Case) -> bool:
    ahead = not any(any(case.spec.reversed_directions(k)) for k in range(case.spec.num_layers))
    return case.thorough and ahead


def _has_padding(target: Target, case: Case) -> bool:
    return case.thorough and case.lengths in ("ragged", "short")


def _has_padding_to_differentiate(target: Target, case: Case) -> bool:
    return _has_padding(target, case) and case.spec.num_layers == 1  # the layers above repeat it, and it is costly


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check("outputs", against_oracle.outputs, _always),
        Check("final_state", against_oracle.final_state, _always),
        Check("gradients", against_oracle.gradient, _always),
        Check("masks", against_oracle.masks, _with_masks),
        Check("cell_sequence", against_oracle.cell_sequence, _thorough),
        Check("path_agreement", invariants.path_agreement, _other_path),
        Check("bit_identity", invariants.bit_identity, _kernel),
        Check("backend_agreement", invariants.backend_agreement, _other_backend),
        Check("streaming", invariants.streaming, _streams),
        Check("batch_independence", invariants.batch_independence, _thorough),
        Check("padding", invariants.padding, _has_padding),
        Check("padding_gradients", invariants.padding_gradients, _has_padding_to_differentiate),
        Check("unbatched", invariants.unbatched, _thorough),
        Check("inputs_unchanged", against_oracle.inputs_unchanged, _thorough),
        Check("golden", vectors.golden, _never),
        Check("weights_round_trip", invariants.weights_round_trip, _thorough),
    )
}
