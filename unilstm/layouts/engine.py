"""Reading and writing: one engine for all layouts.

A layout's tensors say where every gate of every canonical array sits (places.py). Writing copies along these places
into new tensors, reading copies along the same places out of given ones; so one is the inverse of the other by
construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LayoutError
from ..parameters import Array, parameters
from ..spec import LSTMSpec
from ..weights import DTYPES, Weights
from . import arguments, losses, naming, sizes
from .naming import Match
from .places import Place, bits, places

if TYPE_CHECKING:
    from .layout import Layout


def write(layout: Layout, weights: Weights, prefix: str, allow: tuple[str, ...]) -> dict[str, Array]:
    """The arrays as a layout stores them. See Weights.to_layout."""
    losses.check_names(allow)
    held = losses.hold(layout, weights.spec)  # refuses what has no place
    arrays = losses.convert(weights, held.spec)
    wanted = places(held.form, held.spec)
    _check_complete(layout, wanted, arrays)
    out: dict[str, Array] = {}
    exact = True
    for place in wanted:
        out[place.name] = np.zeros(place.shape, weights.dtype)
        tensor = out[place.name].reshape(place.inner)
        for block in () if place.fixed else place.blocks:
            exact = block.write(tensor, arrays[block.parameter]) and exact
    losses.check(layout, held.losses if exact else held.losses | {"forget-offset": ""}, allow)
    aliases = naming.alias_names(held.form, held.spec)
    out = dict(zip(aliases, out.values(), strict=False)) | out
    return {prefix + name: tensor for name, tensor in out.items()}


def _check_complete(layout: Layout, wanted: list[Place], arrays: Mapping[str, Array]) -> None:
    """Every number has one place: a layout that lacks one is wrong, and what it writes would be."""
    left = {name: array.size for name, array in arrays.items()}
    for block in (block for place in wanted if not place.fixed for block in place.blocks):
        left[block.parameter] -= block.size
    if wrong := [name for name, size in left.items() if size]:
        raise LayoutError(
            f"the table of layout {layout.name!r} has not one place for each number of {naming.listed(wrong)}. "
            "This is a fault of the table: report it."
        )


def read(layout: Layout, mapping: Mapping[str, Any], prefix: str, config: Mapping[str, Any]) -> Weights:
    """The weights in a mapping. See Weights.from_layout."""
    given = _under(mapping, prefix)
    try:
        return _read(layout, given, config)
    except LayoutError as problem:
        if not prefix:
            raise
        raise LayoutError(f"{problem} (The names follow prefix={prefix!r}.)") from None


def _read(layout: Layout, given: dict[str, Array], config: Mapping[str, Any]) -> Weights:
    shapes = {name: array.shape for name, array in given.items()}
    matched = match(layout, shapes)
    said, wanted = check_shapes(layout, matched, shapes, config)
    spec = said.spec
    _check_dtypes(given)
    fixed = [place for place in wanted if place.fixed and np.any(given.get(matched.at.get(place.key, ""), 0))]
    for place in fixed:
        if not (said.added and place.blocks):
            _refuse_fixed(matched, place)
    _check_aliases(wanted, matched, given, spec)
    dtype = next(iter(given.values())).dtype.name  # in this machine's byte order
    arrays = {name: np.empty(p.shape, dtype) for name, p in parameters(spec).items()}
    for place in [place for place in wanted if not place.fixed] + fixed:
        tensor = given[matched.at[place.key]].reshape(place.inner)
        for block in place.blocks:
            block.read(tensor, arrays[block.parameter], add=place.fixed)
    return Weights(spec, arrays)


def match(layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> Match:
    """Give every name its place; of the forms that have these names, in the first that the shapes fit."""
    matched = naming.match(layout, shapes)
    variants = [replace(matched, form=form) for form in layout.forms if form.same_names(matched.form)]
    for variant in variants if len(variants) > 1 else ():
        with suppress(LayoutError):
            if sizes.recurrent(variant, shapes):
                return variant
    return matched


def _under(mapping: Mapping[str, Any], prefix: str) -> dict[str, Array]:
    for name in mapping:
        if not isinstance(name, str):
            raise LayoutError(f"the name {name!r} is a {type(name).__name__}. Give a mapping of names to arrays.")
    chosen = [name for name in mapping if name.startswith(prefix)]
    if not chosen:
        raise LayoutError(
            f"no name starts with prefix={prefix!r}. The names are {naming.listed(mapping)}. Give a prefix of theirs."
            if mapping
            else "the mapping is empty. Give a mapping of names to arrays."
        )
    return {name[len(prefix) :]: _array(name, mapping[name]) for name in chosen}


def _array(name: str, value: Any) -> Array:
    detach = getattr(value, "detach", None)  # torch's and Paddle's tensors, when they require a gradient
    try:
        array = np.asarray(detach() if callable(detach) else value)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise LayoutError(f"{name!r} cannot be read as an array: {problem}. Convert it to a NumPy array.") from None
    if array.dtype.name not in DTYPES:
        raise LayoutError(f"{name!r} has dtype {array.dtype}. Convert it to one of: {', '.join(DTYPES)}.")
    return array


def _check_dtypes(given: Mapping[str, Array]) -> None:
    dtypes = {name: array.dtype.name for name, array in given.items()}
    first = next(iter(dtypes))
    for name, dtype in dtypes.items():
        if dtype != dtypes[first]:
            raise LayoutError(f"{name!r} is {dtype}, but {first!r} is {dtypes[first]}. Convert them to one dtype.")


def check_shapes(
    layout: Layout, matched: Match, shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]
) -> tuple[arguments.Said, list[Place]]:
    """What is said, and the spec's tensors: all are there, in shape, and none beside. Raises LayoutError."""
    said = arguments.read(layout, config, sizes.see(matched, shapes))
    spec = said.spec
    wanted = places(matched.form.with_offset(said.forget_offset), spec)
    at = {place.key: place.shape for place in wanted}
    for place in wanted:
        if place.key not in matched.at and not place.fixed:
            raise LayoutError(
                f"{place.name!r} is missing; in {spec!r} it has shape {list(place.shape)}. Give every tensor there."
            )
    for key, name in matched.at.items():
        if matched.form.tensors[key[0]].derived:
            continue
        if key not in at:
            raise LayoutError(f"{name!r} has no place in {spec!r}. Leave it out, or correct the arguments.")
        if shapes[name] != at[key]:
            raise LayoutError(
                f"{name!r} has shape {list(shapes[name])}, but must have {list(at[key])} in {spec!r}. "
                "Give the tensors of one LSTM, as they are."
            )
    return said, wanted


