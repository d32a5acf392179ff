"""What the tests of the drop-in classes share: golden files, a drop-in on any backend, and gradients by name."""

from __future__ import annotations

import contextlib
import importlib
import importlib.resources
import json
import os
from typing import Any

import numpy as np
import pytest

from conftest import require

GOLDEN = importlib.resources.files("unilstm_conformance") / "golden"


class Golden:
    """A golden file: config, and arrays by their group (w, in, out, grad) and name."""

    def __init__(self, case: str) -> None:
        with (GOLDEN / f"{case}.npz").open("rb") as file, np.load(file, allow_pickle=False) as npz:
            self.config: dict[str, Any] = json.loads(str(npz["meta"]))["config"]
            groups: dict[str, dict[str, Any]] = {"w": {}, "in": {}, "out": {}, "grad": {}}
            for name in npz.files:
                group, _, rest = name.partition("/")
                if group in groups:
                    groups[group][rest] = npz[name]
        self.weights, self.inputs, self.outputs, self.grads = (groups[g] for g in ("w", "in", "out", "grad"))


class Ported:
    """A drop-in on some backend, called with NumPy arrays; float64.

    Its tensors are those of a mapping of names to arrays, which it takes by its framework's own load.
    """

    def __init__(self, backend: str, cls: type, *args: Any, tensors: dict[str, Any], **kwargs: Any) -> None:
        self.backend = require(backend)
        with self.scope():
            self.layer = cls(*args, backend=backend, dtype="float64", **kwargs)
            load(self.layer, backend, tensors)
        if hasattr(self.layer, "eval"):
            self.layer.eval()

    def scope(self) -> Any:
        return self.backend.scope("float64")

    def tensor(self, array: Any) -> Any:
        with self.scope():
            return self.backend.tensor(np.asarray(array))

    def __call__(self, *args: Any, method: str = "", **kwargs: Any) -> Any:
        """Arrays and (nested) tuples of them become tensors and back; keywords are passed as they are."""
        with self.scope():
            run = getattr(self.layer, method) if method else self.layer
            return self._back(run(*(self._in(a) for a in args), **{k: self._in(v) for k, v in kwargs.items()}))

    def _in(self, value: Any) -> Any:
        if isinstance(value, (tuple, list)) and value and isinstance(value[0], np.ndarray):
            return type(value)(self.tensor(v) for v in value)
        return self.tensor(value) if isinstance(value, np.ndarray) else value

    def _back(self, value: Any) -> Any:
        return tuple(map(self._back, value)) if isinstance(value, (tuple, list)) else self.backend.array(value)


def original(name: str) -> Any:
    """The module of an original that is installed to test beside, or a visible skip; a failure in CI."""
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have every original that can be installed: {problem}")
        pytest.skip(f"{problem}. Run: make .venv/.test", allow_module_level=True)


def load(layer: Any, backend: str, tensors: dict[str, Any]) -> None:
    """Tensors by the original's names, the way that a user of the backend loads them."""
    if backend == "torch":
        import torch

        layer.load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
    elif backend == "paddle":
        missing, unexpected = layer.set_state_dict({name: np.asarray(value) for name, value in tensors.items()})
        assert (missing, unexpected) == ([], [])
    else:
        layer.load_state_dict(tensors)


def arrays(module: Any) -> dict[str, Any]:
    """The state_dict of a torch or Paddle module as NumPy arrays."""
    return {name: np.asarray(value.detach().cpu()) for name, value in module.state_dict().items()}


def torch_gradients(module: Any, outputs: list[Any], inputs: dict[str, Any], weights: list[Any]) -> dict[str, Any]:
    """d(sum of output * weight) by name: of the inputs, and of the module's parameters that are trained."""
    import torch

    total = sum((out * torch.as_tensor(w)).sum() for out, w in zip(outputs, weights, strict=True))
    wanted = {**inputs, **{name: p for name, p in module.named_parameters() if p.requires_grad}}
    grads = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {
        name: np.zeros(tuple(value.shape)) if grad is None else grad.numpy()
        for (name, value), grad in zip(wanted.items(), grads, strict=True)
    }


@contextlib.contextmanager
def torch_dtype(name: str = "float64") -> Any:
    """torch's default dtype within."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def paddle_dtype(name: str = "float64") -> Any:
    """Paddle's default dtype within."""
    import paddle

    before = paddle.get_default_dtype()
    paddle.set_default_dtype(name)
    try:
        yield
    finally:
        paddle.set_default_dtype(before)
