"""The plugin API: one hook, and what the object it returns must offer.

A plugin is a module named by an entry point of the group ``unilstm``; the entry point's name is the backend's. The
module must not import its framework at import: it is loaded to list backends, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pluggy

from .spec import LSTMSpec
from .weights import Weights

hookspec = pluggy.HookspecMarker("unilstm")
hookimpl = pluggy.HookimplMarker("unilstm")


class Backend(Protocol):
    """A framework that runs LSTMs."""

    name: str
    distribution: str  # what pip installs, such as "torch"
    extra: str  # the extra of unilstm that brings it, or ""

    def load(self) -> None:
        """Import the framework; ImportError if it is not there. Called before any of the methods below."""

    def layer(self, weights: Weights, *, device: Any, path: str) -> Any:
        """A layer native to the framework, with these weights."""

    def draw_seed(self) -> int:
        """A seed in [0, 2**63) from the framework's own generator, where it has one."""

    def devices(self) -> list[str]:
        """The devices a layer can be put on, such as ["cpu", "cuda:0"]."""

    def paths(self) -> tuple[str, ...]:
        """The paths that exist here, fastest first."""

    def recognise(self, module: Any) -> Weights | None:
        """The weights of a layer of this framework, unilstm's or the framework's own; None if it is neither."""

    def array(self, tensor: Any) -> Any:
        """A NumPy copy of a tensor."""

    def tensor(self, array: Any, device: Any = None) -> Any:
        """A tensor with the values and dtype of a NumPy array."""

    def vjp(self) -> Callable[..., tuple[Any, Mapping[str, Any]]] | None:
        """How conformance differentiates here, or None for a backend that only runs forward.

        The function takes (layer, call, inputs, cotangents): `call` maps (layer, inputs) to a flat list of outputs;
        inputs are a dict of tensors; cotangents one tensor an output. It returns the outputs and the gradients of
        sum(output·cotangent) by name: the inputs' names, and the canonical names of the layer's parameters.
        """

    def scope(self, dtype: str) -> Any:
        """A context in which the dtype works; most backends need none and return contextlib.nullcontext()."""

    # A backend may also offer models and their training; unilstm.models says clearly that one does not:
    # model(weights: ModelWeights, *, device, path), a native model with the methods of unilstm.models.methods;
    # trainer(model, optimizer: Optimizer, loss), a unilstm.models.Trainer.
    # A backend may also offer stored(), the class of layers that unilstm.stored describes, for unilstm.compat.
    # It may offer inference(), a context without gradients, and compiled(function), the function as users
    # of the framework run it (jax.jit): the conformance suite then calls layers so. None is required.


@hookspec(firstresult=True)
def unilstm_backend(spec_version: int) -> Backend | None:
    """Return the backend that this plugin offers. spec_version is 1."""


__all__ = ["Backend", "LSTMSpec", "hookimpl", "hookspec", "unilstm_backend"]