def _refuse_fixed(matched: Match, place: Place) -> None:
    """A tensor of no parameter must not say anything."""
    name = matched.at[place.key]
    if place.blocks:
        raise LayoutError(
            f"{name!r} is a bias beside two others, and not zero. Give add_bias=True to add it to one of them, "
            f"{place.blocks[0].parameter!r} in unilstm's names: lossless for outputs up to the rounding of one "
            "addition, but not for training, because three biases step three times as far."
        )
    raise LayoutError(
        f"{name!r} is an initial state that is not zero. Give learned_state=True to read it as one that a layer "
        "learns, or leave it out of the mapping."
    )


def _check_aliases(wanted: list[Place], matched: Match, given: Mapping[str, Array], spec: LSTMSpec) -> None:
    """Aliases point, in order, at the tensors; where both are there they must agree."""
    known = naming.alias_names(matched.form, spec, matched.aliases)
    target = dict(zip(known, (matched.at[place.key] for place in wanted), strict=False))
    for alias in matched.aliases:
        if alias not in target:
            raise LayoutError(f"{alias!r} is not a name of {spec!r}. Leave it out.")
        own, other = given[alias], given[target[alias]]
        if own.shape != other.shape or bits(own) != bits(other):
            raise LayoutError(
                f"{alias!r} and {target[alias]!r} are two names of one tensor, but they disagree. "
                f"Leave out the one that is stale."
            )
