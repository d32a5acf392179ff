"""A stream: one step after another, its state carried on, its weights read once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from . import calls
from .errors import InputError
from .ops import Tensor
from .run import check_step, weights_of

if TYPE_CHECKING:
    from .layer import LayerMethods


class Steps(Protocol):
    """A backend's way to run the steps, on weights brought into the form that a step reads fastest."""

    def plain(self, x: Any) -> bool:
        """Is x of the stream's shape and dtype, and can be read as it is?"""

    def tidy(self, x: Any) -> Any:
        """An x of the right shape and dtype that is not plain, made so; raises InputError where that cannot be."""

    def run(self, x: Any) -> Tensor:
        """One step: a plain x, [B, I] or [I] → h [B, P or H] or [P or H]."""

    def state(self) -> tuple[Tensor, Tensor]:
        """Copies of h [L, B, P or H] and c [L, B, slots·H]."""

    def set_state(self, h: Tensor, c: Tensor) -> None: ...


class Stream:
    """What layer.stream() makes. `y = stream(x)` is a step: x [B, I] → h [B, P or H]; without B where there is none.

    The weights are read once and must not change from when the stream is made: where the framework tells of a change,
    it raises InputError at the next step. It evaluates: nothing is dropped, no gradient is recorded. One
    stream takes one step at a time, from whichever thread; several streams run side by side.
    """

    def __init__(self, layer: LayerMethods, state: Any = None, batch_size: int | None = None) -> None:
        check_step(layer.spec)
        self._layer, self._lock = layer, threading.Lock()
        rows = batch_size if state is None else _rows(state)
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1 or batch_size != rows):
            of = "" if state is None else f", and as the state given has it: {rows}"
            raise InputError(f"batch_size={batch_size!r} must be a whole number of at least 1{of}. Or leave it out.")
        self._shape = (layer.spec.input_size,) if rows is None else (rows, layer.spec.input_size)
        self._weights, self._memory = layer._versions(), layer._memory()
        with layer._without_gradients():
            h, c = self._start(state)
            self._steps = layer._steps(h, c, rows)
            if self._steps is None:
                self._state = self._given_back(h, c)

    @property
    def state(self) -> tuple[Tensor, Tensor]:
        """(h_n, c_n) as the layer's step() returns it; a copy."""
        with self._lock, self._layer._without_gradients():
            return self._state if self._steps is None else self._given_back(*self._steps.state())

    def reset(self, state: Any = None) -> None:
        """Go on from this state, or from the layer's initial one. Raises InputError where it does not fit."""
        with self._lock, self._layer._without_gradients():
            h, c = self._start(state)
            if self._steps is None:
                self._state = self._given_back(h, c)
            else:
                self._steps.set_state(h, c)

    def __call__(self, x: Any) -> Tensor:
        layer, steps = self._layer, self._steps
        with self._lock:
            if layer._versions() != self._weights:
                raise InputError(
                    "the layer's weights have changed since this stream was made, which reads them once. "
                    "Make another that goes on from here: layer.stream(stream.state)."
                )
            if steps is not None:
                return steps.run(x if steps.plain(x) else steps.tidy(self._checked(x)))
            with layer._without_gradients():
                y, self._state = layer._run_step(self._checked(x), self._state, None)
            return y

    def _start(self, state: Any) -> tuple[Tensor, Tensor]:
        """h [L, B, P or H] and c [L, B, slots·H], new, and how to give them back."""
        ops, spec, params = self._layer._ops(), self._layer.spec, self._layer._tensors()
        for k in range(spec.num_layers):
            weights_of(spec, params, k, 0)  # are they all right?
        one = next(iter(params.values()))
        shape = list(self._shape)
        shape.insert(1 if len(shape) == 2 and spec.batch_first else 0, 1)
        self._dtype = ops.dtype(one)
        self._form = calls.receive(ops, spec, self._dtype, ops.zeros(shape, one), state, None)
        states = calls.initial_state(ops, spec, params, self._form)
        return ops.stack([h for h, _ in states]), ops.stack([c for _, c in states])

    def _given_back(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return calls.give_back_state(self._layer._ops(), self._layer.spec, self._form, h, c)

    def _checked(self, x: Any) -> Any:
        ops = self._layer._ops()
        if not ops.is_tensor(x) or tuple(x.shape) != self._shape:
            got = f"has shape {list(x.shape)}" if ops.is_tensor(x) else f"is a {type(x).__name__}"
            raise InputError(
                f"x {got}, but this stream takes a {ops.tensor_kind()} {list(self._shape)}: [B, I], or [I] where "
                "it was made without batch_size= and state=. Give that, or make a stream for this x."
            )
        if ops.dtype(x) != self._dtype:
            raise InputError(f"x is {ops.dtype(x)} but the layer is {self._dtype}. Convert x.")
        self._layer._check_streamed(x)
        return x


def _rows(state: Any) -> int | None:
    """How many rows a state is of, as far as its form tells; what is wrong with it is found later."""
    shape: Any = getattr(state[0], "shape", ()) if isinstance(state, (tuple, list)) and state else ()
    return int(shape[1]) if len(shape) == 3 else None
