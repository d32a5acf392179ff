"""Random bits from a counter: the same key gives the same bits on every backend, under jit too.

Threefry-2x32 with 20 rounds (Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3): additions, rotations and
exclusive ors of 32-bit words, no multiplication and no state, so that every framework can compute it exactly. It is
written once, over the operators + & | ^ << >>; a backend only says what its 32-bit words live in (`ops.words`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from .errors import InputError

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


class Words(Protocol):
    """Where a backend keeps 32-bit words: an unsigned 32-bit type, or a wider one, masked after each addition."""

    def counter(self, count: int) -> Any:
        """The words 0, 1, … count - 1."""

    def constant(self, value: int) -> Any:
        """One word that the operators above accept beside a counter."""


def threefry(words: Words, key: tuple[Any, Any], first: Any, second: Any) -> tuple[Any, Any]:
    """Encrypt the counter (first, second) with the key; two random words for each."""
    low = words.constant(0xFFFFFFFF)
    schedule = (key[0], key[1], key[0] ^ key[1] ^ words.constant(_PARITY))
    a, b = (first + schedule[0]) & low, (second + schedule[1]) & low
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            a = (a + b) & low
            b = ((b << words.constant(r)) & low) | (b >> words.constant(32 - r))
            b = a ^ b
        a = (a + schedule[(group + 1) % 3]) & low
        b = (b + schedule[(group + 2) % 3] + words.constant(group + 1)) & low
    return a, b


INTEGERS = (int, np.integer)  # what a key may be that is one number


def split_key(key: Any, name: str = "key") -> tuple[int, int]:
    """The two words of a key that is one of INTEGERS, in [0, 2**64). name: what it is called where it is given."""
    if isinstance(key, bool) or not isinstance(key, INTEGERS) or not 0 <= int(key) < 2**64:
        raise InputError(f"{name}={key!r} must be a whole number in [0, 2**64). Draw one with random.getrandbits(64).")
    return int(key) & 0xFFFFFFFF, int(key) >> 32


def keep_mask(
    ops: Any,
    key: tuple[Any, Any],
    stream: int,
    shape: tuple[int, ...],
    dropped: float,
    like: Any,
    scaled: bool = True,
) -> Any:
    """0 with probability `dropped`, else 1 / (1 - dropped), as inverted dropout has it, or 1 if not scaled; in the
    dtype of `like`.

    key: two words. stream: which of the masks of this key. shape: time-major; up to 2**32 elements.
    The probability is rounded to a multiple of 2**-32.
    """
    words, least = ops.words, min(round(dropped * 2**32), 2**32 - 1)
    kept_number = 1.0 / (1.0 - dropped) if scaled else 1.0
    draw = getattr(ops, "draw", None)  # a backend's own way, of the same bits
    drawn = None if draw is None else draw(key, stream, shape, least, kept_number, like)
    if drawn is not None:
        return drawn
    count = 1
    for size in shape:
        count = count * size
    counter = words.counter(count)
    bits, _ = threefry(words, key, counter, words.constant(stream))
    kept = bits >= words.constant(least)
    return ops.reshape(ops.where(kept, ops.full(kept_number, like), ops.full(0.0, like)), shape)


class Masks(Protocol):
    """The masks of one call by name; run.py says which there are, and their shapes."""

    def get(self, name: str, shape: tuple[int, ...], dropped: float, like: Any, scaled: bool = True) -> Any:
        """The mask of that name: 0 where something is dropped; elsewhere 1 / (1 - dropped), or 1 if not scaled."""


_KINDS = {"dropout": 0, "recurrent": 1, "input": 2, "weight": 3, "zoneout_hidden": 4, "zoneout_cell": 5, "model": 8}


class Drawn:
    """Masks that follow from a key: the same for every backend."""

    def __init__(self, ops: Any, key: tuple[Any, Any]) -> None:
        self.ops, self.key = ops, key

    def get(self, name: str, shape: tuple[int, ...], dropped: float, like: Any, scaled: bool = True) -> Any:
        return keep_mask(self.ops, self.key, stream(name), shape, dropped, like, scaled)


class Given:
    """Masks that a caller made: multipliers, already scaled where dropout scales."""

    def __init__(self, masks: Mapping[str, Any]) -> None:
        self.masks = masks

    def get(self, name: str, shape: tuple[int, ...], dropped: float, like: Any, scaled: bool = True) -> Any:
        if name not in self.masks:
            kind = "scaled" if scaled else "0 or 1"
            raise InputError(f"masks lacks {name!r}, which this layer needs: {list(shape)}, time-major, {kind}.")
        mask = self.masks[name]
        if tuple(mask.shape) != tuple(shape):
            raise InputError(f"masks[{name!r}] has shape {list(mask.shape)}, but must have {list(shape)}.")
        if mask.dtype != like.dtype:
            raise InputError(
                f"masks[{name!r}] has dtype {mask.dtype}, but must have {like.dtype}, as what it multiplies. "
                "Convert it."
            )
        return mask


def stream(name: str) -> int:
    """The number of a mask's stream: its kind, layer and direction."""
    kind, _, place = name.partition("_l")
    layer, _, reverse = place.partition("_")
    if kind == "dropout":
        return int(layer)
    return _KINDS[kind] << 24 | int(layer) << 1 | bool(reverse)


class _NumpyWords:
    def counter(self, count: int) -> Any:
        return np.arange(count, dtype=np.uint64)

    def constant(self, value: int) -> Any:
        return np.uint64(value)


NUMPY_WORDS = _NumpyWords()


def uniform(seed: int, stream: int, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
    """Float64 values in [0, 1) with 53 random bits each, for initial weights and test data."""
    low, high = split_key(seed, "seed")
    key = (np.uint64(low), np.uint64(high))
    counter = NUMPY_WORDS.counter(int(np.prod(shape, dtype=np.int64)))
    a, b = threefry(NUMPY_WORDS, key, counter, np.uint64(stream))
    return np.asarray(((a >> np.uint64(5)) * np.float64(2**26) + (b >> np.uint64(6))) * 2.0**-53).reshape(shape)
