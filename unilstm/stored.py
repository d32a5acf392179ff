"""Layers that keep their parameters as another system does: its names, its shapes, its tensors.

A form of a layout (layouts/) says where every gate of every canonical array sits. From that, `Storage` puts the
canonical arrays together out of the tensors, with a backend's own operations, so that gradients reach the tensors. A
backend that offers `stored()` has a class of such layers; `unilstm.compat` builds on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .errors import LayoutError
from .layer import LayerMethods
from .layouts.places import Block, Place, places
from .layouts.tables import Form
from .masks import uniform
from .ops import Ops, Tensor
from .parameters import parameters
from .spec import LSTMSpec
from .weights import Weights

if TYPE_CHECKING:
    from .models.ops import ModelOps

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Piece:
    """Rows of a canonical array, and the part of a tensor that holds them.

    inner: the shape of the tensor that `where` is about; () where it is the tensor's own. where: () for all of it.
    """

    tensor: str
    inner: Shape
    where: tuple[Any, ...]
    shape: Shape
    transposed: bool

    def take(self, ops: Ops, tensor: Tensor) -> Tensor:
        part = ops.reshape(tensor, self.inner) if self.inner else tensor
        part = part[self.where] if self.where else part
        part = ops.reshape(part, self.shape) if tuple(part.shape) != self.shape else part
        return ops.transpose(part) if self.transposed else part


class Storage:
    """The tensors of a spec in a form of a layout: names, shapes, and which parts of them are which parameters.

    prefix: before every name. fixed: the names of initial states that the form has, but the spec does not learn.
    """

    def __init__(self, form: Form, spec: LSTMSpec, prefix: str = "") -> None:
        self.form, self.spec = form, spec
        found = [replace(place, name=prefix + place.name) for place in places(form, spec)]
        self.shapes: dict[str, Shape] = {place.name: place.shape for place in found}
        self.fixed = tuple(place.name for place in found if place.fixed)
        self.wanted = {name: p.shape for name, p in parameters(spec).items()}
        self.pieces = {name: _pieces(found, name) for name in self.wanted}
        held = {name for name, pieces in self.pieces.items() if pieces}
        if missing := [name for name in self.wanted if name not in held]:
            raise LayoutError(f"form {form.name!r} has no place for {missing[0]!r} of {spec!r}.")

    def assemble(self, ops: Ops, own: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The canonical arrays. own: a tensor by its name."""
        return {name: self._array(ops, own, name) for name in self.wanted}

    def _array(self, ops: Ops, own: Callable[[str], Tensor], name: str) -> Tensor:
        parts = [piece.take(ops, own(piece.tensor)) for piece in self.pieces[name]]
        shape = self.wanted[name]
        if len(parts) == 1:
            return parts[0] if tuple(parts[0].shape) == shape else ops.reshape(parts[0], shape)
        return ops.reshape(ops.concat([ops.reshape(part, (-1,)) for part in parts]), shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and (self.form, self.spec) == (other.form, other.spec)

    def __hash__(self) -> int:
        return hash((self.form.name, self.spec))


def _pieces(found: Iterable[Place], parameter: str) -> tuple[_Piece, ...]:
    """Where the rows of a parameter are, in their order; neighbours in one tensor are one piece."""
    there = [
        (block, place) for place in found for block in place.blocks if block.parameter == parameter and not place.fixed
    ]
    if any(block.offset for block, _ in there):
        raise LayoutError(f"{parameter!r} is stored with an offset, and a stored layer would train the stored value.")
    if any(block.reshaped for block, _ in there):
        raise LayoutError(f"{parameter!r} is stored in cuDNN's order, in which a stored layer cannot train it.")
    joined: list[tuple[Block, Place]] = []
    for block, place in sorted(there, key=lambda item: item[0].rows.start):
        both = _joined(joined[-1][0], block) if joined and joined[-1][1] is place else None
        if both is None:
            joined.append((block, place))
        else:
            joined[-1] = (both, place)
    return tuple(_piece(block, place) for block, place in joined)


def _joined(first: Block, second: Block) -> Block | None:
    """Two blocks as one, where the second follows the first in the array and in the tensor."""
    if first.rows.stop != second.rows.start or len(first.where) != len(second.where):
        return None
    axes = [n for n, (a, b) in enumerate(zip(first.where, second.where, strict=True)) if a != b]
    if len(axes) != 1:
        return None
    axis, (a, b) = axes[0], (first.where[axes[0]], second.where[axes[0]])
    if not (isinstance(a, slice) and isinstance(b, slice) and a.stop == b.start):
        return None
    shape = list(first.shape)
    shape[axis - len(first.where)] += second.shape[axis - len(first.where)]
    where = (*first.where[:axis], slice(a.start, b.stop), *first.where[axis + 1 :])
    return replace(first, rows=slice(first.rows.start, second.rows.stop), where=where, shape=tuple(shape))


def _piece(block: Block, place: Place) -> _Piece:
    whole = all(
        isinstance(w, slice) and (w.start, w.stop) == (0, n) for w, n in zip(block.where, place.inner, strict=True)
    )
    inner = () if place.inner == place.shape else place.inner
    return _Piece(place.name, inner, () if whole else block.where, block.shape, block.transposed)


def is_list(path: str, names: Iterable[str]) -> bool:
    """Is what is under a path numbered from 0 on, without gaps?"""
    under = {name[len(path) + 1 :].partition(".")[0] for name in names if name.startswith(f"{path}.")}
    return under == {str(n) for n in range(len(under))}


class Draws(Protocol):
    """Random numbers for initial values, one call after the other. dtype: what they are drawn in."""

    dtype: str

    def uniform(self, shape: Shape, low: float, high: float) -> Any:
        """An array or a tensor of the framework."""

    def normal(self, shape: Shape) -> np.ndarray[Any, np.dtype[Any]]:
        """Mean 0, deviation 1, float64."""


class Counted:
    """Draws that follow from a seed: the same on every backend."""

    dtype = "float64"

    def __init__(self, seed: int) -> None:
        self.seed, self.stream = seed, 0

    def uniform(self, shape: Shape, low: float, high: float) -> Any:
        return low + (high - low) * self._next(shape)

    def normal(self, shape: Shape) -> np.ndarray[Any, np.dtype[Any]]:
        u = self._next((2, *shape))
        return np.asarray(np.sqrt(-2.0 * np.log1p(-u[0])) * np.cos(2.0 * np.pi * u[1]))  # Box & Muller 1958

    def _next(self, shape: Shape) -> np.ndarray[Any, np.dtype[Any]]:
        self.stream += 1
        return uniform(self.seed, self.stream, shape)


class StoredMethods(LayerMethods):
    """Mixed into each backend's stored layer, which adds how its framework keeps tensors."""

    storage: Storage
    _own_names = False
    _embeddings: Mapping[str, int] = {}  # modules that are embeddings, and the number of their padding

    def _draws(self, dtype: str, device: Any) -> Draws:
        """From the framework's own generator, where it has one: as the framework's own layers draw."""
        raise NotImplementedError

    def _default_dtype(self) -> str:
        raise NotImplementedError

    def _store(
        self,
        values: Mapping[str, Any],
        dtype: str,
        device: Any,
        *,
        frozen: Iterable[str] = (),
        buffers: Iterable[str] = (),
    ) -> None:
        """Keep these tensors under their names, dots between modules. frozen: not trained. buffers: not parameters."""
        raise NotImplementedError

    def _own(self, name: str) -> Tensor:
        """A tensor by its name."""
        raise NotImplementedError

    def _assign(self, name: str, value: Any) -> None:
        """Give a tensor new values: an array, or a tensor of the framework, of its shape."""
        raise NotImplementedError

    def _device(self) -> Any:
        """Where the tensors are, in the framework's way to name it; None where it has one place only."""
        return None

    def _second_names(self) -> dict[str, str]:
        """Further names under which a state_dict of the home framework has tensors, and the names of those."""
        return {}

    def _renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        """A state_dict of the other system with the names that are stored here, where it has others for them."""
        return given

    def _array(self, tensor: Tensor) -> Any:
        """A NumPy copy of a tensor."""
        raise NotImplementedError

    def _lstm(self, x: Any, state: Any = None, **kwargs: Any) -> Any:
        """The call of the backend's LSTM layer: lengths, key, masks, return_cell_sequence."""
        raise NotImplementedError

    def _tensor(self, x: Any) -> Tensor:
        """An array, or a tensor of the framework, as a tensor of the layer's dtype, where the layer is."""
        raise NotImplementedError

    def _copy(self, x: Tensor) -> Tensor:
        """A tensor that may be changed in place."""
        raise NotImplementedError

    def _detach(self, x: Tensor) -> Tensor:
        """The values without their history."""
        raise NotImplementedError

    def _flip(self, x: Tensor) -> Tensor:
        """The second axis reversed."""
        raise NotImplementedError

    def _training(self) -> bool | None:
        """Does the layer train, where it has such a mode?"""
        return None

    def _evaluating(self) -> Any:
        """A context of evaluation mode, without gradients."""
        return contextlib.nullcontext()

    def _model_ops(self) -> ModelOps:
        """What the backend computes models with."""
        raise NotImplementedError

    def _tracing(self, x: Tensor) -> bool:
        """Are the values of x unknown here?"""
        raise NotImplementedError

    def _valid_first(self, mask: Any, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A mask [B, T] as (order [B, T], which brings the steps that count to the front; back [B, T], which undoes it;
        their number [B])."""
        raise NotImplementedError

    def _take_steps(self, x: Tensor, order: Tensor) -> Tensor:
        """[B, T, F] with the steps of each row in this order."""
        raise NotImplementedError

    def _tensors(self) -> dict[str, Tensor]:
        return self.storage.assemble(self._ops(), self._own)

    def weights(self) -> Weights:
        """The canonical arrays: unilstm.port and unilstm.save take them from here."""
        return Weights(self.spec, {name: self._array(tensor) for name, tensor in self._tensors().items()})
