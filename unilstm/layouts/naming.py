"""Which tensor of a layout a name stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import LayoutError
from ..parameters import layer_parameters
from ..spec import LSTMSpec
from .tables import Form, Names, Piece, Tensor

if TYPE_CHECKING:
    from .layout import Layout

Key = tuple[int, int, int]  # tensor, layer, direction
Patterns = list[tuple[int | None, str, re.Pattern[str]]]  # tensor (None: an alias), literal, pattern

# How a layer's number is written: itself, or twice itself.
_NUMBERS = {"{k}": "(?P<k>0|[1-9][0-9]{0,8})", "{2k}": "(?P<k2>0|[2468]|[1-9][0-9]{0,7}[02468])"}

# Alias names are Paddle's, which are torch's.
_ALIASES = Names("_l{k}", always=True, two=(Piece(""), Piece("_reverse")))


@dataclass
class Match:
    """The names of one form: by tensor, layer and direction; those that are aliases; how many layers and directions."""

    form: Form
    at: dict[Key, str] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)
    num_layers: int = 1
    num_directions: int = 1


@dataclass(frozen=True)
class Hit:
    """What a name says: which tensor (None for an alias), which layer and direction, and the text of the direction."""

    tensor: int | None
    layer: int
    direction: int
    two: bool
    text: str
    prefix: str = ""


def match(layout: Layout, names: Iterable[str]) -> Match:
    """Give every name its place, in the first form that explains all of them.

    Raises LayoutError where there is none: for names that have no place, or two for one.
    """
    known = list(names)
    fitting: list[tuple[Match, list[str]]] = []
    problems: list[LayoutError] = []
    for form in layout.forms:
        try:
            matched, rest = match_form(form, known)
        except LayoutError as problem:
            problems.append(problem)
            continue
        if matched.at and not rest:
            return matched
        fitting += [(matched, rest)] if matched.at else []
    if problems:
        raise problems[0]
    if fitting:
        rest = min((rest for _, rest in fitting), key=len)
        raise LayoutError(
            f"{listed(rest)} {'is' if len(rest) == 1 else 'are'} not part of an LSTM in layout "
            f"{layout.name!r}. Give the prefix= of one LSTM, or leave what is not one out of the mapping."
        )
    usual = dict.fromkeys(name for form in layout.forms for name in samples(form))
    raise LayoutError(
        f"no tensor of layout {layout.name!r} is among {listed(known)}. Its names are such as {listed(usual)}. "
        "Give the layout that the names follow, or the prefix= they stand under."
    )


def match_form(form: Form, names: Iterable[str]) -> tuple[Match, list[str]]:
    """The names that fit a form, and the rest."""
    matched, rest = Match(form), []
    texts: dict[tuple[int, int], str] = {}
    layers, known = {0}, patterns(form)
    for name in names:
        hit = find_hit(known, name)
        if hit is None:
            rest.append(name)
        elif hit.tensor is None:
            matched.aliases.append(name)
        else:
            other = matched.at.setdefault((hit.tensor, hit.layer, hit.direction), name)
            text = texts.setdefault((hit.layer, hit.direction), hit.text)
            if other != name or text != hit.text:
                raise LayoutError(f"{other!r} and {name!r} belong to different LSTMs. Give the prefix= of one.")
            layers.add(hit.layer)
            matched.num_directions = max(matched.num_directions, 1 + hit.two)
    gap = next((k for k in range(len(layers)) if k not in layers), None)
    if gap is not None:
        raise LayoutError(f"there are tensors of layer {max(layers)}, but none of layer {gap}. Give every layer.")
    matched.num_layers = len(layers)
    return matched, rest


def find_hit(known: Patterns, name: str) -> Hit | None:
    """What a name says, if it has one of these patterns; of several the one that explains most of it."""
    best: Hit | None = None
    for tensor, literal, regex in known:
        hit = regex.fullmatch(name) if literal in name else None
        if hit is not None:
            said = hit.groupdict()
            back, fore, one = (said.get(g) for g in ("back", "fore", "one"))
            text = next((t for t in (back, fore, one) if t is not None), "")
            two = back is not None or fore is not None
            layer = int(said.get("k") or 0) or int(said.get("k2") or 0) // 2
            prefix = said.get("prefix") or ""
            if best is None or len(prefix) < len(best.prefix):
                best = Hit(tensor, layer, int(back is not None), two, text, prefix)
            if not prefix:
                break
    return best


@lru_cache(maxsize=256)
def patterns(form: Form, layer: str = "any", direction: str = "any", prefixed: bool = False) -> Patterns:
    """For every tensor and alias of a form: its index, a text that its name surely has, and its pattern.

    layer: "any", or "stack" or "single" for names with or without a layer only; direction: "any", "two", "one".
    prefixed: after as short a prefix as will do.
    """
    before = f"(?P<prefix>(?:.*?[{form.joints}])??)" if prefixed else ""
    templates: list[tuple[int | None, str, Names]] = [(i, t.name, form.names) for i, t in enumerate(form.tensors)]
    templates += [(None, alias, _ALIASES) for alias in form.aliases]
    found: Patterns = []
    for index, template, names in templates:
        pieces = re.split(r"(\{layer\}|\{direction\})", template)
        words = {"{layer}": _layer_pattern(names, layer), "{direction}": _direction_pattern(names, direction)}
        regex = re.compile(before + "".join(words[p] if p in words else _escape(p) for p in pieces), re.DOTALL)
        literal = max((word for p in pieces if p not in words for word in p.split("/")), key=len)
        found.append((index, literal, regex))
    return found


def _layer_pattern(names: Names, layer: str) -> str:
    text = _escape(names.layer) if isinstance(names.layer, str) else _piece(names.layer)
    for number, pattern in _NUMBERS.items():
        text = text.replace(_escape(number), pattern).replace(number, pattern)
    if names.always or layer == "stack":
        return text
    return f"(?:{text})?" if names.layer and layer == "any" else ""


def _direction_pattern(names: Names, direction: str) -> str:
    one = f"(?P<one>{_piece(names.one)})"
    if names.two is None:
        return one
    fore, back = (_piece(piece) for piece in names.two)
    if not explicit(names):
        return f"(?:(?P<back>{back})|{one})"
    two = f"(?P<back>{back})|(?P<fore>{fore})"
    return {"one": one, "two": f"(?:{two})", "any": f"(?:{two}|{one})"}[direction]


def explicit(names: Names) -> bool:
    """Does the name of a forward tensor tell that there is a backward one, too?"""
    return names.two is not None and names.two[0] != names.one


def _piece(piece: Piece) -> str:
    return piece.pattern or _escape(piece.text)


def _escape(text: str) -> str:
    """The text itself; a tree's path may be joined by "/" or by "."."""
    return re.escape(text).replace("/", "[/.]")


