"""What the layers of all backends share: the call, the step, and what a layer says of itself.

A native layer (torch.nn.Module, paddle.nn.Layer, JAX pytree, NumPy) mixes this in and adds only what its framework is
about: where parameters live, how a key is drawn, which paths there are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from . import calls, layer_masks
from .errors import InputError
from .masks import Drawn, Given, Masks
from .ops import Ops, Tensor
from .paths import Explanation, Path, choose, explain
from .run import LayerCall, check_step, forward
from .spec import LSTMSpec
from .stream import Steps, Stream


class LayerMethods:
    """Mixed into every backend's layer. `spec` and `path` are set by the layer."""

    spec: LSTMSpec
    path: str
    _own_names = True  # are the parameters kept one by one, under names of the spec's?

    def _ops(self) -> Ops:
        raise NotImplementedError

    def _tensors(self) -> dict[str, Tensor]:
        """The parameters by canonical name."""
        raise NotImplementedError

    def _paths(self, dtype: str) -> Sequence[Path]:
        """The paths of a layer of this dtype, fastest first, composed last."""
        raise NotImplementedError

    def _dtype_name(self) -> str:
        return self._ops().dtype(next(iter(self._tensors().values())))

    def _run(
        self, x: Any, state: Any, lengths: Any, masks: Masks | None, cells: bool
    ) -> tuple[Any, tuple[Any, Any]] | tuple[Any, tuple[Any, Any], Any]:
        """One call: x as the spec says, → y, (h_n, c_n)[, c of every step]. The rules are in docs/architecture.md."""
        params = self._tensors()
        dtype = self._ops().dtype(next(iter(params.values())))
        call = calls.receive(self._ops(), self.spec, dtype, x, state, lengths, self._lower_dtype(x))
        return self._run_checked(params, call, masks, cells)

    def _run_checked(
        self, params: dict[str, Tensor], call: calls.Call, masks: Masks | None, cells: bool
    ) -> tuple[Any, tuple[Any, Any]] | tuple[Any, tuple[Any, Any], Any]:
        """The same of a call that was received."""
        ops, spec = self._ops(), self.spec
        paths = self._paths(ops.dtype(next(iter(params.values()))))

        def run_layer(k: int, layer_call: LayerCall) -> Any:
            return choose(paths, self.path, k, layer_call)[0].run(k, layer_call)

        def run_stack(layers: LayerCall) -> Any:
            path = choose(paths, self.path, 0, layers)[0]
            return None if path.run_stack is None else path.run_stack(layers)

        y, (h_n, c_n), every_c = forward(
            ops, spec, params, call, run_layer, run_stack=run_stack, masks=masks, cells=cells
        )
        y = calls.give_back(ops, spec, call, y)
        finals = calls.give_back_state(ops, spec, call, h_n, c_n)
        return (y, finals) if every_c is None else (y, finals, calls.give_back_cells(ops, spec, call, every_c))

    def _lower_dtype(self, x: Any) -> str | None:
        """The dtype in which the framework is told to compute what it is given in others, or None."""
        return None

    def _run_step(self, x: Any, state: Any, masks: Masks | None) -> tuple[Any, tuple[Any, Any]]:
        """One step of a stream: x [B, I] or [I], → h [B, P or H] or [P or H], state."""
        check_step(self.spec)
        ops = self._ops()
        if not ops.is_tensor(x) or len(x.shape) not in (1, 2):
            got = f"has shape {list(x.shape)}" if ops.is_tensor(x) else f"is a {type(x).__name__}"
            raise InputError(f"x {got}, but step() takes one step: a {ops.tensor_kind()} [B, I], or [I] for one row.")
        batched = len(x.shape) == 2
        axis = 1 if batched and self.spec.batch_first else 0
        shape = list(x.shape)
        y, new_state = self._run(ops.reshape(x, [*shape[:axis], 1, *shape[axis:]]), state, None, masks, False)[:2]
        return ops.reshape(y, [*shape[:-1], y.shape[-1]]), new_state

    def stream(self, state: Any = None, *, batch_size: int | None = None) -> Stream:
        """A stream of single steps that carries its state on: `y = stream(x)`, x [B, I], or [I] without batch_size=.

        The same numbers as step(), sooner: the weights are read once and must not change while it is used (see
        Stream). state: as step() takes it, the initial one if left out; with it batch_size= is known. Raises InputError
        where it does not fit, and for a spec with a reverse direction.
        """
        return Stream(self, state, batch_size)

    def _steps(self, h: Tensor, c: Tensor, rows: int | None) -> Steps | None:
        """For a stream from h [L, B, P or H], c [L, B, slots·H], which it may keep and change: a way faster than
        _run_step, if there is one."""
        return None

    def _versions(self) -> Any:
        """What differs once the weights have changed, as far as the framework tells."""
        return None

    def _memory(self) -> Any:
        """What the ids and addresses in those are of. Who keeps it keeps them from being another's later."""
        return None

    def _without_gradients(self) -> Any:
        return contextlib.nullcontext()

    def _check_streamed(self, x: Any) -> None:
        """Raise InputError where this x cannot be a stream's."""

    def _masks(self, key: Any, given: Any, x: Any, training: bool | None) -> Masks | None:
        """The masks of a call, or None where nothing is dropped.

        training: of a layer that has such a mode; None for one that drops where a call gives key or masks.
        """
        if key is None and given is None and not (training and layer_masks.drops(self.spec)):
            return None
        names = layer_masks.names(self.spec)
        if key is not None and given is not None:
            raise InputError("key= and masks= were both given, but masks= settles what key= would draw. Give one.")
        if training is False and (key is not None or given is not None):
            name = "masks" if key is None else "key"
            raise InputError(
                f"{name}= was given in evaluation mode, where nothing is dropped. Call .train(), or omit it."
            )
        if given is not None:
            unknown = [n for n in given if n not in names]
            if unknown:
                raise InputError(f"masks has {unknown[0]!r}, but this spec takes: {', '.join(names) or 'none'}.")
            return Given(given)
        if key is None and training and names:
            key = self._draw_key()
        return None if key is None else Drawn(self._ops(), self._ops().key(key, x))

    def _draw_key(self) -> Any:
        """Two words from the framework's own generator, in layers that have a training mode."""
        raise NotImplementedError

    def explain(self) -> Explanation:
        """Which path runs each layer of a plain call (full lengths, evaluation), and why no faster one does."""
        return explain(self._paths(self._dtype_name()), self.path, self.spec.num_layers)
