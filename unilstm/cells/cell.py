"""What a cell is: a step, its parameters, and what else the loop around it must know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import SpecError

if TYPE_CHECKING:
    from ..ops import Ops, Tensor
    from ..spec import LSTMSpec

State = tuple[Any, Any]
# step(ops, spec, p, x [B, I], state) -> state. state: (h [B, P or H], c [B, slots·H]); p: arrays by role.
Step = Callable[["Ops", "LSTMSpec", Mapping[str, Any], Any, State], State]


@dataclass(frozen=True)
class Array:
    """One array of one direction of one layer.

    gates: the row groups that its first axis is made of, one letter each, or "". sizes: rows of each group.
    """

    role: str
    shape: tuple[int, ...]
    gates: str = ""
    sizes: tuple[int, ...] = ()


# parameters(spec, input_size) -> Arrays, or shapes by role.
Parameters = Callable[["LSTMSpec", int], "Iterable[Array] | Mapping[str, tuple[int, ...]]"]


@dataclass(frozen=True, eq=False)
class Cell:
    """The equations of one step, under a name that a spec's `cell` field gives.

    step: pure and branch-free in tensor values; written over `ops`, so that it runs on every backend.
    parameters: its arrays for a spec and the number of input features. Names are free, but an initial state h_0, c_0
        is not theirs to list; "weight_hh" is what weight dropout acts on, where there is one.
    fields: the fields of LSTMSpec that the step reads beside those that the loop serves for every cell (LOOP_FIELDS);
        a spec that sets any other field is refused.
    slots: how many vectors of hidden_size c is made of: a number, or a function of the spec.
    reads_h: does the step read h? Recurrent dropout acts on it.
    source: the paper.

    The rest is for speed alone, and must equal step:

    prepare(ops, spec, p, x): what of a step depends on x and p only, for one step or for all at once: [..., I] to a
        tuple of [..., F], or None in its place. advance(ops, spec, p, given, state): the step from there.
    linear(ops, spec, p, x): for cells c = a·c' + b, h = c whose a and b depend on x alone: (a, b) for all steps.
    """

    name: str
    step: Step
    parameters: Parameters
    fields: frozenset[str] = frozenset()
    slots: int | Callable[[LSTMSpec], int] = 1
    reads_h: bool = True
    source: str = ""
    prepare: Callable[..., tuple[Any, ...]] | None = None
    advance: Callable[..., State] | None = None
    linear: Callable[..., tuple[Tensor, Tensor]] | None = None

    def arrays(self, spec: LSTMSpec, input_size: int) -> tuple[Array, ...]:
        found = self.parameters(spec, input_size)
        if isinstance(found, Mapping):
            found = [Array(role, tuple(shape)) for role, shape in found.items()]
        arrays = tuple(found)
        if not arrays:
            raise SpecError(f"cell {self.name!r} has no parameters: parameters(spec, inputs) must return one at least.")
        return arrays

    def num_slots(self, spec: LSTMSpec) -> int:
        return self.slots(spec) if callable(self.slots) else self.slots

    def given(self, ops: Ops, spec: LSTMSpec, p: Mapping[str, Any], x: Any) -> tuple[Any, ...]:
        """What all steps need of x, worked out at once where the cell can; else x itself."""
        return (x,) if self.prepare is None else self.prepare(ops, spec, p, x)

    def take(
        self, ops: Ops, spec: LSTMSpec, p: Mapping[str, Any], given: tuple[Any, ...], state: State, **masks: Any
    ) -> State:
        """One step from what `given` returned."""
        if self.advance is None:
            return self.step(ops, spec, p, given[0], state)
        return self.advance(ops, spec, p, given, state, **masks)


# What the loop (run.py) does for every cell.
LOOP_FIELDS = frozenset(
    {
        "cell", "input_size", "hidden_size", "num_layers", "direction", "merge", "batch_first", "learned_state",
        "residual", "dropout", "input_dropout", "recurrent_dropout", "weight_dropout", "zoneout_hidden", "zoneout_cell",
    }
)  # fmt: skip
