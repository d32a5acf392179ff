"""In place of torch.nn.LSTM: `from unilstm.compat.torch import LSTM`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..stored import Draws
from .dropin import DropIn, between_layers, given_arguments, settled, spec_of


class LSTM(DropIn):
    """torch.nn.LSTM on any backend: its constructor, attributes, call, return values and state_dict.

    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype: as there.
    backend: "torch", where this is a torch.nn.Module, or another, where the same tensors have the same names.
    seed: of the initial weights, the same on every backend; without it they are drawn from the framework's generator,
        on torch exactly as torch.nn.LSTM draws them after the same torch.manual_seed.
    path: "auto", "native", "kernel" or "composed" (docs/layers.md).

    output, (h_n, c_n) = lstm(input, hx). On torch `input` may be a PackedSequence. Beside the original's arguments the
    call takes lengths= for padded input, and key= or masks= for dropout; NumPy and JAX drop only where they are given.

    What differs: dropout draws other masks from the same generator (masks of one key are the same on all backends); a
    row of length 0 works; the attributes are read-only; torch.jit.script does not apply.
    """

    layout = "torch"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        backend: str = "torch",
        seed: int | None = None,
        path: str = "auto",
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        config = {name: given[name] for name in _ARGUMENTS}
        config["dropout"] = between_layers(dropout, num_layers)
        self._build(given, *spec_of("torch", "LSTM", config))

    input_size, hidden_size, num_layers = settled("input_size"), settled("hidden_size"), settled("num_layers")
    bias, batch_first, dropout = settled("bias"), settled("batch_first"), settled("dropout")
    bidirectional, proj_size = settled("bidirectional"), settled("proj_size")
    mode = "LSTM"

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Any = None, key: Any = None, masks: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """input [T, B, I] ([B, T, I] if batch_first), [T, I], or a PackedSequence; hx (h_0, c_0), zeros if not given.

        Returns output, (h_n [layers·directions, B, P or H], c_n [layers·directions, B, H]).
        """
        return self._lstm(input, hx, lengths=lengths, key=key, masks=masks)  # type: ignore[no-any-return]

    @property
    def all_weights(self) -> list[list[Any]]:
        """The tensors, a list for each direction of each layer."""
        per = len(self.storage.shapes) // (self.spec.num_layers * self.spec.num_directions)
        every = [self._own(name) for name in self.storage.shapes]
        return [every[n : n + per] for n in range(0, len(every), per)]

    def flatten_parameters(self) -> None:
        """Nothing: where cuDNN wants one buffer, each call makes it. There for code that calls it."""

    def reset_parameters(self) -> None:
        """Draw all weights anew from U(-1/√H, 1/√H), from the framework's own generator."""
        self._reset()

    def _initial(self, draws: Draws, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        bound = 1.0 / math.sqrt(self.spec.hidden_size)  # to the bit
        return {name: draws.uniform(shape, -bound, bound) for name, shape in shapes.items()}


_ARGUMENTS = (
    "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size",
)  # fmt: skip
