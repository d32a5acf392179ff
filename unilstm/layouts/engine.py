"""Reading and writing: one engine for all layouts.

A layout's tensors say where every gate of every canonical array sits (`places`). Writing copies along these places into
new tensors, reading copies along the same places out of given ones; so one is the inverse of the other by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LayoutError
from ..parameters import Array, Parameter, layer_parameters, parameters
from ..spec import LSTMSpec
from ..weights import DTYPES, Weights
from . import arguments, losses, naming, sizes
from .naming import Key, Match
from .tables import Form, Part, Tensor

if TYPE_CHECKING:
    from .layout import Layout

Roles = dict[str, Parameter]
Where = tuple[int | slice, ...]


@dataclass(frozen=True)
class Block:
    """One gate of a canonical array (or all of one without gates), and where in a tensor it sits.

    rows: of the canonical array. where, shape: of the tensor; the shape is needed where the tensor is a flat vector.
    """

    parameter: str
    rows: slice
    where: Where
    shape: tuple[int, ...]
    transposed: bool
    offset: float

    def views(self, tensor: Array, arrays: Mapping[str, Array]) -> tuple[Array, Array]:
        """The same numbers in the tensor and in the canonical array."""
        inside = tensor[self.where].reshape(self.shape)
        array = arrays[self.parameter][self.rows]
        return inside, array.T if self.transposed else array


@dataclass(frozen=True)
class Place:
    """One tensor of a spec: which, its shape, and what is in it."""

    key: Key
    name: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...]


def places(form: Form, spec: LSTMSpec) -> list[Place]:
    """Every tensor of a spec, in the order in which the system lists them."""
    directions = range(spec.num_directions)
    stack = [[_roles(form, layer_parameters(spec, k, d)) for d in directions] for k in range(spec.num_layers)]
    found = []
    for k, layer in enumerate(stack):
        for d, roles in enumerate(layer):
            for index, tensor in enumerate(form.tensors):
                if not set(tensor.roles) <= set(roles):
                    continue  # a bias, a peephole or a projection that this spec does not have
                if tensor.span == "direction":
                    shape, blocks = _one(tensor, roles)
                elif d == 0 and tensor.span == "layer":
                    shape, blocks = _stacked(tensor, layer)
                elif d == 0 and k == 0:
                    shape, blocks = _flat(tensor, stack)
                else:
                    continue
                name = naming.written(form, tensor, spec.num_layers, spec.num_directions, k, d)
                found.append(Place((index, k, d), name, shape, tuple(blocks)))
    return found


def _roles(form: Form, own: tuple[Parameter, ...]) -> Roles:
    """The parameters by the role that the form's parts know them by."""
    return {form.single_bias if p.role == "bias" and form.single_bias else p.role: p for p in own}


def _one(tensor: Tensor, roles: Roles) -> tuple[tuple[int, ...], list[Block]]:
    """One direction of one layer: the parts one after the other along the tensor's axis."""
    blocks, start, extent = [], 0, [0]
    for part in tensor.parts:
        p = roles[part.role]
        extent = [_width(part, p) * max(1, len(part.gates)), *p.shape[1:]]
        extent = extent[::-1] if part.transposed else extent
        gate_axis = len(extent) - 1 if part.transposed else 0
        for n, rows, offset in _gates(part, p):
            where = [slice(0, size) for size in extent]
            where[gate_axis] = slice(n * _width(part, p), (n + 1) * _width(part, p))
            along = where[tensor.axis]
            where[tensor.axis] = slice(along.start + start, along.stop + start)
            shape = tuple(s.stop - s.start for s in where)
            blocks.append(Block(p.name, rows, tuple(where), shape, part.transposed, offset))
        start += extent[tensor.axis]
    extent[tensor.axis] = start
    return tuple(extent), blocks


def _gates(part: Part, p: Parameter) -> Iterator[tuple[int, slice, float]]:
    """The gates of a part that the parameter has: position in the part, rows in the array, offset at run time."""
    if not part.gates:
        yield 0, slice(0, p.shape[0]), 0.0
    for n, gate in enumerate(part.gates):
        if gate in p.gates:
            at = p.gates.index(gate) * _width(part, p)
            yield n, slice(at, at + _width(part, p)), part.forget_offset if gate == "f" else 0.0


def _width(part: Part, p: Parameter) -> int:
    """Rows of one gate."""
    return p.shape[0] // len(p.gates) if part.gates else p.shape[0]


def _stacked(tensor: Tensor, layer: list[Roles]) -> tuple[tuple[int, ...], list[Block]]:
    """One layer: each direction at its index of a new first axis."""
    blocks: list[Block] = []
    shape: tuple[int, ...] = ()
    for d, roles in enumerate(layer):
        shape, own = _one(tensor, roles)
        blocks += [Block(b.parameter, b.rows, (d, *b.where), b.shape, b.transposed, b.offset) for b in own]
    return (len(layer), *shape), blocks


