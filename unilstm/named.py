"""Tensors by dotted name, where a framework has no modules to keep them in: NumPy and JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import LayoutError
from .ops import Ops, Tensor


class NamedTensors:
    """self.params by name; `layer.i2h.weight` is params["i2h.weight"], and `layer.i2h(x)` applies it, bias included."""

    params: dict[str, Tensor]

    def _ops(self) -> Ops:
        raise NotImplementedError

    def _own(self, name: str) -> Tensor:
        return self.params[name]

    def _array(self, tensor: Tensor) -> Any:
        raise NotImplementedError

    def _assign(self, name: str, value: Any) -> None:
        self.params[name] = self._like(np.asarray(value), self.params[name])

    def _renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        return given

    def __getattr__(self, name: str) -> Any:
        return _find(self, "", name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()}, backend={self.backend!r})"

    def state_dict(self) -> dict[str, Any]:
        """The tensors under the other system's names, as NumPy arrays."""
        return {name: self._array(tensor) for name, tensor in self.params.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the tensors of a state_dict of the other system: arrays, or tensors of any framework.

        Raises LayoutError for a name that is missing or unknown, or a shape that does not fit; nothing is loaded then.
        """
        given = self._renamed(dict(state_dict))
        for name in self.params:
            if name not in given:
                raise LayoutError(f"{name!r} is missing from the state_dict. It needs: {', '.join(self.params)}.")
        found = {}
        for name, value in given.items():
            if name not in self.params:
                raise LayoutError(f"{name!r} is not a tensor of this layer. It has: {', '.join(self.params)}.")
            array, own = to_numpy(value), self.params[name]
            if array.shape != tuple(own.shape):
                raise LayoutError(f"{name!r} has shape {list(array.shape)}, but must have {list(own.shape)}.")
            found[name] = self._like(array, own)
        self.params = {name: found[name] for name in self.params}

    def _like(self, array: Any, own: Tensor) -> Tensor:
        """A NumPy array as a tensor of the dtype and on the device of the one it replaces."""
        return array.astype(own.dtype)


def to_numpy(value: Any) -> Any:
    """An array, or a tensor of any framework, as a NumPy array."""
    detach = getattr(value, "detach", None)  # torch's and Paddle's tensors, when they require a gradient
    value = detach() if callable(detach) else value
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


class Branch:
    """What is under a dotted name."""

    def __init__(self, owner: NamedTensors, path: str) -> None:
        self._owner, self._path = owner, path

    def __getattr__(self, name: str) -> Any:
        return _find(self._owner, f"{self._path}.", name)

    def __getitem__(self, index: int) -> Any:
        return _find(self._owner, f"{self._path}.", str(index))

    def __call__(self, x: Tensor) -> Tensor:
        """x @ weight.T + bias, of a branch that has a weight."""
        y = self._owner._ops().linear(x, self.weight)
        bias = self._owner.params.get(f"{self._path}.bias")
        return y if bias is None else y + bias


def _find(owner: NamedTensors, prefix: str, name: str) -> Any:
    params = owner.__dict__.get("params", {})  # not there yet while an object is being unpickled
    path = prefix + name
    if path in params:
        return params[path]
    if any(other.startswith(f"{path}.") for other in params):
        return Branch(owner, path)
    raise AttributeError(f"{type(owner).__name__!r} object has no attribute {path!r}")
