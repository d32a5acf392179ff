"""Layers that keep their parameters under another system's names, as paddle.nn.Layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import paddle

import unilstm.stored
from unilstm.stored import Draws, Shape, StoredMethods, is_list

from .layer import LSTM, check_dtype
from .native import to_numpy

Tensor = Any
paddle.jit.ignore_module([unilstm.stored])  # as in layer.py


class PaddleDraws:
    """From Paddle's generator, in the parameter's dtype, as paddle.nn.initializer does."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def uniform(self, shape: Shape, low: float, high: float) -> Tensor:
        return paddle.uniform(list(shape), dtype=self.dtype, min=low, max=high)

    def normal(self, shape: Shape) -> np.ndarray[Any, np.dtype[Any]]:
        return np.asarray(paddle.randn(list(shape), dtype="float64").numpy())


class Linear(paddle.nn.Layer):  # type: ignore[misc]
    """weight [out, in], as most systems have it (paddle.nn.Linear has [in, out]), and perhaps a bias."""

    def forward(self, x: Tensor) -> Tensor:
        y = paddle.matmul(x, self.weight, transpose_y=True)
        return y + self.bias if hasattr(self, "bias") else y


class StoredLSTM(StoredMethods, LSTM):
    """A tree of layers whose state_dict has the other system's names; second names are the outermost layer's own."""

    def __init__(self) -> None:
        paddle.nn.Layer.__init__(self)

    def _store(
        self,
        values: Mapping[str, Any],
        dtype: str,
        device: Any,
        *,
        frozen: Iterable[str] = (),
        buffers: Iterable[str] = (),
    ) -> None:
        check_dtype(dtype, device)
        kept, aside = set(frozen), set(buffers)
        for name, value in values.items():
            owner, _, leaf = name.rpartition(".")
            layer = self._sublayer(owner, values)
            array = np.ascontiguousarray(value.numpy() if paddle.is_tensor(value) else value).astype(dtype)
            if name in aside:
                layer.register_buffer(leaf, paddle.to_tensor(array))
                continue
            layer.add_parameter(leaf, self._parameter(layer, name, array))
            if name in kept:
                layer._parameters[leaf].stop_gradient = True
        for alias, name in self._second_names().items():
            setattr(self, alias, self._own(name))
        if device is not None:
            self.to(device=device)

    def _parameter(self, layer: Any, name: str, array: Any) -> Any:
        initial = paddle.nn.initializer.Assign(array)
        return layer.create_parameter(list(array.shape), dtype=str(array.dtype), default_initializer=initial)

    def _sublayer(self, path: str, values: Mapping[str, Any]) -> Any:
        """The sublayer at a dotted path, made if it is not there."""
        layer: Any = self
        walked = ""
        for part in path.split(".") if path else ():
            walked = f"{walked}.{part}" if walked else part
            if part not in layer._sub_layers:
                layer.add_sublayer(part, _made(walked, values))
            layer = layer._sub_layers[part]
        return layer

    def _own(self, name: str) -> Tensor:
        layer: Any = self
        *owners, leaf = name.split(".")
        for part in owners:
            layer = layer._sub_layers[part]
        return getattr(layer, leaf)

    def _leaves(self) -> list[Tensor]:
        return [self._own(name) for name in self.storage.shapes]

    def _assign(self, name: str, value: Any) -> None:
        own = self._own(name)
        own.set_value(paddle.to_tensor(value).astype(own.dtype))

    def set_state_dict(self, state_dict: Any, use_structured_name: bool = True) -> tuple[list[str], list[str]]:
        """Load a state_dict of the other system, whichever of its names it uses; returns (missing, unexpected) keys."""
        if not use_structured_name:
            return paddle.nn.Layer.set_state_dict(self, state_dict, use_structured_name)  # type: ignore[no-any-return]
        given = self._renamed(dict(state_dict))
        given |= {alias: given[name] for alias, name in self._second_names().items() if name in given}
        return paddle.nn.Layer.set_state_dict(self, given)  # type: ignore[no-any-return]

    set_dict = load_dict = set_state_dict  # paddle.nn.Layer's own aliases

    def _array(self, tensor: Tensor) -> Any:
        return to_numpy(tensor)

    def _lstm(self, x: Any, state: Any = None, **kwargs: Any) -> Any:
        return LSTM.forward(self, x, state, **kwargs)

    def _draws(self, dtype: str, device: Any) -> Draws:
        return PaddleDraws(dtype)

    def _default_dtype(self) -> str:
        return str(paddle.get_default_dtype())

    def _tensor(self, x: Any) -> Tensor:
        like = self.parameters()[0]
        return (x if paddle.is_tensor(x) else paddle.to_tensor(x, place=like.place)).astype(like.dtype)

    def _copy(self, x: Tensor) -> Tensor:
        return x.clone()

    def _detach(self, x: Tensor) -> Tensor:
        return x.detach()

    def _flip(self, x: Tensor) -> Tensor:
        return paddle.flip(x, [1])

    def _training(self) -> bool:
        return self.training  # type: ignore[no-any-return]

    def _evaluating(self) -> Any:
        from .models import evaluating

        return evaluating(self)

    def _model_ops(self) -> Any:
        from .models import OPS

        return OPS

    def _tracing(self, x: Tensor) -> bool:
        return not paddle.in_dynamic_mode()

    def _valid_first(self, mask: Any, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep = paddle.to_tensor(mask).astype("bool")
        order = paddle.argsort(keep.logical_not().astype("int32"), axis=1, stable=True)
        return order, paddle.argsort(order, axis=1), keep.astype("int64").sum(1)

    def _take_steps(self, x: Tensor, order: Tensor) -> Tensor:
        return paddle.take_along_axis(x, order[:, :, None].expand(x.shape), 1, broadcast=False)


def _made(path: str, values: Mapping[str, Any]) -> Any:
    if len(getattr(values.get(f"{path}.weight"), "shape", ())) == 2:
        return Linear()
    return paddle.nn.LayerList() if is_list(path, values) else paddle.nn.Layer()
