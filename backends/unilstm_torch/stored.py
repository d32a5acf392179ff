"""Layers that keep their parameters under another system's names, as torch.nn.Modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unilstm.paths import Path
from unilstm.stored import Draws, Shape, StoredMethods, is_list

from .layer import LSTM
from .native import paths, to_numpy
from .ops import TorchOps, tracing

Tensor = torch.Tensor


class TorchDraws:
    """From torch's generator, in the dtype and on the device of the parameter, as torch.nn.init does."""

    def __init__(self, dtype: str, device: Any) -> None:
        self.dtype, self.device = dtype, device

    def uniform(self, shape: Shape, low: float, high: float) -> Tensor:
        return torch.empty(shape, dtype=getattr(torch, self.dtype), device=self.device).uniform_(low, high)

    def normal(self, shape: Shape) -> np.ndarray[Any, np.dtype[Any]]:
        return np.asarray(torch.randn(shape, dtype=torch.float64).numpy())


class StoredLSTM(StoredMethods, LSTM):
    """A module tree whose state_dict has the other system's names. A pair of weight [out, in] and bias is a
    torch.nn.Linear."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def _store(
        self,
        values: Mapping[str, Any],
        dtype: str,
        device: Any,
        *,
        frozen: Iterable[str] = (),
        buffers: Iterable[str] = (),
    ) -> None:
        kept, aside = set(frozen), set(buffers)
        for name, value in values.items():
            owner, _, leaf = name.rpartition(".")
            module = self._module(owner, values)
            tensor = torch.as_tensor(value).detach().to(dtype=getattr(torch, dtype), device=device, copy=True)
            if name in aside:
                module.register_buffer(leaf, tensor)
            else:
                setattr(module, leaf, torch.nn.Parameter(tensor, requires_grad=name not in kept))

    def _module(self, path: str, values: Mapping[str, Any]) -> torch.nn.Module:
        """The submodule at a dotted path, made if it is not there."""
        module: torch.nn.Module = self
        walked = ""
        for part in path.split(".") if path else ():
            walked = f"{walked}.{part}" if walked else part
            if part not in module._modules:
                module.add_module(part, self._made(walked, values))
            module = module._modules[part]  # type: ignore[assignment]
        return module

    def _made(self, path: str, values: Mapping[str, Any]) -> torch.nn.Module:
        shape = getattr(values.get(f"{path}.weight"), "shape", ())
        if path in self._embeddings:
            return torch.nn.Embedding(*shape, padding_idx=self._embeddings[path], device="meta")
        if len(shape) == 2:
            return torch.nn.Linear(shape[1], shape[0], bias=f"{path}.bias" in values, device="meta")
        return torch.nn.ModuleList() if is_list(path, values) else torch.nn.Module()

    def _own(self, name: str) -> Tensor:
        owner, _, leaf = name.rpartition(".")
        return getattr(self.get_submodule(owner), leaf)  # type: ignore[no-any-return]

    def _assign(self, name: str, value: Any) -> None:
        with torch.no_grad():
            self._own(name).copy_(torch.as_tensor(value))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        """torch's hook for one module's part of a state_dict: the other system's further names become its own."""
        given = {name: value for name, value in state_dict.items() if name.startswith(prefix)}
        known = self._renamed({name[len(prefix) :]: value for name, value in given.items()})
        for name in given:
            del state_dict[name]
        state_dict.update({prefix + name: value for name, value in known.items()})
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _array(self, tensor: Tensor) -> Any:
        return to_numpy(tensor).copy()

    def _lstm(self, x: Any, state: Any = None, **kwargs: Any) -> Any:
        return LSTM.forward(self, x, state, **kwargs)

    def _draws(self, dtype: str, device: Any) -> Draws:
        return TorchDraws(dtype, device)

    def _default_dtype(self) -> str:
        return str(torch.get_default_dtype()).removeprefix("torch.")

    def _tensor(self, x: Any) -> Tensor:
        like = self._first()
        return torch.as_tensor(x).to(dtype=like.dtype, device=like.device)

    def _copy(self, x: Tensor) -> Tensor:
        return x.clone()

    def _detach(self, x: Tensor) -> Tensor:
        return x.detach()

    def _flip(self, x: Tensor) -> Tensor:
        return x.flip(1)

    def _training(self) -> bool:
        return self.training  # type: ignore[no-any-return]

    def _evaluating(self) -> Any:
        from .models import evaluating

        return evaluating(self)

    def _model_ops(self) -> Any:
        from .models import TorchModelOps

        return TorchModelOps(self._device())

    def _tracing(self, x: Tensor) -> bool:
        return tracing()

    def _valid_first(self, mask: Any, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep = torch.as_tensor(mask, device=like.device).to(torch.bool)
        order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)
        return order, torch.argsort(order, dim=1), keep.sum(1)

    def _take_steps(self, x: Tensor, order: Tensor) -> Tensor:
        return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))

    def _weight_names(self) -> Mapping[str, Shape]:
        return self.storage.shapes

    def _device(self) -> torch.device:
        return LSTM._device(self)

    def _ops(self) -> TorchOps:
        return TorchOps(self._device())

    def _paths(self, dtype: str) -> Sequence[Path]:
        return paths(self.spec, self._device(), dtype, native_first=True)