def _flat(tensor: Tensor, stack: list[list[Roles]]) -> tuple[tuple[int, ...], list[Block]]:
    """Everything in one vector: run by run, layer by layer, direction by direction."""
    blocks, start = [], 0
    for run in sorted({part.run for part in tensor.parts}):
        for roles in (roles for layer in stack for roles in layer):
            for part in (part for part in tensor.parts if part.run == run):
                p = roles[part.role]
                shape = (_width(part, p), *p.shape[1:])
                size = int(np.prod(shape, dtype=np.int64))
                for n, rows, offset in _gates(part, p):
                    where = (slice(start + n * size, start + (n + 1) * size),)
                    own = shape[::-1] if part.transposed else shape
                    blocks.append(Block(p.name, rows, where, own, part.transposed, offset))
                start += size * max(1, len(part.gates))
    return (start,), blocks


def write(layout: Layout, weights: Weights, prefix: str, allow: tuple[str, ...]) -> dict[str, Array]:
    """The arrays as a layout stores them. See Weights.to_layout."""
    losses.check_names(allow)
    form = arguments.write(layout, weights.spec).form  # refuses what has no place
    spec, lost = losses.held(layout, weights.spec)
    arrays = losses.convert(weights, spec)
    out: dict[str, Array] = {}
    exact = True
    for place in places(form, spec):
        tensor = out[place.name] = np.zeros(place.shape, weights.dtype)
        for block in place.blocks:
            inside, array = block.views(tensor, arrays)
            inside[...] = array - array.dtype.type(block.offset) if block.offset else array
            exact = exact and (not block.offset or _bits(_true(inside, block)) == _bits(array))
    losses.check(layout, lost + ["forget-offset"] * (not exact), allow)
    aliases = naming.alias_names(form, spec)
    out = dict(zip(aliases, out.values(), strict=False)) | out
    return {prefix + name: tensor for name, tensor in out.items()}


def _true(inside: Array, block: Block) -> Array:
    """The numbers the system computes with. Rounded once here where it rounds at every step."""
    return inside + inside.dtype.type(block.offset) if block.offset else inside


def _bits(array: Array) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def read(layout: Layout, mapping: Mapping[str, Any], prefix: str, config: Mapping[str, Any]) -> Weights:
    """The weights in a mapping. See Weights.from_layout."""
    given = _under(mapping, prefix)
    try:
        return _read(layout, given, config)
    except LayoutError as problem:
        if not prefix:
            raise
        raise type(problem)(f"{problem} (The names follow prefix={prefix!r}.)") from None


def _read(layout: Layout, given: dict[str, Array], config: Mapping[str, Any]) -> Weights:
    shapes = {name: array.shape for name, array in given.items()}
    matched = match(layout, shapes)
    spec, wanted = check_shapes(layout, matched, shapes, config)
    _check_dtypes(given)
    _check_aliases(wanted, matched, given, spec)
    dtype = next(iter(given.values())).dtype.name  # in this machine's byte order
    arrays = {name: np.empty(p.shape, dtype) for name, p in parameters(spec).items()}
    for place in wanted:
        tensor = given[matched.at[place.key]]
        for block in place.blocks:
            inside, array = block.views(tensor, arrays)
            array[...] = _true(inside, block)
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
) -> tuple[LSTMSpec, list[Place]]:
    """The spec, and its tensors: every one is there, has its shape, and there is none beside. Raises LayoutError."""
    spec = arguments.read(layout, config, sizes.see(matched, shapes))
    wanted = places(matched.form, spec)
    at = {place.key: place.shape for place in wanted}
    for place in wanted:
        if place.key not in matched.at:
            raise LayoutError(
                f"{place.name!r} is missing; in {spec!r} it has shape {list(place.shape)}. Give every tensor there."
            )
    for key, name in matched.at.items():
        if key not in at:
            raise LayoutError(f"{name!r} has no place in {spec!r}. Leave it out, or correct the arguments.")
        if shapes[name] != at[key]:
            raise LayoutError(
                f"{name!r} has shape {list(shapes[name])}, but must have {list(at[key])} in {spec!r}. "
                "Give the tensors of one LSTM, as they are."
            )
    return spec, wanted


def _check_aliases(wanted: list[Place], matched: Match, given: Mapping[str, Array], spec: LSTMSpec) -> None:
    """Aliases point, in order, at the tensors; where both are there they must agree."""
    known = naming.alias_names(matched.form, spec, matched.aliases)
    target = dict(zip(known, (matched.at[place.key] for place in wanted), strict=False))
    for alias in matched.aliases:
        if alias not in target:
            raise LayoutError(f"{alias!r} is not a name of {spec!r}. Leave it out.")
        own, other = given[alias], given[target[alias]]
        if own.shape != other.shape or _bits(own) != _bits(other):
            raise LayoutError(
                f"{alias!r} and {target[alias]!r} are two names of one tensor, but they disagree. "
                f"Leave out the one that is stale."
            )