def alias_names(form: Form, spec: LSTMSpec, given: Iterable[str] | None = None) -> list[str]:
    """The aliases in the order of the tensors they point at, one after the other: see paddle.py.

    All that a spec has; or, of those, only the kinds of which one is among the given names.
    """
    roles = {p.role for p in layer_parameters(spec, 0, 0)}
    kinds = [alias for alias, tensor in zip(form.aliases, form.tensors, strict=False) if roles >= set(tensor.roles)]
    every = [
        [_alias(kind, spec, k, d) for kind in kinds] for k in range(spec.num_layers) for d in range(spec.num_directions)
    ]
    if given is not None:
        there = set(given)
        kept = [n for n in range(len(kinds)) if any(names[n] in there for names in every)]
        every = [[names[n] for n in kept] for names in every]
    return [name for names in every for name in names]


def _alias(kind: str, spec: LSTMSpec, layer: int, direction: int) -> str:
    return kind.format(
        layer=_ALIASES.layer_text(layer, spec.num_layers),
        direction=_ALIASES.direction_text(direction, spec.num_directions),
    )


def written(form: Form, tensor: Tensor, num_layers: int, num_directions: int, layer: int, direction: int) -> str:
    """The name that a tensor is written under."""
    names = form.names
    return tensor.name.format(
        layer=names.layer_text(layer, num_layers), direction=names.direction_text(direction, num_directions)
    )


def samples(form: Form) -> list[str]:
    return [written(form, tensor, 1, 1, 0, 0) for tensor in form.tensors]


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(repr(name) for name in known[:most]) or "no names at all") + more
