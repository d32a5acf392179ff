"""The LSTM as a paddle.nn.Layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import paddle

import unilstm.run
from unilstm.errors import InputError
from unilstm.layer import LayerMethods
from unilstm.parameters import Parameter, layer_parameters, parameters
from unilstm.paths import Path, check_path
from unilstm.spec import LSTMSpec
from unilstm.weights import Weights

from . import native, streaming
from .native import paths, to_numpy
from .ops import OPS, PaddleOps

# to_static rewrites the source of what a layer calls, in case it branches on tensors. Nothing here does (that is the
# rule for ops.py), and the rewriting does not know all of Python: zip(strict=True) is beyond it.
paddle.jit.ignore_module([unilstm.run, unilstm.layer, unilstm.paths, unilstm.calls, unilstm.masks, native])


class LSTM(paddle.nn.Layer, LayerMethods):  # type: ignore[misc]
    """An LSTM whose state_dict, for a standard spec, is that of paddle.nn.LSTM, alias names included.

    y, (h_n, c_n) = lstm(x, state, lengths=…).
    In training mode dropout draws its key from Paddle's generator, or takes key= or the masks=
    themselves.
    """

    def __init__(self, weights: Weights, *, device: Any = None, path: str = "auto") -> None:
        super().__init__()
        check_dtype(weights.dtype, device)
        self.spec, self.path = weights.spec, path
        for k in range(self.spec.num_layers):
            layer = self.add_sublayer(str(k), paddle.nn.Layer())
            for d in range(self.spec.num_directions):
                cell = layer.add_sublayer(_cell_name(self.spec, d), paddle.nn.Layer())
                for p in layer_parameters(self.spec, k, d):
                    parameter = create(cell, weights[p.name].T if _transposed(p.name) else weights[p.name])
                    cell.add_parameter(_role(p), parameter)
                    self.add_parameter(_alias(p.name), parameter)
        if device is not None:
            self.to(device=device)
        check_path(path, self._paths(weights.dtype))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        run_as_it_is(cls)

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        key: Any = None,
        masks: Any = None,
        return_cell_sequence: bool = False,
    ) -> Any:
        """x: [B, T, I] (or as spec.batch_first says), or [T, I]. Returns y, (h_n, c_n)[, c of every step]."""
        return self._run(x, state, lengths, self._masks(key, masks, x, self.training), return_cell_sequence)

    def step(self, x: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        """One step of a stream: x [B, I] or [I] → h, (h_n, c_n)."""
        masks = self._masks(key, masks, x, self.training)
        plain = masks is None and state is not None and self._own_names
        return (streaming.step(self, x, state) if plain else None) or self._run_step(x, state, masks)

    def weights(self) -> Weights:
        return Weights(self.spec, {name: to_numpy(value, name) for name, value in self._tensors().items()})

    def set_state_dict(self, state_dict: Any, use_structured_name: bool = True) -> tuple[list[str], list[str]]:
        """Load a state_dict under the cells' names, the alias names or both; returns (missing, unexpected) keys.

        Where both are there the cells' win: the aliases of paddle.nn.LSTM itself point at the wrong tensors with a
        projection or with one bias off.
        """
        if not use_structured_name:
            return super().set_state_dict(state_dict, use_structured_name)  # type: ignore[no-any-return]
        given, found = dict(state_dict), {}
        for p in parameters(self.spec).values():
            names = f"{p.layer}.{_cell_name(self.spec, p.direction)}.{_role(p)}", _alias(p.name)
            value = next((given[name] for name in names if name in given), None)
            for name in names:
                given.pop(name, None)
                if value is not None:
                    found[name] = value
        missing, unexpected = super().set_state_dict(found)
        return missing, [*unexpected, *given]

    set_dict = load_dict = set_state_dict  # paddle.nn.Layer's own aliases

    def own_parameter(self, name: str) -> tuple[Any, bool]:
        """The paddle parameter behind a canonical name, and whether it is stored transposed (weight_ho is)."""
        return getattr(self, _alias(name)), _transposed(name)

    def extra_repr(self) -> str:
        return f"{self.spec!r}, path={self.path!r}"

    def _steps(self, h: Any, c: Any, rows: int | None) -> streaming.Steps | None:
        return streaming.steps(self, h, c, rows)

    def _versions(self) -> Any:
        return [(p.inplace_version, p.data_ptr()) for p in self._leaves()]

    def _memory(self) -> Any:
        return [p.detach() for p in self._leaves()]

    def _leaves(self) -> Iterable[Any]:
        """The tensors that the weights are, or are put together from."""
        return self._parameters.values()  # type: ignore[no-any-return]

    def _without_gradients(self) -> Any:
        return paddle.no_grad()

    def _check_streamed(self, x: Any) -> None:
        if not paddle.in_dynamic_mode():
            raise InputError("a stream's steps cannot be part of a static graph. Use layer.step(x, state) there.")

    def _draw_key(self) -> Any:
        return paddle.randint(0, 2**31 - 1, [2], dtype="int64")

    def _ops(self) -> PaddleOps:
        return OPS

    def _tensors(self) -> dict[str, Any]:
        own = {name: self.own_parameter(name) for roles in self.spec.roles for _, name in roles}
        return {name: value.t() if transposed else value for name, (value, transposed) in own.items()}

    def _paths(self, dtype: str) -> Sequence[Path]:
        return paths(self.spec, dtype)


def run_as_it_is(cls: type[Any]) -> None:
    """to_static without full_graph=True translates bytecode, and fails on that of a dataclass's cached properties: it
    is to call such a layer as it stands, and translate what is around it. It knows classes, not those under them."""
    mark = getattr(getattr(paddle.jit, "marker", None), "force_dynamic", None)
    if mark is not None:  # the first releases of Paddle 3 have no such mark
        mark(cls)


run_as_it_is(LSTM)


def _cell_name(spec: LSTMSpec, direction: int) -> str:
    return "cell" if spec.num_directions == 1 else ("cell_fw", "cell_bw")[direction]


def _transposed(name: str) -> bool:
    return name.rpartition("_l")[0] == "weight_hr"


def _role(p: Parameter) -> str:
    """Paddle's name of a parameter within its cell."""
    return "weight_ho" if p.role == "weight_hr" else p.role


def _alias(name: str) -> str:
    """Of a canonical name, the layer's own attribute."""
    return name.replace("weight_hr", "weight_ho")


def create(cell: Any, array: Any) -> Any:
    initial = paddle.nn.initializer.Assign(np.ascontiguousarray(array))
    return cell.create_parameter(list(array.shape), dtype=str(array.dtype), default_initializer=initial)


def check_dtype(dtype: str, device: Any) -> None:
    """Raise InputError where Paddle has none of the operators that a layer is made of. device: None is Paddle's own."""
    where = str(paddle.get_device() if device is None else device)  # "cpu", or Place(cpu)
    if dtype not in ("float32", "float64") and "cpu" in where:
        raise InputError(
            f"dtype={dtype!r}: on the CPU Paddle computes LSTMs in float32 and float64 only. Use dtype='float32'."
        )
