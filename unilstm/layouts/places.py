"""Where everything sits: each row group of every canonical array, in each tensor of a form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..parameters import Array, Parameter, layer_parameters
from ..spec import LSTMSpec
from . import naming
from .naming import Key
from .tables import Form, Part, Tensor

Roles = dict[str, Parameter]
Where = tuple[int | slice, ...]
Extent = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """One row group of a canonical array (or all of one without groups), and where in a tensor it sits.

    rows: of the canonical array. where, shape: of the tensor; the shape is needed where the tensor is a flat vector.
    reshaped: the numbers are in the array's order, in another shape.
    """

    parameter: str
    rows: slice
    where: Where
    shape: Extent
    transposed: bool
    offset: float
    reshaped: bool = False

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def write(self, tensor: Array, array: Array) -> bool:
        """Copy the block from its array into its tensor. False if taking off the offset has lost bits."""
        inside, own = tensor[self.where].reshape(self.shape), array[self.rows]
        own = own.T if self.transposed else own.reshape(self.shape)
        if not self.offset:
            inside[...] = own
            return True
        inside[...] = own - own.dtype.type(self.offset)
        return bits(self._true(inside)) == bits(own)

    def read(self, tensor: Array, array: Array, add: bool = False) -> None:
        """Copy the block out of its tensor into its array, or add it there."""
        inside, own = self._true(tensor[self.where].reshape(self.shape)), array[self.rows]
        inside = inside.T if self.transposed else inside.reshape(own.shape)
        own[...] = own + inside if add else inside

    def _true(self, inside: Array) -> Array:
        """The numbers the system computes with. Rounded once here where it rounds at every step."""
        return inside + inside.dtype.type(self.offset) if self.offset else inside


def bits(array: Array) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@dataclass(frozen=True)
class Place:
    """One tensor of a spec: which, its shape, and what is in it.

    inner: the shape its blocks are places of, where it is not the tensor's own. fixed: zeros, of no parameter, or to be
    added to one.
    """

    key: Key
    name: str
    shape: Extent
    blocks: tuple[Block, ...]
    inner: Extent
    fixed: bool = False


def places(form: Form, spec: LSTMSpec) -> list[Place]:
    """Every tensor of a spec, in the order in which the system lists them."""
    layers, directions = range(spec.num_layers), range(spec.num_directions)
    stack = [[_roles(form, spec, k, d) for d in directions] for k in layers]
    found = (
        _place(form, spec, stack, (index, k, d))
        for k in layers
        for d in directions
        for index in range(len(form.tensors))
    )
    return [place for place in found if place is not None]


def _roles(form: Form, spec: LSTMSpec, layer: int, direction: int) -> Roles:
    """The parameters by the role that the form's parts know them by."""
    own = layer_parameters(spec, layer, direction)
    return {form.single_bias if p.role == "bias" and form.single_bias else p.role: p for p in own}


def _place(form: Form, spec: LSTMSpec, stack: list[list[Roles]], key: Key) -> Place | None:
    """None for what the spec lacks, also where it would only be added to that, and for what another place holds."""
    index, k, d = key
    tensor, roles = form.tensors[index], stack[k][d]
    fixed = not set(tensor.roles) <= set(roles)
    if tensor.derived or (fixed and (not tensor.fixed or (tensor.added and tensor.added not in roles))):
        return None
    if tensor.span == "direction":
        inner, blocks = _one(tensor, _lacking(form, spec, tensor, k, d) if fixed else roles)
    elif tensor.span == "layer" and d == 0:
        inner, blocks = _stacked(tensor, stack[k])
    elif tensor.span == "stack" and d == 0 and k == 0:
        inner, blocks = _flat(tensor, stack)
    else:
        return None
    name = naming.written(form, tensor, spec.num_layers, spec.num_directions, k, d)
    kept = () if fixed and not tensor.added else tuple(blocks)
    return Place(key, name, _stored(tensor, spec) or inner, kept, inner, fixed)


def _lacking(form: Form, spec: LSTMSpec, tensor: Tensor, layer: int, direction: int) -> Roles:
    """The parameters of a tensor that the spec lacks: as if it learned its states, or those that it is added to."""
    roles = _roles(form, spec.replace(learned_state=True), layer, direction)
    return dict.fromkeys(tensor.roles, roles[tensor.added]) if tensor.added else roles


