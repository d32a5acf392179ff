"""A user's own cell under the oracle: their step, and around it the oracle's loops, masks and differentiation.

What a cell of one's own computes is what its step says; there is no second definition of it to compare with. So the
step itself is run, on float64 arrays of one row, over operations of its own that are written here on the tape.
Everything else that a backend does with the cell is judged: its operations, layers, directions, lengths, masks, states
and gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .oracle_cells import Parameter, State, initial_state
from .tape import Array, PullBack, Var
from .tape_functions import activated, chosen, exp, joined

if TYPE_CHECKING:
    from unilstm.spec import LSTMSpec

Shape = tuple[int, ...]


class OwnCell:
    """One direction of one layer of a registered cell."""

    amplification = 1.0  # nothing is known of what is inside a step

    def __init__(self, spec: LSTMSpec, parameter: Parameter, input_size: int) -> None:
        from unilstm.cells import get  # the user's definition, not this project's equations

        self.spec, self.definition = spec, get(spec.cell)
        self.slots = self.cells = spec.slots
        self.p = {a.role: Tensor(parameter(a.role, a.shape)) for a in self.definition.arrays(spec, input_size)}
        self.h_0, self.c_0 = initial_state(spec, parameter, self.slots)

    def step(self, x: Var, h: Var, c: State, mask: Array | None) -> tuple[Var, State]:
        """The user's step on a batch of one: x [1, I], h [1, P], c [1, slots·H]. mask: on the h that it reads."""
        ops: Any = OPS  # what a step may use of the protocol, not the loops and masks that go around it
        read = h if mask is None else h.scaled(mask)
        state = _row(read), _row(joined(*c))
        new_h, new_c = self.definition.step(ops, self.spec, self.p, _row(x), state)
        H, shapes = self.spec.hidden_size, ((1, *h.value.shape), (1, self.slots * self.spec.hidden_size))
        if (new_h.shape, new_c.shape) != shapes:
            raise ValueError(
                f"cell {self.spec.cell!r} made h and c of shapes {new_h.shape}, {new_c.shape}: not {shapes}."
            )
        return new_h.var[0], tuple(new_c.var[0, n * H : (n + 1) * H] for n in range(self.slots))


def _row(v: Var) -> Tensor:
    return OPS.reshape(Tensor(v), (1, *v.value.shape))


