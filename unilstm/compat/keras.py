"""In place of keras.layers.LSTM and keras.layers.Bidirectional: `from unilstm.compat.keras import LSTM, Bidirectional`.

Keras itself is not needed. Layers are modules of torch unless `backend=` says otherwise, and are not keras.Layers: put
them in models of their own framework.

What differs from Keras 3: outputs at masked steps are 0 (there the last output is repeated; in Bidirectional 0 there,
too); the last output of a row that is masked throughout is its initial h (there 0); dropout beside recurrent_dropout
has one mask for x (there a mask a gate), and the masks of both are others of the same distribution; `weights()` is
unilstm's (get_weights() and set_weights() are Keras's). Dropout acts where a call says training=True, as there:
.train() and .eval() decide nothing. Regularizers, constraints and unroll are refused.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from ..errors import SpecError
from ..layouts.tables import Names, Piece
from ..run import merge
from .dropin import given_arguments, settled
from .keras_layer import KerasLayer

_MERGE_MODES = ("concat", "sum", "mul", "ave", None)
_SIDES = ("forward_layer.cell.", "backward_layer.cell.")


class LSTM(KerasLayer):
    """keras.layers.LSTM: [batch, steps, features] in.

    units, use_bias, unit_forget_bias, return_sequences, return_state, go_backwards, stateful: as there.
    activation, recurrent_activation: tanh, sigmoid, relu, hard_sigmoid, linear (or None), elu, leaky_relu, softplus,
        softsign; or Keras's function of that name.
    kernel_initializer, recurrent_initializer, bias_initializer: see keras_initial.INITIALIZERS; or Keras's initializer,
        or a function of the shape.
    dropout: one mask for x of all steps. recurrent_dropout: one a gate for h of all steps.
    seed: of the masks, as there, and of the initial weights, the same on every backend.
    use_cudnn: "auto", True (the framework's own LSTM or an error), False (never).
    dtype: "float32" unless given. name, trainable: as there.
    input_size: builds the layer at once; else the first call does, or build((None, None, features)). An optimizer that
        is made before finds no weights.
    backend: "torch" (a torch.nn.Module), "jax", "paddle", "numpy". device: as in unilstm.LSTM.
    What differs from Keras: see the module.
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: None = None,
        recurrent_regularizer: None = None,
        bias_regularizer: None = None,
        activity_regularizer: None = None,
        kernel_constraint: None = None,
        recurrent_constraint: None = None,
        bias_constraint: None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: bool | str = "auto",
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
        input_size: int | None = None,
        backend: str = "torch",
        device: Any = None,
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        self._receive({key: value for key, value in given.items() if key != "backend"})
        if input_size is not None:
            self.build((None, None, input_size))

    units, activation = settled("units"), settled("activation")
    recurrent_activation, use_bias = settled("recurrent_activation"), settled("use_bias")
    unit_forget_bias, dropout = settled("unit_forget_bias"), settled("dropout")
    recurrent_dropout, seed = settled("recurrent_dropout"), settled("seed")
    return_sequences, return_state = settled("return_sequences"), settled("return_state")
    go_backwards, stateful = settled("go_backwards"), settled("stateful")
    use_cudnn, name, trainable = settled("use_cudnn"), settled("name"), settled("trainable")

    def forward(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
        *,
        key: Any = None,
        masks: Any = None,
    ) -> Any:
        """sequences [B, T, F]; initial_state [h, c], each [B, H]; mask [B, T], True where a step counts.

        Returns the last output [B, H], or with return_sequences all of them [B, T, H], those of go_backwards in the
        order they were computed in; with return_state (outputs, h, c).
        """
        y, h, c = self._sequence(sequences, initial_state, mask, training, key, masks)
        every = self._flip(y) if self.go_backwards else y
        output = every if self.return_sequences else h[0]
        return (output, h[0], c[0]) if self.return_state else output

    call = forward

    @property
    def cell(self) -> SimpleNamespace:
        """The tensors as attributes: kernel, recurrent_kernel, and bias or None."""
        own = {name: self._own(name) for name in self.storage.shapes}
        return SimpleNamespace(**{"bias": None} | own)


class Bidirectional(KerasLayer):
    """keras.layers.Bidirectional of an LSTM: one made as `layer`, and one that runs backwards, each with its weights.

    layer: a compat.keras.LSTM, whose arguments are taken, and not its weights. merge_mode: "concat", "sum", "mul",
    "ave" or None (both outputs). weights: as get_weights() gives them. backward_layer: an LSTM with go_backwards=True
    and otherwise the same arguments; it says nothing more. name: as there. backend: that of `layer` unless given.
    What differs from Keras: see the module.
    """

    def __new__(cls, layer: Any = None, *args: Any, backend: str | None = None, **kwargs: Any) -> Any:
        return super().__new__(cls, backend=backend or getattr(layer, "backend", None))

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        *,
        name: str | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(layer, LSTM) or layer.go_backwards:
            raise SpecError(f"layer={layer!r} must be a unilstm.compat.keras.LSTM that runs forward. Give one.")
        if merge_mode not in _MERGE_MODES:
            raise SpecError(f"merge_mode={merge_mode!r} must be one of {', '.join(map(repr, _MERGE_MODES))}.")
        arguments = layer.get_config()
        if backward_layer is not None:
            _check_backward(arguments, backward_layer)
        size = arguments["input_size"] or (layer.spec.input_size if layer.built else None)
        self._receive(arguments | {"merge_mode": merge_mode, "name": name, "input_size": size})
        if size is None and weights is not None:
            size = int(weights[0].shape[0])
        if size is not None:
            self.build((None, None, size))
        if weights is not None:
            self.set_weights(weights)

    merge_mode, name, stateful = settled("merge_mode"), settled("name"), settled("stateful")
    return_sequences, return_state = settled("return_sequences"), settled("return_state")

    def forward(
        self,
        sequences: Any,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
        *,
        key: Any = None,
        masks: Any = None,
    ) -> Any:
        """sequences [B, T, F]; initial_state [h, c, h, c], forward and backward, each [B, H]; mask [B, T].

        Returns the merged last outputs, or with return_sequences all of them, in the order of time; a pair for
        merge_mode=None; with return_state the states of both directions behind.
        """
        y, h, c = self._sequence(sequences, initial_state, mask, training, key, masks)
        parts = list(self._ops().split(y, 2)) if self.merge_mode is None else []
        if not self.return_sequences:
            parts, y = [h[0], h[1]], merge(self._ops(), self.spec, [h[0], h[1]])
        outputs = tuple(parts) if self.merge_mode is None else (y,)
        states = (h[0], c[0], h[1], c[1]) if self.return_state else ()
        found = (*outputs, *states)
        return found[0] if len(found) == 1 else found

    call = forward

    def _layout_arguments(self) -> dict[str, Any]:
        return super()._layout_arguments() | {"merge_mode": self.merge_mode or "concat"}

    def _form(self, form: Any) -> Any:
        return replace(form, names=Names(one=Piece(""), two=(Piece(_SIDES[0]), Piece(_SIDES[1]))))

    def _places(self) -> tuple[str, ...]:
        return _SIDES


def _check_backward(arguments: dict[str, Any], layer: Any) -> None:
    """SpecError for a backward layer that is not the forward one run backwards."""
    if not isinstance(layer, LSTM) or not layer.go_backwards:
        raise SpecError(f"backward_layer={layer!r} must be a unilstm.compat.keras.LSTM with go_backwards=True.")
    for name, value in layer.get_config().items():
        if name not in ("go_backwards", "name", "seed", "input_size") and value != arguments[name]:
            raise SpecError(
                f"backward_layer has {name}={value!r}, but layer has {arguments[name]!r}: two directions here are one "
                "LSTM. Leave backward_layer out, or use two layers."
            )
