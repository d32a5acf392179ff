"""Training: an optimiser in no framework's terms, and one step of it, native to each framework that has gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .. import plugins
from ..errors import SpecError, UnsupportedByBackend
from ..parameters import Array

OPTIMIZERS = ("sgd", "adam", "adamw")
Loss = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True)
class Optimizer:
    """SGD, Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019), with clipping and a schedule.

    name: "sgd", "adam" or "adamw". lr: the learning rate. beta1, beta2, eps: of Adam.
    wd: weight decay, decoupled, of adamw only; on weights and embeddings, not on biases, norms and states.
    max_norm: > 0 scales the gradient of all parameters together down to this norm; 0 is off.
    warmup_step, total_step: the learning rate rises linearly from 0 in so many steps and then falls linearly to 0 at
        total_step; total_step=0 keeps it where it is.

    Raises SpecError, naming the field.
    """

    name: str = "adamw"
    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    wd: float = 0.0
    max_norm: float = 0.0
    warmup_step: int = 0
    total_step: int = 0

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise SpecError(f"optimizer {self.name!r} is unknown. Choose one of: {', '.join(OPTIMIZERS)}.")
        for field, fine, rule in (
            ("lr", self.lr > 0, "above 0"),
            ("beta1", 0 <= self.beta1 < 1, "from 0 to below 1"),
            ("beta2", 0 <= self.beta2 < 1, "from 0 to below 1"),
            ("eps", self.eps > 0, "above 0"),
            ("wd", self.wd == 0 or (self.wd > 0 and self.name == "adamw"), "0, or above 0 with name='adamw'"),
            ("max_norm", self.max_norm >= 0, "at least 0; 0 does not clip"),
            ("warmup_step", self.warmup_step >= 0, "at least 0"),
            ("total_step", self.total_step >= 0, "at least 0; 0 is no end"),
        ):
            if not fine:
                raise SpecError(f"{field}={getattr(self, field)} must be {rule}.")

    def rate(self, step: int) -> float:
        """The learning rate of a step, the first being 0."""
        if step < self.warmup_step:
            return self.lr * (step + 1) / (self.warmup_step + 1)
        if not self.total_step:
            return self.lr
        return self.lr * max(0, self.total_step - step) / max(1, self.total_step - self.warmup_step)


class Trainer(Protocol):
    """Steps of an optimiser on one model. The model is changed, or on JAX replaced: read it from `model`."""

    model: Any
    steps: int  # how many were made

    def step(self, *arguments: Any) -> tuple[Any, Any]:
        """One step down the gradient of the loss; returns what the loss function returned, before the step."""

    def moments(self) -> dict[str, Array]:
        """What the optimiser remembers: `first.NAME` and `second.NAME` for each parameter; nothing for SGD."""

    def restore(self, steps: int, moments: Mapping[str, Array]) -> None:
        """Go on after so many steps with these moments, from any backend."""


def trainer(model: Any, optimizer: Optimizer, loss: Loss) -> Trainer:
    """A trainer of a model of any backend that has gradients.

    loss: (model, *arguments) → (a native scalar, anything to hand back). On JAX it is compiled, so that arguments are
    arrays or nested tuples of them.

    Raises UnsupportedByBackend for a backend that only runs forward.
    """
    backend = plugins.get(model.backend)
    make = getattr(backend, "trainer", None)
    if make is None:
        raise UnsupportedByBackend(
            f"backend={model.backend!r} only runs forward and cannot train. Train with torch, paddle or jax, and build "
            "the model here from its weights()."
        )
    return make(model, optimizer, loss)  # type: ignore[no-any-return]
