"""In place of allennlp.modules: `from unilstm.compat.allennlp import StackedAlternatingLstm`, AugmentedLstm,
BiAugmentedLstm, StackedBidirectionalLstm.

On torch they take and return a PackedSequence, as there, or a padded tensor with lengths=; elsewhere the latter.

What differs from AllenNLP 2.10.1: gradients flow through the states of rows that have ended (there they are detached,
so that the final state of a short row teaches nothing); rows may be in any order (there only from the longest to the
shortest, whatever PackedSequence says) and may be empty; the masks of dropout are others of the same distribution. The
attributes that the constructor settles are read-only.
"""

from __future__ import annotations

from typing import Any

from ..masks import Masks
from .allennlp_layer import Augmented
from .dropin import given_arguments, settled, spec_of


class StackedAlternatingLstm(Augmented):
    """allennlp.modules.stacked_alternating_lstm.StackedAlternatingLstm: even layers run forward, odd ones backward
    (He et al. 2017, Deep Semantic Role Labeling).

    input_size, hidden_size, num_layers, recurrent_dropout_probability, use_highway, use_input_projection_bias: as
    there. backend: "torch" (a torch.nn.Module) or another; seed, dtype, device, path: as in unilstm.LSTM.
    What differs: see the module.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        recurrent_dropout_probability: float = 0.0,
        use_highway: bool = True,
        use_input_projection_bias: bool = True,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        names = ("input_size", "hidden_size", "num_layers", *_COMMON, "use_input_projection_bias")
        direction = "alternating" if num_layers > 1 else "forward"
        config = {name: given[name] for name in names}
        self._build(given, *spec_of("allennlp", "StackedAlternatingLstm", config, direction=direction))

    input_size, hidden_size, num_layers = settled("input_size"), settled("hidden_size"), settled("num_layers")

    @property
    def lstm_layers(self) -> list[Any]:
        return [getattr(self, f"layer_{k}") for k in range(self.num_layers)]

    def forward(
        self, inputs: Any, initial_state: Any = None, *, lengths: Any = None, key: Any = None, masks: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """inputs: a PackedSequence, or [B, T, I] with lengths=; initial_state (h, c), each [layers, B, H].

        Returns outputs in the form of the input, [B, T, H], and the final (h, c), each [layers, B, H].
        """
        return self._call(inputs, initial_state, lengths=lengths, key=key, masks=masks)  # type: ignore[no-any-return]


class AugmentedLstm(Augmented):
    """allennlp.modules.augmented_lstm.AugmentedLstm: one layer, forward or backward.

    input_size, hidden_size, go_forward, recurrent_dropout_probability, use_highway, use_input_projection_bias: as
    there. backend: "torch" (a torch.nn.Module) or another; seed, dtype, device, path: as in unilstm.LSTM.
    What differs: see the module.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        go_forward: bool = True,
        recurrent_dropout_probability: float = 0.0,
        use_highway: bool = True,
        use_input_projection_bias: bool = True,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        names = ("input_size", "hidden_size", "go_forward", *_COMMON, "use_input_projection_bias")
        self._build(given, *spec_of("allennlp", "AugmentedLstm", {name: given[name] for name in names}))

    embed_dim, lstm_dim, go_forward = settled("input_size"), settled("hidden_size"), settled("go_forward")
    use_highway = settled("use_highway")
    recurrent_dropout_probability = settled("recurrent_dropout_probability")

    def forward(
        self, inputs: Any, states: Any = None, *, lengths: Any = None, key: Any = None, masks: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """inputs: a PackedSequence, or [B, T, I] with lengths=; states (h, c), each [1, B, H].

        Returns outputs in the form of the input, [B, T, H], and the final (h, c), each [1, B, H].
        """
        return self._call(inputs, states, lengths=lengths, key=key, masks=masks)  # type: ignore[no-any-return]


class BiAugmentedLstm(Augmented):
    """allennlp.modules.augmented_lstm.BiAugmentedLstm: layers that run forward, or in both directions.

    input_size, hidden_size, num_layers, bias (of the input's map), recurrent_dropout_probability, bidirectional,
    use_highway: as there. padding_value: of outputs past a length where the input is padded; a PackedSequence holds no
    padding. backend: "torch" (a torch.nn.Module) or another; seed, dtype, device, path: as in unilstm.LSTM.

    What differs, beside what the module says: initial states of a bidirectional one are h and c, each the forward
    direction's features beside the backward one's (there h's two halves become the forward layer's h and c, and c's
    the backward layer's).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        recurrent_dropout_probability: float = 0.0,
        bidirectional: bool = False,
        padding_value: float = 0.0,
        use_highway: bool = True,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        names = ("input_size", "hidden_size", "num_layers", "bidirectional", "bias", *_COMMON)
        self._build(given, *spec_of("allennlp", "BiAugmentedLstm", {name: given[name] for name in names}))

    input_size, hidden_size, num_layers = settled("input_size"), settled("hidden_size"), settled("num_layers")
    use_bias, bidirectional, padding_value = settled("bias"), settled("bidirectional"), settled("padding_value")
    use_highway = settled("use_highway")
    recurrent_dropout_probability = settled("recurrent_dropout_probability")

    @property
    def representation_dim(self) -> int:
        return self.spec.output_size

    def forward(
        self, inputs: Any, states: Any = None, *, lengths: Any = None, key: Any = None, masks: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """inputs: a PackedSequence, or [B, T, I] with lengths=; states (h, c), each [layers, B, directions·H].

        Returns outputs in the form of the input, [B, T, directions·H], and the final (h, c), each
        [layers·directions, B, H], forward at the even places.
        """
        state = self._two_ways(states, "states") if self.bidirectional else states
        y, final = self._call(inputs, state, lengths=lengths, key=key, masks=masks)
        if lengths is not None and self.padding_value:
            ops = self._ops()
            valid = ops.valid(y.shape[1], ops.lengths(lengths, y)[0], y)
            y = ops.where(ops.transpose(valid), y, ops.full(self.padding_value, y))
        return y, final


class StackedBidirectionalLstm(Augmented):
    """allennlp.modules.stacked_bidirectional_lstm.StackedBidirectionalLstm: layers in both directions, with one dropout
    mask for all steps between them.

    input_size, hidden_size, num_layers, recurrent_dropout_probability, layer_dropout_probability, use_highway: as
    there. backend: "torch" (a torch.nn.Module) or another; seed, dtype, device, path: as in unilstm.LSTM.

    What differs, beside what the module says: initial states may be [layers, B, 2H], the forward direction's features
    beside the backward one's, as the documentation there has it (where only [layers, B, H], for both, runs).
    The spec's input_dropout would also drop x itself: a layer that unilstm.port makes of this does.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        recurrent_dropout_probability: float = 0.0,
        layer_dropout_probability: float = 0.0,
        use_highway: bool = True,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        config = {name: given[name] for name in ("input_size", "hidden_size", "num_layers", *_COMMON)}
        fields = {"direction": "bidirectional", "bias": "single"}
        spec, form = spec_of("allennlp", "StackedBidirectionalLstm", config, **fields)
        spec = spec.replace(input_dropout=layer_dropout_probability if num_layers > 1 else 0.0)
        self._build(given, spec, form)

    input_size, hidden_size, num_layers = settled("input_size"), settled("hidden_size"), settled("num_layers")
    bidirectional = True

    @property
    def lstm_layers(self) -> list[list[Any]]:
        return [[getattr(self, f"{way}_layer_{k}") for way in ("forward", "backward")] for k in range(self.num_layers)]

    def forward(
        self, inputs: Any, initial_state: Any = None, *, lengths: Any = None, key: Any = None, masks: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """inputs: a PackedSequence, or [B, T, I] with lengths=; initial_state (h, c), each [layers, B, H] or
        [layers, B, 2H].

        Returns outputs in the form of the input, [B, T, 2H], and the final (h, c), each [2·layers, B, H].
        """
        state = self._two_ways(initial_state, "initial_state")
        return self._call(inputs, state, lengths=lengths, key=key, masks=masks)  # type: ignore[no-any-return]

    def _state_sizes(self) -> tuple[int, ...]:
        return self.spec.hidden_size, 2 * self.spec.hidden_size

    def _masks(self, key: Any, given: Any, x: Any, training: bool | None) -> Masks | None:
        masks = super()._masks(key, given, x, training)
        return None if masks is None else _BetweenLayers(self._ops(), masks)


class _BetweenLayers:
    """Input masks that spare the first layer, and are the same for both directions."""

    def __init__(self, ops: Any, masks: Masks) -> None:
        self.ops, self.masks = ops, masks

    def get(self, name: str, shape: tuple[int, ...], dropped: float, like: Any, scaled: bool = True) -> Any:
        if name.startswith("input_l0"):
            return self.ops.zeros(shape, like) + 1.0
        name = name.removesuffix("_reverse") if name.startswith("input_l") else name
        return self.masks.get(name, shape, dropped, like, scaled)


_COMMON = ("recurrent_dropout_probability", "use_highway")
