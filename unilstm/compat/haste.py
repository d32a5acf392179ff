"""In place of haste_pytorch: `from unilstm.compat.haste import LSTM`, LayerNormLSTM. On any device, not CUDA alone.

What differs from haste: outputs past a row's length are 0 (there they go on); gradients flow in evaluation mode, too
(there an error); the masks of dropout and zoneout are others of the same distribution, and a probability of 1 is
refused. The attributes that the constructor settles are read-only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..stored import Draws, Shape
from .dropin import DropIn, given_arguments, settled, spec_of
from .initial import orthogonal


class _Haste(DropIn):
    """What the two share."""

    layout = "haste"
    _layer_norm: ClassVar[bool] = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        batch_first: bool = False,
        forget_bias: float = 1.0,
        dropout: float = 0.0,
        zoneout: float = 0.0,
        return_state_sequence: bool = False,
        *,
        backend: str = "torch",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        config = {name: given[name] for name in ("input_size", "hidden_size", "batch_first", "dropout", "zoneout")}
        form = "LayerNormLSTM" if self._layer_norm else "LSTM"
        self._build(given, *spec_of("haste", form, config | {"layer_norm": self._layer_norm}))

    input_size, hidden_size, batch_first = settled("input_size"), settled("hidden_size"), settled("batch_first")
    forget_bias, dropout, zoneout = settled("forget_bias"), settled("dropout"), settled("zoneout")
    return_state_sequence = settled("return_state_sequence")

    def forward(
        self, input: Any, state: Any = None, lengths: Any = None, *, key: Any = None, masks: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """input [T, B, I] ([B, T, I] if batch_first); state (h, c), each [1, B, H], zeros if not given; lengths [B].

        Returns the outputs [T, B, H] ([B, T, H]) and the final (h, c), each [1, B, H]; or, with return_state_sequence,
        those of every step, each [1, T, B, H] ([1, B, T, H]).
        """
        if not self.return_state_sequence:
            return self._lstm(input, state, lengths=lengths, key=key, masks=masks)  # type: ignore[no-any-return]
        y, _, c = self._lstm(input, state, lengths=lengths, key=key, masks=masks, return_cell_sequence=True)
        stack = self._ops().stack
        return y, (stack([y]), stack([c]))

    def reset_parameters(self) -> None:
        """Draw all weights anew, from the framework's own generator."""
        self._reset()

    def _initial(self, draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        """Gate by gate: Glorot uniform, orthogonal, biases 0, but forget_bias for f; scales 1, shifts 0."""
        size, hidden = self.spec.input_size, self.spec.hidden_size
        bound = (6.0 / (size + hidden)) ** 0.5
        found: dict[str, Any] = {
            "kernel": draws.uniform(shapes["kernel"], -bound, bound),
            "recurrent_kernel": np.concatenate([orthogonal(draws, hidden, hidden) for _ in range(4)], axis=1),
            "bias": np.repeat([0.0, 0.0, self.forget_bias, 0.0], hidden),
        }
        others = {name: np.full(shape, float("gamma" in name)) for name, shape in shapes.items() if name not in found}
        return found | others


class LSTM(_Haste):
    """haste_pytorch.LSTM: an LSTM with DropConnect and zoneout of h (Krueger et al. 2017).

    input_size, hidden_size, batch_first: as there. forget_bias: the forget gate's initial bias. dropout: of the entries
    of recurrent_kernel, one draw a call, in training. zoneout: the probability that a unit of h keeps its old value, in
    training; in evaluation its expectation acts. return_state_sequence: the call returns the states of every step.
    backend: "torch" (a torch.nn.Module) or another; seed, dtype, device, path: as in unilstm.LSTM.
    What differs: see the module.
    """

    def to_native_weights(self) -> tuple[Any, Any, Any, Any]:
        """The weights of a torch.nn.LSTM: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, each bias half of this
        layer's. Tensors of this layer's framework, without history."""
        own = {name: self._copy(self._detach(value)) for name, value in self._tensors().items()}
        return own["weight_ih_l0"], own["weight_hh_l0"], own["bias_l0"] / 2.0, own["bias_l0"] / 2.0

    def from_native_weights(self, weight_ih_l0: Any, weight_hh_l0: Any, bias_ih_l0: Any, bias_hh_l0: Any) -> None:
        """Take the weights of a torch.nn.LSTM; the bias is the sum of its two."""
        given = (weight_ih_l0, weight_hh_l0, self._detach(bias_ih_l0) + self._detach(bias_hh_l0))
        for name, value in zip(("kernel", "recurrent_kernel", "bias"), given, strict=True):
            i, f, g, o = np.split(self._array(value), 4)
            self._assign(name, np.ascontiguousarray(np.concatenate([i, g, f, o]).T))


class LayerNormLSTM(_Haste):
    """haste_pytorch.LayerNormLSTM: an LSTM with layer normalisation (Ba, Kiros & Hinton 2016), DropConnect and zoneout.

    W x and R h are normalised over all gates and scaled by gamma; what tanh sees of c is normalised, scaled by gamma_h
    and shifted by beta_h; the state carries the raw c. The arguments: see LSTM.
    """

    _layer_norm = True
