"""Converting: an LSTM out of one checkpoint and into another, with what lies beside it where that can come along."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import layouts
from ..layouts.losses import ROUNDING
from ..weights import Weights, check_dtype
from .contents import Arrays, Contents, Place
from .formats import Kind, kind_of, open_checkpoint
from .loading import CANONICAL, assumed, chosen
from .metadata import KEY
from .saving import write
from .verifying import Check, verify

_LARGE = 512 << 20


@dataclass(frozen=True)
class Conversion:
    """What convert() did. prefix: before the LSTM's names in the target. carried: how many other arrays came along.

    carried_as: the layout that these are in, as they were in the source, where it is not the target's; or None.
    left: why those that there are did not come, or None. assumed: what the source leaves to be assumed, or what of it
    is no part of the weights, such as a constant state that an ONNX graph starts from; neither is checked. check: the
    measured error; None where it was not asked for, or unchecked says why it was not measured.
    """

    written: str
    layout: str | None
    prefix: str
    weights: Weights
    carried: int
    left: str | None
    check: Check | None
    unchecked: str | None = None
    assumed: str | None = None
    carried_as: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "written": self.written,
            "layout": self.layout,
            "prefix": self.prefix,
            "spec": self.weights.spec.to_dict(),
            "dtype": self.weights.dtype,
            "carried": self.carried,
            "carried_as": self.carried_as,
            "left": self.left,
            "assumed": self.assumed,
            "unchecked": self.unchecked,
            "check": None if self.check is None else self.check.to_dict(),
        }


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    lstm: str | None = None,
    to: str | None = None,
    layout: str | None = None,
    config: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    allow: str | tuple[str, ...] = (),
    only_lstm: bool = False,
    check: bool | None = None,
    template: Any = None,
) -> Conversion:
    """Take one LSTM out of a checkpoint and write it to another, of any file type and layout.

    lstm, layout, config, dtype, template: which LSTM of the source, and how to read it; see load().
    to: the layout to write; the target's own unless given. allow: losses to accept; see save().
    only_lstm: leave the rest of the file behind. Else the arrays that lie beside the LSTM come along under their
        names, as they are, where the target holds any arrays (.safetensors, .pt, .pdparams, .npz).
    check: run source and target on the same random input afterwards, each in its own framework where that is here;
        None does so up to 512 MB. A file under torch's or canonical names is mapped into memory, not copied.

    The target is written whole or not at all. Raises what load() and save() raise.
    """
    goal = Path(target)
    _check_names(layout, to, dtype)
    kind = kind_of(goal, writing=True)
    contents = open_checkpoint(Path(source), template)
    place, weights = chosen(contents, layout, lstm, config, dtype, mapped=True)
    rest = {} if only_lstm else _beside(contents, place)
    job = _Job(contents, place, weights, goal, kind, to or kind.load().DEFAULT_LAYOUT, rest)
    unchecked = _unchecked(weights) if check is None else None
    verified = check or (check is None and unchecked is None)
    # As they are in the source's file, which may be the one that is about to be replaced.
    before = dict(Arrays(contents, place.names, weights.dtype)) if verified else None
    job.write(allow)
    said = {**place.config, **(config or {})}
    rounded = not ROUNDING.isdisjoint((allow,) if isinstance(allow, str) else allow)
    checked = None if before is None else _verify(place, before, said, goal, job, rounded)
    return Conversion(
        str(goal),
        job.to,
        job.prefix,
        weights,
        len(job.carried),
        job.left,
        checked,
        unchecked,
        assumed(place, config),
        job.carried_as,
    )


def _check_names(layout: str | None, to: str | None, dtype: str | None) -> None:
    """An unknown layout or dtype is the caller's mistake, not a file's."""
    if dtype is not None:
        check_dtype(dtype)
    for name in (layout, to):
        if name is not None:
            layouts.get(name)


@dataclass
class _Job:
    """What is to be written. rest: what lies beside the LSTM, name in the target → name in the source."""

    contents: Contents
    place: Place
    weights: Weights
    goal: Path
    kind: Kind
    to: str | None
    rest: Mapping[str, str]

    @property
    def carried(self) -> Mapping[str, str]:
        return self.rest if self.kind.layouts is None else {}

    @property
    def carried_as(self) -> str | None:
        """The canonical form has torch's names, and so torch's arrays beside it."""
        source, target = ("torch" if name in (None, CANONICAL) else name for name in (self.place.layout, self.to))
        return self.place.layout if self.carried and source != target else None

    @property
    def prefix(self) -> str:
        return _prefix(self.contents, self.place, self.to) if self.carried else ""

    @property
    def left(self) -> str | None:
        if not self.rest or self.carried:
            return None
        return f"{len(self.rest)} other arrays stay behind: a {self.goal.suffix} file holds an LSTM and nothing else"

    def write(self, allow: str | tuple[str, ...]) -> None:
        others = {new: self.contents.entries[old] for new, old in self.carried.items()}
        write(self.goal, self.kind, self.weights, self.to, self.prefix, allow, others=others)


def _beside(contents: Contents, place: Place) -> dict[str, str]:
    """What lies in the same dict as the LSTM: name in the target → name in the source."""
    holder = contents.entries[place.names[0]].holder if place.names else ""
    own = set(place.names)
    return {
        name[len(holder) :]: name
        for name, entry in contents.entries.items()
        if name not in own and entry.holder[: len(holder)] == holder
    }


def _prefix(contents: Contents, place: Place, to: str | None) -> str:
    """Where the LSTM was, so that its names stand among the others as they did; with dots where the target has dots."""
    holder = contents.entries[place.names[0]].holder if place.names else ""
    prefix = place.prefix[len(holder) :]
    return prefix.replace("/", ".") if to in ("torch", "paddle") else prefix


def _unchecked(weights: Weights) -> str | None:
    """Why a conversion is not verified unless that is asked for."""
    size = sum(array.nbytes for array in weights.values())
    if size <= _LARGE:
        return None
    return f"not verified, because it has {size >> 20} MB, which running takes several times: --verify does it"


def _verify(
    place: Place, before: Mapping[str, Any], said: Mapping[str, Any], goal: Path, job: _Job, rounded: bool
) -> Check:
    """Run the source's arrays and what the target's file says."""
    to, weights = job.to, job.weights
    written: dict[str, Any] = {"layout": None, "prefix": None, "config": None, "to": to}
    if KEY not in open_checkpoint(goal).metadata:  # a plain state_dict, which does not say what it is
        prefix = job.prefix if job.carried else None
        written |= {"layout": to, "prefix": prefix, "config": weights.layout_config(to) if to else None}
    read = {name[len(place.prefix) :]: array for name, array in before.items()}
    return verify(place.layout, read, said, weights, goal, written, rounded=rounded)
