"""Faults that leave the outputs right and the gradients wrong. They need a framework that differentiates."""

from __future__ import annotations

from typing import Any

from .faulty import FaultyLayer, mutant


@mutant("gradients", "vanilla-L1-forward-float32", base="torch")
class InitialStateDetached(FaultyLayer):
    """No gradient reaches the initial state."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        return self.inner(x, None if state is None else tuple(s.detach() for s in state), **named)


@mutant("gradients", "vanilla-L1-bidirectional-float64-ragged or cifg-L1-bidirectional", base="torch")
class ShortRowsDetached(FaultyLayer):
    """The final states of rows that end early carry no gradient, as in AllenNLP."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None:
            return self.inner(x, state, **named)
        import torch

        y, (h, c), *rest = self.inner(x, state, lengths=lengths, **named)
        steps = x.shape[1] if self.spec.batch_first else x.shape[0]
        full = (torch.as_tensor(lengths) == steps)[None, :, None]
        h, c = (torch.where(full, s, s.detach()) for s in (h, c))
        return (y, (h, c), *rest)


@mutant("padding_gradients", "native-vanilla-L1-forward-float32-ragged", base="torch")
class PaddingReachesGradients(FaultyLayer):
    """Padding is computed with and dropped by `where` afterwards: on the way back 0 times NaN is NaN."""

    def __call__(self, x: Any, state: Any = None, *, lengths: Any = None, **named: Any) -> Any:
        if lengths is None:
            return self.inner(x, state, **named)
        import torch

        _, finals, *rest = self.inner(x, state, lengths=lengths, **named)
        valid = torch.arange(x.shape[1]) < torch.as_tensor(lengths)[:, None]
        y = self.inner(x, state, **named)[0]
        return (torch.where(valid[..., None], y, 0.0), finals, *rest)


@mutant("gradients", "vanilla-L1-reverse-float32", base="torch")
class OutputsDetachedFromFirstStep(FaultyLayer):
    """The gradient is truncated: the first step's output is cut off from what made it."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        import torch

        y, finals, *rest = self.inner(x, state, **named)
        first, others = (y[:, :1], y[:, 1:]) if self.spec.batch_first else (y[:1], y[1:])
        return (torch.cat([first.detach(), others], 1 if self.spec.batch_first else 0), finals, *rest)


@mutant("gradients", "peephole-L1-forward", base="torch")
class RecurrentBiasGradientMissing(FaultyLayer):
    """The backward pass gives the gradient of the biases' sum to bias_ih alone."""

    @classmethod
    def spoil_gradients(cls, grads: dict[str, Any]) -> dict[str, Any]:
        return {name: 0 * g if name.startswith("bias_hh") else g for name, g in grads.items()}


@mutant("gradients", "bias-single", base="torch")
class BiasGradientDoubled(FaultyLayer):
    """The gradient of a single bias is added up for both of the biases it stands for."""

    @classmethod
    def spoil_gradients(cls, grads: dict[str, Any]) -> dict[str, Any]:
        return {name: 2 * g if name.startswith("bias_l") else g for name, g in grads.items()}


@mutant("gradients", "peephole-L1-forward", base="torch")
class PeepholeGradientLacking(FaultyLayer):
    """A parameter is not in the gradients at all."""

    @classmethod
    def spoil_gradients(cls, grads: dict[str, Any]) -> dict[str, Any]:
        return {name: g for name, g in grads.items() if not name.startswith("weight_ch")}


@mutant("masks", "dropout", base="torch")
class GradientPastMasks(FaultyLayer):
    """The gradient of a lower layer is right without dropout and unscaled with it."""

    def __call__(self, x: Any, state: Any = None, *, key: Any = None, **named: Any) -> Any:
        if key is None:
            return self.inner(x, state, **named)
        return self.inner(x.detach() + (x - x.detach()) * 0.6, state, key=key, **named)
