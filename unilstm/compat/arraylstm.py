"""In place of array-lstm (Rocki 2016): `from unilstm.compat.arraylstm import ArrayLSTM`, LSTM, StochasticArrayLSTM,
AttentionArrayLSTM.

Override `forward_cell` to make a cell of your own. It runs on every backend if it is written with operators, the maps
`self.i2h`, `self.h2h` and the operations of `self.ops`.

What differs from array-lstm 0.0.1: the caller's initial c is not changed in place; the cells compute in the dtype of
their weights (there some tensors are float32 whatever the weights are); a call takes lengths=; `update_hidden` is not
called and so may not be overridden. The attributes that the constructor settles are read-only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..errors import InputError, SpecError
from ..ops import Ops
from ..stored import Draws, Shape
from .dropin import DropIn, given_arguments, settled, spec_of
from .initial import linear


class LSTM(DropIn):
    """arrayLSTM.LSTM: the plain LSTM, [B, T, I] in.

    input_size, hidden_size: as there. backend: "torch" (a torch.nn.Module with the nn.Linears i2h and h2h) or another;
    seed, dtype, device, path: as in unilstm.LSTM. What differs: see the module.

    Of a class that overrides `forward_cell`, the tensors are those of its base; `spec`, weights() and explain() are
    about the base's equations.
    """

    layout = "arraylstm"
    _cell: ClassVar[str] = "LSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        self._make(given_arguments(locals()))

    input_size, hidden_size = settled("input_size"), settled("hidden_size")

    def _make(self, given: dict[str, Any]) -> None:
        if hasattr(type(self), "update_hidden"):
            raise SpecError(
                f"{self._public.__qualname__} overrides update_hidden, which nothing calls here. Override forward_cell."
            )
        super().__init__()
        config = {name: given[name] for name in ("input_size", "hidden_size", "k", "max_pooling") if name in given}
        # Of one lane the largest is that lane.
        cell = "ArrayLSTM" if given.get("k") == 1 and self._cell == "StochasticArrayLSTM" else self._cell
        form = "attention" if cell == "AttentionArrayLSTM" else "array"
        self._build(given, *spec_of("arraylstm", form, config | {"cell": cell}))

    @property
    def ops(self) -> Ops:
        """The backend's operations (unilstm.ops), for a forward_cell that runs on all."""
        return self._ops()

    def forward(self, x: Any, hidden: Any = None, *, lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """x [B, T, I]; hidden (h [1, B, H], c [k, B, H]), zeros if not given.

        Returns the outputs [B, T, H], and the final (h [1, B, H], c [k, B, H]).
        """
        if type(self).forward_cell is not LSTM.forward_cell:
            return self._by_cell(x, hidden, lengths)
        y, state = self._lstm(x, None if hidden is None else self._inside(*hidden), lengths=lengths)
        return y, self._outside(*state)

    def forward_cell(self, x: Any, hidden: Any, state: Any) -> tuple[Any, Any]:
        """One step: x [B, I], hidden [1, B, H], state [k, B, H] → the next hidden and state. Override it."""
        return self._outside(*self._run_step(x, self._inside(hidden, state), None)[1])

    def initHidden(self, x: Any) -> tuple[Any, Any]:
        """Zeros for the rows of x: (h [1, B, H], c [k, B, H])."""
        ops, rows, size = self._ops(), x.shape[0], self.spec.hidden_size
        return ops.zeros((1, rows, size), x), ops.zeros((self.spec.lanes, rows, size), x)

    def _by_cell(self, x: Any, hidden: Any, lengths: Any) -> tuple[Any, tuple[Any, Any]]:
        """Step by step through a user's forward_cell, which may change its states in place: they are copies."""
        if lengths is not None:
            raise InputError("lengths were given, but an overridden forward_cell sees every step. Cut x instead.")
        ops = self._ops()
        start = self.initHidden(x) if hidden is None else hidden

        def body(carry: Any, step: Any) -> tuple[Any, Any]:
            h, c = self.forward_cell(step[0], *carry)
            return (h, c), (self._copy(h[0]),)

        final, (outputs,) = ops.scan(body, tuple(map(self._copy, start)), (ops.transpose(x),), False)
        return ops.transpose(outputs), final

    def _inside(self, h: Any, c: Any) -> tuple[Any, Any]:
        """(h, c [k, B, H]) as the core has it: c [1, B, k, H] of several lanes."""
        if self.spec.lanes == 1:
            return h, c
        if len(c.shape) != 3 or c.shape[0] != self.spec.lanes:
            raise InputError(
                f"the state has shape {list(c.shape)}, but must have [{self.spec.lanes}, batch, features]."
            )
        ops = self._ops()
        c = ops.transpose(c)
        return h, ops.reshape(c, (1, *c.shape))

    def _outside(self, h: Any, c: Any) -> tuple[Any, Any]:
        return (h, c) if self.spec.lanes == 1 else (h, self._ops().transpose(c[0]))

    def _initial(self, draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        fan_in = {name.partition(".")[0]: shape[1] for name, shape in shapes.items() if len(shape) == 2}
        return {name: linear(draws, shape, fan_in[name.partition(".")[0]]) for name, shape in shapes.items()}


class ArrayLSTM(LSTM):
    """arrayLSTM.ArrayLSTM: k cells a hidden unit, h = Σ_k o_k tanh(c_k).

    input_size, hidden_size, k: as there. The rest: see LSTM.
    """

    _cell = "ArrayLSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        k: int,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        self._make(given_arguments(locals()))

    k = settled("k")

    def _initial(self, draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        # The original first makes the maps of an LSTM, and throws them away: its generator has moved on by then.
        one = {name: (4 * self.spec.hidden_size, *shape[1:]) for name, shape in shapes.items() if "i2a" not in name}
        super()._initial(draws, one)
        return super()._initial(draws, shapes)


class StochasticArrayLSTM(ArrayLSTM):
    """arrayLSTM.extensions.stochastic.StochasticArrayLSTM: unit by unit the cell whose output gate is the largest.

    input_size, hidden_size, k: as there. The rest: see LSTM.
    """

    _cell = "StochasticArrayLSTM"


class AttentionArrayLSTM(ArrayLSTM):
    """arrayLSTM.extensions.attention.AttentionArrayLSTM: the gates of each cell weighted by an attention of x, i2a.

    input_size, hidden_size, k, max_pooling (every cell has the largest weight): as there; k must be more than 1. The
    rest: see LSTM.
    """

    _cell = "AttentionArrayLSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        k: int,
        max_pooling: bool = False,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        self._make(given_arguments(locals()))

    max_pooling = settled("max_pooling")
