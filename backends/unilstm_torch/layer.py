"""The LSTM as a torch.nn.Module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unilstm.calls import Call
from unilstm.errors import InputError
from unilstm.layer import LayerMethods
from unilstm.paths import Path, check_path
from unilstm.weights import Weights

from . import streaming
from .native import paths, to_numpy
from .ops import TorchOps, tracing


class LSTM(torch.nn.Module, LayerMethods):
    """An LSTM whose state_dict, for a standard spec, is that of torch.nn.LSTM.

    y, (h_n, c_n) = lstm(x, state, lengths=…); x may be a PackedSequence, and y is one then.
    In training mode dropout draws its key from torch's generator, or takes key= or the masks=
    themselves.
    """

    def __init__(self, weights: Weights, *, device: Any = None, path: str = "auto") -> None:
        super().__init__()
        self.spec, self.path = weights.spec, path
        for name, array in weights.items():
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(array, device=device)))
        check_path(path, self._paths(weights.dtype))

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
        """x: [B, T, I] (or as spec.batch_first says), [T, I], or a PackedSequence. Returns y, (h_n, c_n)[, c]."""
        if isinstance(x, PackedSequence):
            return self._forward_packed(x, state, lengths, key, masks, return_cell_sequence)
        return self._run(x, state, lengths, self._masks(key, masks, x, self.training), return_cell_sequence)

    def step(self, x: Any, state: Any = None, *, key: Any = None, masks: Any = None) -> Any:
        """One step of a stream: x [B, I] or [I] → h, (h_n, c_n)."""
        masks = self._masks(key, masks, x, self.training)
        plain = masks is None and state is not None and self._own_names
        return (streaming.step(self, x, state) if plain else None) or self._run_step(x, state, masks)

    def weights(self) -> Weights:
        tensors = self._tensors()
        return Weights(self.spec, {name: to_numpy(tensors[name], name) for name in self.spec.shapes})

    def extra_repr(self) -> str:
        return f"{self.spec!r}, path={self.path!r}"

    def _forward_packed(self, x: PackedSequence, state: Any, lengths: Any, key: Any, masks: Any, cells: bool) -> Any:
        if lengths is not None:
            raise InputError("lengths were given beside a PackedSequence, which carries its own. Leave lengths out.")
        first = self.spec.batch_first
        padded, known = pad_packed_sequence(x, batch_first=first)
        y, finals, *every_c = self._run(padded, state, known, self._masks(key, masks, padded, self.training), cells)
        packed = [_pack_like(sequence if first else sequence.transpose(0, 1), known, x) for sequence in (y, *every_c)]
        return (packed[0], finals, *packed[1:])

    def _lower_dtype(self, x: Any) -> str | None:
        dtype = autocast_dtype(x) if isinstance(x, torch.Tensor) and self._first().dtype != torch.float64 else None
        return None if dtype is None else str(dtype).removeprefix("torch.")

    def _run_checked(self, params: dict[str, Any], call: Call, masks: Any, cells: bool) -> Any:
        """Under autocast all of a call in its dtype, as torch's own LSTM is, not some operations; but float64 stays
        float64, as autocast has it."""
        dtype = autocast_dtype(call.x)
        if dtype is None:
            return super()._run_checked(params, call, masks, cells)

        def lower(tensor: Any) -> Any:
            return None if tensor is None else tensor.to(dtype)

        if self._first().dtype != torch.float64:
            params = {name: lower(params[name]) for name in self.spec.shapes}
            call = replace(call, x=lower(call.x), h_0=lower(call.h_0), c_0=lower(call.c_0))
        with torch.autocast(call.x.device.type, enabled=False):
            return super()._run_checked(params, call, masks, cells)

    def _steps(self, h: Any, c: Any, rows: int | None) -> streaming.Steps | None:
        return streaming.steps(self, h, c, rows)

    def _versions(self) -> Any:
        # A tensor that was made in inference mode counts nothing.
        return [(0 if t.is_inference() else t._version, t.data_ptr()) for t in self._leaves()]

    def _memory(self) -> Any:
        return [t.detach() for t in self._leaves()]

    def _without_gradients(self) -> Any:
        return torch.no_grad()

    def _check_streamed(self, x: Any) -> None:
        if tracing():
            raise InputError("a stream's steps cannot be traced or compiled. Use layer.step(x, state) there.")

    def _draw_key(self) -> Any:
        return torch.randint(0, 2**32, (2,), dtype=torch.int64)

    def _device(self) -> torch.device:
        return self._first().device

    def _ops(self) -> TorchOps:
        return TorchOps(self._device())

    def _tensors(self) -> dict[str, Any]:
        """Where torch or a user has made one no parameter (weight_norm, prune, a functional update, DataParallel), it
        is an attribute still."""
        own, names = self._parameters, self.spec.shapes
        return own if names.keys() <= own.keys() else {name: getattr(self, name) for name in names}  # type: ignore[return-value]

    def _weight_names(self) -> Mapping[str, Any]:
        """The weights' names in this tree of modules."""
        return self.spec.shapes

    def _leaves(self) -> list[Any]:
        """The tensors that the weights are, or are made of."""
        own, names = self._parameters, self._weight_names()
        if names.keys() <= own.keys():  # a stream asks at every step
            return [own[name] for name in names]
        return [tensor for name in names for tensor in self._held(name)]

    def _held(self, name: str) -> list[torch.Tensor]:
        """The tensor that a weight is, or those that it is made of (torch.nn.utils.parametrize)."""
        owner, _, leaf = name.rpartition(".")
        module = self.get_submodule(owner)
        for place in (module._parameters, module._buffers, module.__dict__):
            if leaf in place:
                return [place[leaf]]
        return [*module.parameters(), *module.buffers()]

    def _first(self) -> torch.Tensor:
        """Some tensor of the weights, for its dtype and device."""
        return self._held(next(iter(self._weight_names())))[0]

    def _paths(self, dtype: str) -> Sequence[Path]:
        return paths(self.spec, self._device(), dtype)


def autocast_dtype(x: torch.Tensor) -> torch.dtype | None:
    """In which autocast computes on x's device, where it is on."""
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def _pack_like(sequence: torch.Tensor, lengths: torch.Tensor, like: PackedSequence) -> PackedSequence:
    """[B, T, F] as a PackedSequence in the very order of another."""
    if like.sorted_indices is not None:
        sequence, lengths = sequence[like.sorted_indices], lengths[like.sorted_indices.cpu()]
    data = pack_padded_sequence(sequence, lengths, batch_first=True).data
    return PackedSequence(data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)
