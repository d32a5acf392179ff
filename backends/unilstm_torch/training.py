"""unilstm.models.Trainer with torch.optim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from unilstm.models.parameters import is_decayed
from unilstm.models.training import Loss, Optimizer

_MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq"}


class Trainer:
    """The model is trained in place, in training mode."""

    def __init__(self, model: Any, optimizer: Optimizer, loss: Loss) -> None:
        self.model, self.optimizer, self.loss, self.steps = model, optimizer, loss, 0
        self._parameters = dict(model.named_parameters())
        decayed = [p for name, p in self._parameters.items() if is_decayed(name)]
        others = [p for name, p in self._parameters.items() if not is_decayed(name)]
        groups = [{"params": decayed, "weight_decay": optimizer.wd}, {"params": others, "weight_decay": 0.0}]
        self.native = _native(optimizer, groups)

    def step(self, *arguments: Any) -> tuple[Any, Any]:
        self.model.train()
        self.native.zero_grad()
        loss, rest = self.loss(self.model, *arguments)
        loss.backward()
        if self.optimizer.max_norm:
            self._clip()
        for group in self.native.param_groups:
            group["lr"] = self.optimizer.rate(self.steps)
        self.native.step()
        self.steps += 1
        return loss.detach(), rest

    def _clip(self) -> None:
        # Not clip_grad_norm_, which adds 1e-6 to the norm: the same gradient must be scaled alike on all backends.
        grads = [p.grad for p in self._parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        scale = self.optimizer.max_norm / torch.clamp(norm, min=self.optimizer.max_norm)
        for grad in grads:
            grad.mul_(scale)

    def moments(self) -> dict[str, Any]:
        found = {}
        for name, parameter in self._parameters.items():
            state = self.native.state.get(parameter, {})
            found |= {
                f"{ours}.{name}": state[own].cpu().numpy().copy() for ours, own in _MOMENTS.items() if own in state
            }
        return found

    def restore(self, steps: int, moments: Mapping[str, Any]) -> None:
        self.steps = steps
        for name, parameter in self._parameters.items():
            found = {own: moments[f"{ours}.{name}"] for ours, own in _MOMENTS.items() if f"{ours}.{name}" in moments}
            if found:
                state = {own: torch.tensor(value, device=parameter.device) for own, value in found.items()}
                self.native.state[parameter] = {"step": torch.tensor(float(steps)), **state}


def _native(optimizer: Optimizer, groups: list[dict[str, Any]]) -> Any:
    if optimizer.name == "sgd":
        return torch.optim.SGD(groups, lr=optimizer.lr)
    cls = torch.optim.AdamW if optimizer.name == "adamw" else torch.optim.Adam
    return cls(groups, lr=optimizer.lr, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.eps)
