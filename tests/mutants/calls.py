"""Faults in directions, lengths, rows, masks and inputs: everything around the cell."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np

import unilstm.masks

from .faulty import FaultyLayer, mutant, valid_steps


@mutant("outputs", "L1-reverse")
class UnflippedReverse(FaultyLayer):
    """A reverse layer runs over its reversed input and leaves the outputs in that order, as Keras's go_backwards."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, finals, *rest = self.inner(x, state, **named)
        if self.spec.direction == "reverse" and y.ndim == 3:
            y = np.flip(y, 1 if self.spec.batch_first else 0)
        return (y, finals, *rest)


@mutant("outputs", "L3-alternating")
class AlternatingRunsForward(FaultyLayer):
    """Every layer of an alternating stack runs forward."""

    def build(self, weights: Any) -> Any:
        if self.spec.direction != "alternating":
            return super().build(weights)
        spec = self.spec.replace(direction="forward")
        return super().build(type(weights)(spec, dict(weights)))


@mutant("outputs", "reverse and short")
class ReverseStartsInPadding(FaultyLayer):
    """A reverse layer starts at the last step of the batch, so that it reads padding first."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None or self.spec.direction != "reverse":
            return self.inner(x, state, **({} if lengths is None else {"lengths": lengths}), **named)
        y, finals, *rest = self.inner(x, state, **named)
        return (np.where(valid_steps(self, x, lengths), y, y.dtype.type(0)), finals, *rest)


@mutant("outputs", "ragged and vanilla")
class LengthsOffByOne(FaultyLayer):
    """A length is read as the index of the last step."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None:
            return self.inner(x, state, **named)
        steps = x.shape[1] if self.spec.batch_first else x.shape[0]
        return self.inner(x, state, lengths=np.minimum(np.asarray(lengths) + 1, steps), **named)


@mutant("outputs", "ragged and vanilla")
class PastLengthNotZeroed(FaultyLayer):
    """Past a row's length the outputs go on, as flax's and Paddle's Python loop have them."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None or self.spec.direction != "forward":
            return self.inner(x, state, **({} if lengths is None else {"lengths": lengths}), **named)
        _, finals, *rest = self.inner(x, state, lengths=lengths, **named)
        return (self.inner(x, state, **named)[0], finals, *rest)


@mutant("padding", "ragged and vanilla and not bit_identity")  # whose ids say padding, too: the name does, and -0 shows
class PaddingMultipliedAway(FaultyLayer):
    """Padding is removed from the outputs by multiplying with a mask: 0, but where it holds NaN or infinity."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None or self.spec.direction != "forward":
            return self.inner(x, state, **({} if lengths is None else {"lengths": lengths}), **named)
        _, finals, *rest = self.inner(x, state, lengths=lengths, **named)
        y = self.inner(x, state, **named)[0]
        return (y * valid_steps(self, x, lengths), finals, *rest)


@mutant("outputs", "bidirectional and vanilla")
class BackwardBeforeForward(FaultyLayer):
    """A bidirectional layer concatenates its backward direction first."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, finals, *rest = self.inner(x, state, **named)
        if self.spec.num_directions == 2 and self.spec.merge == "concat":
            y = np.concatenate(np.split(y, 2, axis=-1)[::-1], axis=-1)
        return (y, finals, *rest)


@mutant("outputs", "merge-average")
class AverageIsSum(FaultyLayer):
    """merge="average" adds up without halving."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, finals, *rest = self.inner(x, state, **named)
        return (2 * y if self.spec.merge == "average" else y, finals, *rest)


@mutant("batch_independence", "vanilla and L1-forward")
class RowsCoupled(FaultyLayer):
    """A row's numbers depend on the others, as where a scale is taken from the whole batch."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, finals, *rest = self.inner(x, state, **named)
        return (y * (1 + 1e-3 * np.tanh(y.max())).astype(y.dtype), finals, *rest)


@mutant("unbatched", "vanilla")
class UnbatchedKeepsAnAxis(FaultyLayer):
    """Unbatched input gives a batch of one."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, (h, c), *rest = self.inner(x, state, **named)
        if x.ndim == 2:
            h, c = h[:, None], c[:, None]
        return (y, (h, c), *rest)


@mutant("unbatched", "vanilla and ragged")
class UnbatchedStateIgnored(FaultyLayer):
    """Unbatched input starts from zeros, whatever state is given with it."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner(x, None if x.ndim == 2 else state, **named)


@mutant("inputs_unchanged", "ragged and vanilla")
class PaddingZeroedInPlace(FaultyLayer):
    """Padding is set to 0 in the caller's own x."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        if "lengths" in named:
            x *= valid_steps(self, x, named["lengths"])
        return self.inner(x, state, **named)


@mutant("inputs_unchanged", "vanilla")
class InitialCellChangedInPlace(FaultyLayer):
    """The state is updated where the caller keeps it, as array-lstm does with c."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, finals, *rest = self.inner(x, state, **named)
        if state is not None:
            state[1][...] = finals[1]
        return (y, finals, *rest)


@mutant("inputs_unchanged", "ragged")
class LengthsSortedInPlace(FaultyLayer):
    """Lengths are sorted, longest first, in the caller's own list or array."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None:
            return self.inner(x, state, **named)
        result = self.inner(x, state, lengths=list(lengths), **named)
        lengths[:] = sorted(lengths, reverse=True)
        return result


@mutant("masks", "dropout")
class MaskOfAnotherKey(FaultyLayer):
    """The mask is drawn from another stream than the key's."""

    def __call__(self, x: Any, state: Any = None, *, key: Any = None, **named: Any) -> Any:
        return self.inner(x, state, **({} if key is None else {"key": key ^ 2}), **named)


@mutant("masks", "dropout")
class KeyIgnored(FaultyLayer):
    """Every call has the same mask, whatever its key."""

    def __call__(self, x: Any, state: Any = None, *, key: Any = None, **named: Any) -> Any:
        return self.inner(x, state, **({} if key is None else {"key": 0x123456789ABCDEF}), **named)


@mutant("masks", "dropout")
class DropoutNotScaled(FaultyLayer):
    """What dropout keeps is not scaled by 1 / (1 - p)."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        sound = unilstm.masks.keep_mask

        def faulty(*args: Any) -> Any:
            mask = sound(*args)
            return (mask > 0).astype(mask.dtype)

        with mock.patch.object(unilstm.masks, "keep_mask", faulty):
            return self.inner(x, state, **named)


@mutant("outputs", "dropout")
class DropoutInEvaluation(FaultyLayer):
    """Dropout acts although no key was given."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner(x, state, **{"key": 1, **named} if self.spec.dropout else named)
