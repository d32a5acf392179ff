"""Faults in how finely is computed, and on which path."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm.weights import Weights

from .faulty import FaultyLayer, changed, mutant


@mutant("outputs", "float32 and L1")
class Float32InFloat16(FaultyLayer):
    """float32 weights are rounded to float16 on the way into the computation."""

    def corrupt(self, weights: Weights) -> Weights:
        return changed(weights, lambda role, a: a.astype("float16").astype(a.dtype))


@mutant("outputs", "float64 and L1")
class Float64InFloat32(FaultyLayer):
    """float64 is computed in float32 and cast back, as JAX does silently without its x64 mode."""

    def build(self, weights: Weights) -> Any:
        return super().build(weights.astype("float32"))

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        state = None if state is None else tuple(s.astype("float32") for s in state)
        y, (h, c), *rest = self.inner(x.astype("float32"), state, **named)
        y, h, c, *rest = (v.astype(self.given.dtype) for v in (y, h, c, *rest))
        return (y, (h, c), *rest)


@mutant("final_state", "float32 and vanilla")
class StatePromoted(FaultyLayer):
    """float32 states come back as float64."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, (h, c), *rest = self.inner(x, state, **named)
        return (y, (h.astype("float64"), c.astype("float64")), *rest)


@mutant("outputs", "large and float32")
class RoughSigmoid(FaultyLayer):
    """The outputs carry the error of an activation that is good to four digits, as a fast approximation is."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, finals, *rest = self.inner(x, state, **named)
        return (y + np.asarray(1e-4 * np.sin(40 * y), y.dtype), finals, *rest)


class _Rough(FaultyLayer):
    def corrupt(self, weights: Weights) -> Weights:
        if self.path == "composed":
            return weights
        mantissa = np.uint32(0xFFFFE000)  # TF32 keeps 10 bits of float32's 23
        return changed(weights, lambda role, a: (a.view("uint32") & mantissa).view("float32") if a.itemsize == 4 else a)


@mutant("path_agreement", "vanilla-L1-forward-float32", base="torch")
class NativePathInTF32(_Rough):
    """The native path multiplies in TF32, the composed path in float32."""


@mutant("backend_agreement", "native-vanilla-L1-forward-float32", base="torch")
class BackendInTF32(_Rough):
    """The framework multiplies in TF32 where NumPy has float32."""


@mutant("bit_identity", "kernel-vanilla-L1-forward-float", base="torch")
class KernelOfOneFramework(FaultyLayer):
    """The kernel is built for one framework alone, by flags that let the compiler round otherwise there."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        y, finals, *rest = self.inner(x, state, **named)
        return (_next(y), finals, *rest)


@mutant("bit_identity", "kernel-vanilla-L1-forward-float", base="torch")
class KernelOfInferenceAlone(FaultyLayer):
    """Without gradients another kernel runs, which rounds otherwise."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        import torch

        y, finals, *rest = self.inner(x, state, **named)
        return (y if torch.is_grad_enabled() else _next(y), finals, *rest)


@mutant("bit_identity", "kernel-vanilla-L1-forward-float", base="torch")
class LastRowOfOddBatches(FaultyLayer):
    """Rows are taken two at a time, and what remains of an odd number rounds otherwise, which c_n alone shows."""

    def __call__(self, x: Any, state: Any = None, **named: Any) -> Any:
        import torch

        y, (h, c), *rest = self.inner(x, state, **named)
        if c.shape[1] % 2:
            last = c[:, -1:]
            c = torch.cat([c[:, :-1], last + (_next(last) - last).detach()], 1)  # of which no gradient knows
        return (y, (h, c), *rest)


@mutant("bit_identity", "kernel-vanilla-L1-forward-float", base="torch")
class GradientOfOneFramework(FaultyLayer):
    """The way back of one framework sums in another order: the gradient of c_0 is off by its last bit."""

    @classmethod
    def spoil_gradients(cls, grads: dict[str, Any]) -> dict[str, Any]:
        return {name: _next(gradient) if name == "c_0" else gradient for name, gradient in grads.items()}


def _next(tensor: Any) -> Any:
    """Off by a bit or so of the last place."""
    import torch

    return tensor * (1.0 + torch.finfo(tensor.dtype).eps)
