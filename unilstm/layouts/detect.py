"""Finding the LSTMs in a flat mapping of names to shapes, such as a model's state_dict."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ..errors import UnilstmError
from . import engine, sizes
from .arguments import NotTold
from .naming import Match, explicit, find_hit, match_form, patterns
from .sizes import Shapes
from .tables import Form

if TYPE_CHECKING:
    from .layout import Layout

_LONGEST = 512  # characters: a name from a hostile file must not keep the patterns busy


@dataclass(frozen=True)
class Found:
    """An LSTM in a mapping: its layout, its prefix, and its tensors' names, prefix included, in the mapping's order.

    uncertain: None, or what the names and shapes leave open, and what settles it.
    """

    layout: str
    prefix: str
    names: tuple[str, ...]
    uncertain: str | None = None


@dataclass(frozen=True)
class _Candidate:
    layout: Layout
    prefix: str
    names: tuple[str, ...]
    problem: str | None  # why reading it would fail
    open: str | None = None  # the argument that it needs


class _Names:
    """The names of a mapping, by what texts are in them: most forms have nothing to look for in most names."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._all = [name for name in shapes if len(name) <= _LONGEST]
        self._holding: dict[str, list[int]] = {}

    def holding(self, literals: set[str]) -> list[str]:
        """Those in which any of these texts is, in the mapping's order."""
        for literal in literals - self._holding.keys():
            self._holding[literal] = [n for n, name in enumerate(self._all) if literal in name]
        return [self._all[n] for n in sorted(set().union(*(self._holding[literal] for literal in literals)))]


def find(shapes: Shapes) -> list[Found]:
    """Every LSTM in a mapping of names to shapes, in the mapping's order.

    Names alone do not make an LSTM: weight_hh has four gates a unit, so a GRU or an RNN under the same names is none.
    Where several layouts fit, the one that explains most names is reported, and then the one with the shortest prefix.
    To read one, take Found.names out of the mapping: other tensors may stand under the same prefix. A vector without
    structure (jax-cudnn) is never found.
    """
    from .registry import every  # whose layouts need this module

    names = _Names(shapes)
    candidates = [
        candidate
        for layout in every().values()
        for form in layout.forms
        if form.detect
        for candidate in _candidates(layout, form, names)
    ]
    candidates.sort(key=lambda c: (c.problem is not None, -len(c.names), len(c.prefix)))
    taken: set[str] = set()
    found = []
    for candidate in candidates:
        if taken.isdisjoint(candidate.names):
            taken.update(candidate.names)
            found.append(Found(candidate.layout.name, candidate.prefix, candidate.names, _doubt(candidate, candidates)))
    order = {name: n for n, name in enumerate(shapes)}
    return sorted(found, key=lambda f: order[f.names[0]])


def _doubt(chosen: _Candidate, candidates: list[_Candidate]) -> str | None:
    if chosen.problem is not None:
        return f"it is incomplete or misshapen: {chosen.problem}"
    if chosen.open is not None:
        return chosen.open
    others = [
        c.layout.name
        for c in candidates
        if c.problem is None
        and c.layout is not chosen.layout
        and (c.prefix, set(c.names)) == (chosen.prefix, set(chosen.names))
    ]
    if not others:
        return None
    names = [chosen.layout.name, *others]
    options = " or ".join(f"layout={name!r}" for name in names)
    return f"these names and shapes fit the layouts {' and '.join(names)} alike; {options} settles it"


def _candidates(layout: Layout, form: Form, known: _Names) -> Iterator[_Candidate]:
    """What could be an LSTM of this form: as a stack and as single layers, with two directions and with one."""
    layers = ("stack", "single") if form.names.layer and not form.names.always else ("any",)
    directions = ("two", "one") if explicit(form.names) else ("any",)
    for layer, direction in product(layers, directions):
        for prefix, names in _groups(form, known, layer, direction):
            if not any(re.search(form.marker, name) for name in names):
                continue
            own = {name[len(prefix) :]: known.shapes[name] for name in names}
            try:
                matched, _ = match_form(form, own)
                if not sizes.recurrent(matched, own):
                    continue
                problem, open_ = _problem(layout, matched, own)
            except UnilstmError:
                continue
            if problem is None or (layer != "stack" and direction != "two"):
                yield _Candidate(layout, prefix, tuple(names), problem, open_)


def _groups(form: Form, known: _Names, layer: str, direction: str) -> Iterator[tuple[str, list[str]]]:
    """The names that fit, by their prefix; the text of the direction belongs to it where that tells LSTMs apart.

    Without all of an LSTM's weights they are none: most that end in "kernel" or "weight" are another layer's.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    tensors: dict[tuple[str, str], set[int | None]] = {}
    own, needed = patterns(form, layer, direction, prefixed=True), sizes.weights(form)
    for name in known.holding({literal for _, literal, _ in own}):
        hit = find_hit(own, name)
        if hit is not None:
            text = hit.text if (layer, direction) == ("single", "one") else ""
            groups.setdefault(hit.prefix, {}).setdefault(text, []).append(name)
            tensors.setdefault((hit.prefix, text), set()).add(hit.tensor)
    for prefix, texts in groups.items():
        for text, names in texts.items():
            if needed <= tensors[prefix, text]:
                yield (prefix if len(texts) == 1 else prefix + text), names


def _problem(layout: Layout, matched: Match, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str | None, str | None]:
    """Why these shapes could not be read, if they could not; what they could be read with, if they tell too little."""
    config: dict[str, Any] = {}
    open_: str | None = None
    while True:
        try:
            engine.check_shapes(layout, matched, shapes, config)
        except NotTold as problem:
            options = problem.options
            if problem.argument in config or not options:
                return str(problem), None
            open_ = f"{problem} (config={{{problem.argument!r}: …}} with layout={layout.name!r})"
            config[problem.argument] = options[0]
        except UnilstmError as problem:
            return str(problem), None
        else:
            return None, open_
