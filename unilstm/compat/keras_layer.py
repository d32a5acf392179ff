"""What compat.keras.LSTM and Bidirectional share: building, masks, dropout, states, weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError, SpecError
from ..layouts.keras import ACTIVATIONS
from ..named import to_numpy
from ..plugins import get
from ..spec import LSTMSpec
from ..stored import Draws, Shape
from . import keras_initial
from .dropin import DropIn, spec_of

REFUSED = (
    "kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint",
    "recurrent_constraint", "bias_constraint",
)  # fmt: skip
INITIALIZERS = ("kernel_initializer", "recurrent_initializer", "bias_initializer")
_PATHS = {"auto": "auto", True: "native", False: "composed"}
_NAME = re.compile(r"(?:.*?[/.])??(?:(forward|backward)_[^/.]*[/.](?:[^/.]*[/.])*)?(kernel|recurrent_kernel|bias)")


class KerasLayer(DropIn):
    """A layer that learns its input's size from the first call, as Keras's do."""

    layout = "keras"
    built = False

    def _receive(self, given: dict[str, Any]) -> None:
        """Keep the constructor's arguments; refuse those that nothing here could obey."""
        for name in REFUSED:
            if given[name] is not None:
                raise SpecError(
                    f"{name}={given[name]!r} has no place in a layer here. Add it to your loss or optimizer."
                )
        if given["unroll"]:
            raise SpecError("unroll=True changes no number, only how Keras runs. Leave it out; see explain().")
        if given["use_cudnn"] not in _PATHS:
            raise SpecError(f"use_cudnn={given['use_cudnn']!r} must be 'auto', True or False.")
        for name in INITIALIZERS:
            keras_initial.check(name, given[name])
        self._arguments = given
        self._calls = 0
        # Where a framework has no generator to draw a key from, a layer without a seed draws one here.
        self._mask_seed = given["seed"]
        if self._mask_seed is None and self._training() is None:
            self._mask_seed = get(self.backend).draw_seed()
        self._state_h: Any = None
        self._state_c: Any = None

    def build(self, input_shape: Sequence[Any]) -> None:
        """Make the weights for inputs of this shape, (batch, steps, features)."""
        given = self._arguments
        layout = self._layout_arguments() | {"input_size": int(input_shape[-1])}
        spec, form = spec_of("keras", "LSTM", layout)
        if given["dropout"]:
            spec = spec.replace(input_dropout=given["dropout"])  # of x; the layout has no place for it beside that of h
        own = {"seed": given["seed"], "dtype": given["dtype"], "device": given["device"]}
        form = self._form(form)
        frozen = () if given["trainable"] else self._names(spec)
        self._build(given | own | {"path": _PATHS[given["use_cudnn"]]}, spec, form, frozen=frozen)
        self._arguments = given
        self.built = True

    def _layout_arguments(self) -> dict[str, Any]:
        given = self._arguments
        found = {name: given[name] for name in ("units", "use_bias", "go_backwards", "recurrent_dropout")}
        return found | {name: _activation(given[name]) for name in ("activation", "recurrent_activation")}

    def _form(self, form: Any) -> Any:
        return form

    def _names(self, spec: LSTMSpec) -> tuple[str, ...]:
        return tuple(f"{where}{leaf}" for where in self._places() for leaf in _leaves(spec))

    def _places(self) -> tuple[str, ...]:
        """What stands before the names of each direction's tensors."""
        return ("",)

    def _initial(self, draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        given, units = self._arguments, self._arguments["units"]
        found = {}
        for name, shape in shapes.items():
            leaf = name.rpartition(".")[2]
            if leaf != "bias" or not given["unit_forget_bias"]:
                by = {"kernel": 0, "recurrent_kernel": 1, "bias": 2}[leaf]
                found[name] = keras_initial.values(given[INITIALIZERS[by]], draws, shape)
                continue
            around = (keras_initial.values(given["bias_initializer"], draws, (n * units,)) for n in (1, 2))
            before, behind = (to_numpy(part) for part in around)
            found[name] = np.concatenate([before, np.ones(units), behind])
        return found

    # One call.

    def _sequence(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool, key: Any, masks: Any
    ) -> tuple[Any, Any, Any]:
        """Outputs in the order of time [B, T, …], 0 where masked; and h, c, each [directions, B, H]."""
        if not self.built:
            if self._tracing(sequences):
                raise InputError("the layer has no weights yet, and none can be made inside jit. Call build() first.")
            self.build(sequences.shape)
        x = self._tensor(sequences)
        if len(x.shape) != 3:
            raise InputError(f"sequences has shape {list(x.shape)}, but must have 3 axes: batch, steps, features.")
        drawn = self._masks(self._key(key, masks, bool(training), x), masks, x, bool(training))
        state = self._initial_state(initial_state, x)
        if mask is None:
            y, (h, c) = self._run(x, state, None, drawn, False)[:2]
        else:
            if tuple(mask.shape if hasattr(mask, "shape") else np.shape(mask)) != tuple(x.shape[:2]):
                raise InputError(f"mask must have shape {list(x.shape[:2])}: one entry for each step of each row.")
            order, back, lengths = self._valid_first(mask, x)
            y, (h, c) = self._run(self._take_steps(x, order), state, lengths, drawn, False)[:2]
            y = self._take_steps(y, back)
        if self._arguments["stateful"]:
            self._state_h, self._state_c = self._detach(h), self._detach(c)
        return y, h, c

    def _key(self, key: Any, masks: Any, training: bool, x: Any) -> Any:
        """The key of a call's dropout: the one given, or the next that follows from the seed."""
        spec = self.spec
        if key is not None or masks is not None or not training or not (spec.input_dropout or spec.recurrent_dropout):
            return key
        if self._mask_seed is None:
            return self._draw_key()
        if self._tracing(x):
            raise InputError(
                "dropout inside jit would drop the same units in every call. Give key=, a new one each time."
            )
        self._calls += 1
        return (self._mask_seed * 2**32 + self._calls) % 2**64

    def _initial_state(self, given: Any, x: Any) -> Any:
        """Keras's list, h and c of each direction [B, H], as (h, c), each [directions, B, H]."""
        two = self.spec.num_directions
        if given is not None:
            if len(given) != 2 * two:
                raise InputError(
                    f"initial_state has {len(given)} tensors, but must have {2 * two}: h and c{_each(two)}."
                )
            parts = [self._tensor(part) for part in given]
            return self._ops().stack(parts[0::2]), self._ops().stack(parts[1::2])
        if not self._arguments["stateful"]:
            return None
        if self._tracing(x):
            raise InputError("stateful=True keeps its state in the layer, which jit cannot. Give initial_state=.")
        if self._state_h is None:
            return None
        if self._state_h.shape[1] != x.shape[0]:
            raise InputError(
                f"sequences has {x.shape[0]} rows, but the state that stateful=True keeps is of "
                f"{self._state_h.shape[1]}. Call reset_states() before a batch of another size."
            )
        return self._state_h, self._state_c

    # States and weights.

    @property
    def states(self) -> list[Any] | None:
        """What stateful=True has kept: h and c of each direction, or None."""
        if self._state_h is None:
            return None
        count = self.spec.num_directions
        return [state[d] for d in range(count) for state in (self._state_h, self._state_c)]

    def reset_states(self) -> None:
        """Forget the kept state: the next call starts from zeros. AttributeError if the layer is not stateful."""
        if not self._arguments["stateful"]:
            raise AttributeError("the layer keeps no state to reset. Make it with stateful=True.")
        self._state_h = self._state_c = None

    reset_state = reset_states

    def get_weights(self) -> list[Any]:
        """kernel, recurrent_kernel, bias of each direction, as NumPy arrays; none before the layer is built."""
        return [self._array(self._own(name)) for name in self.storage.shapes] if self.built else []

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take arrays in the order of get_weights(). Raises InputError where they do not fit."""
        shapes = self.storage.shapes if self.built else {}
        if len(weights) != len(shapes):
            built = "" if self.built else " It has none before it is built: call build(), or give input_size=."
            raise InputError(f"set_weights got {len(weights)} arrays, but the layer has {len(shapes)}.{built}")
        for (name, shape), value in zip(shapes.items(), weights, strict=True):
            if np.shape(value) != shape:
                raise InputError(f"{name} has shape {list(np.shape(value))}, but must have {list(shape)}.")
        for name, value in zip(shapes, weights, strict=True):
            self._assign(name, np.asarray(value))

    def _renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keras's paths, `bidirectional/forward_lstm/lstm_cell/kernel`, as names of this layer's tensors."""
        found = {}
        for name, value in given.items():
            hit = _NAME.fullmatch(name)
            where = f"{hit[1]}_layer.cell." if hit and hit[1] else ""
            found[f"{where}{hit[2]}" if hit else name] = value
        return found

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._arguments)


def _activation(given: Any) -> Any:
    """A name of Keras's, also for its function."""
    name = getattr(given, "__name__", given)
    return name if name in dict(ACTIVATIONS) else given


def _leaves(spec: LSTMSpec) -> tuple[str, ...]:
    return ("kernel", "recurrent_kernel") + (("bias",) if spec.bias != "none" else ())


def _each(directions: int) -> str:
    return "" if directions == 1 else " of the forward direction, then of the backward one"