def _stored(tensor: Tensor, spec: LSTMSpec) -> Extent:
    """The shape of a tensor that states it."""
    blocks = spec.num_blocks or spec.hidden_size
    sizes = {"1": 1, "K": blocks, "U": spec.hidden_size // blocks, "S": spec.state_size}
    return tuple(sizes[symbol] for symbol in tensor.shape)


def _one(tensor: Tensor, roles: Roles) -> tuple[Extent, list[Block]]:
    """One direction of one layer: the parts one after the other along the tensor's axis, or on a new first one."""
    blocks: list[Block] = []
    extent: list[int] = []
    start = 0
    for n, part in enumerate(tensor.parts):
        extent, own = _part(part, roles[part.role], tensor.axis, start)
        if tensor.stacked:
            blocks += [replace(b, where=(n, *b.where)) for b in own]
        else:
            blocks += own
            start += extent[tensor.axis]
    if tensor.stacked:
        return (len(tensor.parts), *extent), blocks
    extent[tensor.axis] = start
    return tuple(extent), blocks


def _part(part: Part, p: Parameter, axis: int, start: int) -> tuple[list[int], list[Block]]:
    """A part: its extent, and where its row groups are in a tensor in which it begins at `start` of an axis."""
    swapped = part.transposed or part.reshaped
    blocks, total = [], 0
    for first, width, rows, offset in _groups(part, p):
        total = max(total, first + width)
        if rows is not None:
            where = [slice(first, first + width), *(slice(0, size) for size in p.shape[1:])]
            where = where[::-1] if swapped else where
            shape = tuple(s.stop - s.start for s in where)
            where[axis] = slice(where[axis].start + start, where[axis].stop + start)
            blocks.append(Block(p.name, rows, tuple(where), shape, part.transposed, offset, part.reshaped))
    extent = [total, *p.shape[1:]]
    return extent[::-1] if swapped else extent, blocks


def _groups(part: Part, p: Parameter) -> Iterator[tuple[int, int, slice | None, float]]:
    """The row groups of a part: start and width in it, rows in the array (None: it has none), offset at run time."""
    if not part.gates:
        yield 0, p.shape[0], slice(0, p.shape[0]), 0.0
        return
    rows = {(gate, p.gates[:n].count(gate)): own for n, (gate, own) in enumerate(p.rows())}
    start = 0
    for gate, lane in _order(part, p):
        own = rows.get((gate, lane))
        width = min(p.sizes) if own is None else own.stop - own.start
        yield start, width, own, part.forget_offset if gate == "f" else 0.0
        start += width


def _order(part: Part, p: Parameter) -> list[tuple[str, int]]:
    """The gates of a part, each with its lane: lane by lane, the gate that all share with the last."""
    last = max(p.gates.count(gate) for gate in p.gates) - 1
    return [
        (gate, 0 if gate == "r" else lane)
        for lane in range(last + 1)
        for gate in part.gates
        if gate != "r" or lane == last
    ]


def _stacked(tensor: Tensor, layer: list[Roles]) -> tuple[Extent, list[Block]]:
    """One layer: each direction at its index of a new first axis."""
    blocks: list[Block] = []
    extent: Extent = ()
    for d, roles in enumerate(layer):
        extent, own = _one(tensor, roles)
        blocks += [replace(b, where=(d, *b.where)) for b in own]
    return (len(layer), *extent), blocks


def _flat(tensor: Tensor, stack: list[list[Roles]]) -> tuple[Extent, list[Block]]:
    """Everything in one vector: run by run, layer by layer, direction by direction."""
    blocks, start = [], 0
    for run in sorted({part.run for part in tensor.parts}):
        for roles in (roles for layer in stack for roles in layer):
            for part in (part for part in tensor.parts if part.run == run):
                p = roles[part.role]
                per_row = int(np.prod(p.shape[1:], dtype=np.int64))
                end = 0
                for first, width, rows, offset in _groups(part, p):
                    end = first + width
                    if rows is not None:
                        where = (slice(start + first * per_row, start + end * per_row),)
                        own = (width, *p.shape[1:])
                        own = own[::-1] if part.transposed else own
                        blocks.append(Block(p.name, rows, where, own, part.transposed, offset))
                start += end * per_row
    return (start,), blocks
