"""Faults in the states: which, from where, and in which order."""

from __future__ import annotations

from typing import Any

import numpy as np

from .faulty import FaultyLayer, mutant, valid_steps


@mutant("final_state", "vanilla and L1-forward")
class CellBeforeHidden(FaultyLayer):
    """The final state is (c, h), as in flax, TensorFlow and lmp."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, (h, c), *rest = self.inner(x, state, **named)
        return (y, (c, h), *rest)


@mutant("outputs", "peephole and L1-forward")
class CellBeforeHiddenGiven(FaultyLayer):
    """The initial state is taken as (c, h)."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner(x, None if state is None else (state[1], state[0]), **named)


@mutant("outputs", "vanilla")
class InitialStateIgnored(FaultyLayer):
    """A given initial state is taken and ignored."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner(x, None, **named)


@mutant("final_state", "L3-bidirectional")
class DirectionsBeforeLayers(FaultyLayer):
    """States are stacked all forward ones first, then all backward ones, instead of layer by layer."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, (h, c), *rest = self.inner(x, state, **named)
        order = [*range(0, len(h), 2), *range(1, len(h), 2)] if self.spec.num_directions == 2 else slice(None)
        return (y, (h[order], c[order]), *rest)


@mutant("final_state", "ragged and vanilla")
class FinalStateFromLastPaddedStep(FaultyLayer):
    """The final state is that of the last step of the batch, padding or not."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        y, _, *rest = self.inner(x, state, lengths=lengths, **named)
        finals = self.inner(x, state, **named)[1]
        return (y, finals, *rest)


@mutant("final_state", "ragged and learned-state")
class EmptyRowRunsAStep(FaultyLayer):
    """A row of length 0 runs one step, as where a packed sequence cannot be empty and lengths are raised to 1."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None:
            return self.inner(x, state, **named)
        y, finals, *rest = self.inner(x, state, lengths=np.maximum(lengths, 1), **named)
        valid = valid_steps(self, x, lengths)
        return (np.where(valid, y, y.dtype.type(0)), finals, *rest)


@mutant("streaming", "vanilla")
class StreamForgetsItsState(FaultyLayer):
    """step() starts from zeros every time."""

    def step(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner.step(x, None, **named)


@mutant("streaming", "learned-state")
class StreamKeepsOldCell(FaultyLayer):
    """step() gives back the new h beside the c it was given."""

    def step(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, (h, c) = self.inner.step(x, state, **named)
        return y, (h, c if state is None else state[1])


@mutant("cell_sequence", "vanilla")
class CellSequenceShifted(FaultyLayer):
    """The sequence of c starts with the initial one, so that each step shows the c before it."""

    def __call__(self, x: Any, state: Any = None, *, return_cell_sequence: bool = False, **named: Any) -> Any:
        if not return_cell_sequence:
            return self.inner(x, state, **named)
        y, finals, cells = self.inner(x, state, return_cell_sequence=True, **named)
        return y, finals, np.roll(cells, 1, axis=1 if self.spec.batch_first else 0)


@mutant("cell_sequence", "ragged")
class CellSequenceHeldInPadding(FaultyLayer):
    """Past a row's length the sequence of c repeats the last one instead of being 0."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        y, finals, *cells = self.inner(x, state, lengths=lengths, **named)
        if cells and lengths is not None and self.spec.slots == self.spec.num_directions == 1:
            last = finals[1][-1][:, None] if self.spec.batch_first else finals[1][-1][None]
            cells = [np.where(valid_steps(self, x, lengths), cells[0], last)]
        return (y, finals, *cells)