class Tensor:
    """What a step computes with: a Var of any shape. Here, and only here, shapes are broadcast, as NumPy's are."""

    __array_ufunc__ = None
    __slots__ = ("var",)

    def __init__(self, var: Var) -> None:
        self.var = var

    @property
    def shape(self) -> Shape:
        return self.var.value.shape

    @property
    def ndim(self) -> int:
        return self.var.value.ndim

    def __add__(self, other: Any) -> Tensor:
        return _of_pair(self, other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> Tensor:
        return _of_pair(other, self, lambda a, b: a + b)

    def __sub__(self, other: Any) -> Tensor:
        return _of_pair(self, other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Tensor:
        return _of_pair(other, self, lambda a, b: a - b)

    def __mul__(self, other: Any) -> Tensor:
        return _of_pair(self, other, lambda a, b: a * b)

    def __rmul__(self, other: Any) -> Tensor:
        return _of_pair(other, self, lambda a, b: a * b)

    def __truediv__(self, other: Any) -> Tensor:
        return _of_pair(self, other, lambda a, b: a / b)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _of_pair(other, self, lambda a, b: a / b)

    def __neg__(self) -> Tensor:
        return _of_pair(0.0, self, lambda a, b: a - b)

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor(self.var[index])

    # Comparisons: plain arrays, for `where`. Tensors are not hashed, so == may compare elements as frameworks do.

    def __lt__(self, other: Any) -> Any:
        return self.var.value < _values(other)

    def __le__(self, other: Any) -> Any:
        return self.var.value <= _values(other)

    def __gt__(self, other: Any) -> Any:
        return self.var.value > _values(other)

    def __ge__(self, other: Any) -> Any:
        return self.var.value >= _values(other)

    def __eq__(self, other: object) -> Any:
        return self.var.value == _values(other)

    def __ne__(self, other: object) -> Any:
        return self.var.value != _values(other)

    __hash__ = None  # type: ignore[assignment]


def _values(x: Any) -> Any:
    return x.var.value if isinstance(x, Tensor) else x


def _var(x: Any) -> Var:
    """Of a Tensor; a number or an array becomes a constant."""
    return x.var if isinstance(x, Tensor) else Var(x)


def _of_pair(a: Any, b: Any, function: Callable[[Var, Var], Var]) -> Tensor:
    x, y = _var(a), _var(b)
    shape = np.broadcast_shapes(x.value.shape, y.value.shape)
    return Tensor(function(_broadcast(x, shape), _broadcast(y, shape)))


def _broadcast(v: Var, shape: Shape) -> Var:
    """Repeated along the axes that are new or were of size 1; the cotangent is summed over these."""
    if v.value.shape == shape:
        return v
    new = len(shape) - v.value.ndim
    axes = tuple(n for n, size in enumerate(shape) if n < new or (v.value.shape[n - new] == 1 and size != 1))
    own = v.value.shape
    return Var(np.broadcast_to(v.value, shape), [(v, lambda ȳ: ȳ.sum(axis=axes, keepdims=True).reshape(own))])


class TapeOps:
    """The operations of unilstm.ops that a step may use, on the tape. See there what each does."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return Tensor(activated(x.var, "sigmoid", None, None))

    def tanh(self, x: Tensor) -> Tensor:
        return Tensor(activated(x.var, "tanh", None, None))

    def exp(self, x: Tensor) -> Tensor:
        return Tensor(exp(x.var))

    def expm1(self, x: Tensor) -> Tensor:
        return Tensor(x.var.apply(np.expm1, np.exp))

    def log1p(self, x: Tensor) -> Tensor:
        return Tensor(x.var.apply(np.log1p, lambda v: 1.0 / (1.0 + v)))

    def sqrt(self, x: Tensor) -> Tensor:
        return Tensor(x.var.apply(np.sqrt, lambda v: 0.5 / np.sqrt(v)))

    def abs(self, x: Tensor) -> Tensor:
        return Tensor(x.var.apply(np.abs, np.sign))

    def maximum(self, x: Tensor, bound: float) -> Tensor:
        return self.where(x >= bound, x, bound)

    def minimum(self, x: Tensor, bound: float) -> Tensor:
        return self.where(x <= bound, x, bound)

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return self.minimum(self.maximum(x, low), high)

    def where(self, condition: Any, x: Any, y: Any) -> Tensor:
        shape = np.broadcast_shapes(np.shape(condition), np.shape(_values(x)), np.shape(_values(y)))
        return Tensor(chosen(np.broadcast_to(condition, shape), *(_broadcast(_var(v), shape) for v in (x, y))))

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        v, w = x.var.value, weight.var.value

        def to_weight(ȳ: Array) -> Array:
            return ȳ.reshape(-1, w.shape[0]).T @ v.reshape(-1, w.shape[1])

        return Tensor(Var(v @ w.T, [(x.var, lambda ȳ: ȳ @ w), (weight.var, to_weight)]))

    def sum(self, x: Tensor) -> Tensor:
        shape = x.shape
        return Tensor(Var(x.var.value.sum(-1, keepdims=True), [(x.var, lambda ȳ: np.broadcast_to(ȳ, shape))]))

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        own = x.shape
        return Tensor(Var(x.var.value.reshape(shape), [(x.var, lambda ȳ: ȳ.reshape(own))]))

    def transpose(self, x: Tensor) -> Tensor:
        return Tensor(Var(x.var.value.swapaxes(0, 1), [(x.var, lambda ȳ: ȳ.swapaxes(0, 1))]))

    def split(self, x: Tensor, count: int) -> list[Tensor]:
        size, rest = divmod(x.shape[-1], count)
        if rest:
            raise ValueError(f"{x.shape[-1]} features are not {count} equal parts.")
        return [x[..., n * size : (n + 1) * size] for n in range(count)]

    def concat(self, parts: Sequence[Tensor]) -> Tensor:
        inputs, end = [], 0
        for part in parts:
            start, end = end, end + part.shape[-1]
            inputs.append((part.var, _span(slice(start, end))))
        return Tensor(Var(np.concatenate([part.var.value for part in parts], axis=-1), inputs))

    def stack(self, parts: Sequence[Tensor]) -> Tensor:
        value = np.stack([part.var.value for part in parts])
        return Tensor(Var(value, [(part.var, _at(n)) for n, part in enumerate(parts)]))

    def expand(self, x: Tensor, rows: int) -> Tensor:
        return Tensor(_broadcast(x.var, (rows, *x.shape)))

    def full(self, value: float, like: Tensor) -> Tensor:
        return Tensor(Var(value))

    def zeros(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return Tensor(Var(np.zeros(shape)))


def _span(span: slice) -> PullBack:
    return lambda ȳ: ȳ[..., span]


def _at(n: int) -> PullBack:
    return lambda ȳ: ȳ[n]


OPS = TapeOps()
