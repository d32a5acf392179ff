"""unilstm.models.Trainer with paddle.optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle

from unilstm.models.parameters import is_decayed
from unilstm.models.training import Loss, Optimizer

_MOMENTS = {"first": "moment1", "second": "moment2"}


class Trainer:
    """The model is trained in place, in training mode."""

    def __init__(self, model: Any, optimizer: Optimizer, loss: Loss) -> None:
        self.model, self.optimizer, self.loss, self.steps = model, optimizer, loss, 0
        # By canonical name: the parameter, and whether Paddle holds its transpose.
        self._parameters = {name: (value, False) for name, value in model.own_tensors().items()}
        self._parameters |= {f"lstm.{name}": model.lstm.own_parameter(name) for name in model.lstm.weights()}
        self.native = self._native()

    def step(self, *arguments: Any) -> tuple[Any, Any]:
        self.model.train()
        loss, rest = self.loss(self.model, *arguments)
        loss.backward()
        if self.optimizer.max_norm:
            self._clip()
        self.native.set_lr(self.optimizer.rate(self.steps))
        self.native.step()
        self.native.clear_grad()
        self.steps += 1
        return loss.detach(), rest

    def _native(self) -> Any:
        o, parameters = self.optimizer, [p for p, _ in self._parameters.values()]
        if o.name == "sgd":
            return paddle.optimizer.SGD(o.lr, parameters)
        adam = {"beta1": o.beta1, "beta2": o.beta2, "epsilon": o.eps, "parameters": parameters}
        if o.name == "adam":
            return paddle.optimizer.Adam(o.lr, **adam)
        decayed = {p.name for name, (p, _) in self._parameters.items() if is_decayed(name)}
        return paddle.optimizer.AdamW(o.lr, weight_decay=o.wd, apply_decay_param_fun=decayed.__contains__, **adam)

    def _clip(self) -> None:
        grads = [p.grad for p, _ in self._parameters.values() if p.grad is not None]
        norm = paddle.sqrt(sum((g * g).sum() for g in grads))
        scale = self.optimizer.max_norm / paddle.clip(norm, min=self.optimizer.max_norm)
        for grad in grads:
            paddle.assign(grad * scale, grad)

    def moments(self) -> dict[str, Any]:
        stored, found = self.native.state_dict(), {}
        for name, (p, transposed) in self._parameters.items():
            for ours, own in _MOMENTS.items():
                value = stored.get(f"{p.name}_{own}_0")
                if value is not None:
                    found[f"{ours}.{name}"] = np.ascontiguousarray(value.numpy().T if transposed else value.numpy())
        return found

    def restore(self, steps: int, moments: Mapping[str, Any]) -> None:
        self.steps, stored = steps, {}
        for name, (p, transposed) in self._parameters.items():
            for ours, own in _MOMENTS.items():
                if f"{ours}.{name}" in moments:
                    value = moments[f"{ours}.{name}"]
                    stored[f"{p.name}_{own}_0"] = paddle.to_tensor(np.array(value.T if transposed else value))
            for number, beta in ((1, self.optimizer.beta1), (2, self.optimizer.beta2)):
                stored[f"{p.name}_beta{number}_pow_acc_0"] = paddle.to_tensor(_power(beta, steps, moments, name))
        if moments:
            self.native.set_state_dict(stored)


def _power(beta: float, steps: int, moments: Mapping[str, Any], name: str) -> Any:
    """beta to the power of steps + 1, multiplied up as Paddle does, so that a resumed run has the same bits."""
    dtype = moments[f"first.{name}"].dtype if f"first.{name}" in moments else np.dtype("float32")
    value = once = np.array([beta], dtype)
    for _ in range(steps):
        value = value * once
    return value
