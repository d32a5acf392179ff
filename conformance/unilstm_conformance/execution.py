"""Running a backend's layer on a problem, in NumPy arrays at both ends. The only place that touches a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from unilstm.errors import PathError
from unilstm.hookspecs import Backend
from unilstm.spec import LSTMSpec
from unilstm.weights import Weights

from .cases import Case
from .problems import OUTPUTS, Array, Problem, problem


class NotApplicable(Exception):
    """A check that says nothing about this backend, path or case; the message says why."""


@dataclass(frozen=True, eq=False)
class Target:
    """What is put to the test: one path of one backend on one device. name: that of the backend in ids."""

    name: str
    backend: Backend
    path: str
    device: Any = None

    # Results are cached by target. A backend is anyone's object and may not be hashable, so its identity counts.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[int, str, str]:
        return id(self.backend), self.path, str(self.device)

    def layer(self, weights: Weights, training: bool = False) -> Any:
        """A layer in training or evaluation mode, where the framework has modes."""
        layer = self.backend.layer(weights, device=self.device, path=self.path)
        mode = getattr(layer, "train" if training else "eval", None)
        if callable(mode):
            mode()
        return layer

    def tensor(self, array: Array) -> Any:
        return self.backend.tensor(np.array(array), self.device)

    def array(self, tensor: Any) -> Array:
        return self.backend.array(tensor)  # type: ignore[no-any-return]

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        return self.backend.scope(dtype)  # type: ignore[no-any-return]

    def vjp(self, spec: LSTMSpec) -> Callable[..., Any] | None:
        """How the backend differentiates this spec on this path; None where it only runs forward."""
        why = getattr(self.backend, "forward_only", lambda spec, path: None)(spec, self.path)
        return None if why else self.backend.vjp()

    # Two things that a backend may offer and need not have.

    def inference(self) -> AbstractContextManager[Any]:
        """backend.inference(): a context without gradients. Some native paths take other code there."""
        return getattr(self.backend, "inference", nullcontext)()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """backend.compiled(function): the function as users of the framework run it, such as jax.jit(function).

        Its arguments are layers and tensors, and dicts and lists of them.
        """
        return getattr(self.backend, "compiled", lambda plain: plain)(function)  # type: ignore[no-any-return]

    def state(self, p: Problem) -> Any:
        return None if p.h_0 is None or p.c_0 is None else (self.tensor(p.h_0), self.tensor(p.c_0))

    def call(self, layer: Any, *args: Any, **named: Any) -> Any:
        """Call the layer. A path that refuses this call, as only native and kernel paths may, is not applicable."""
        try:
            return layer(*args, **named)
        except PathError as refusal:
            if self.path in ("auto", "composed"):
                raise
            raise NotApplicable(str(refusal)) from refusal


@dataclass(frozen=True)
class Run:
    """What one call returned, the inputs whose bits it changed, and the layer's weights after it.

    c_all: every step's c, of a call that asked for it.
    """

    y: Array
    h_n: Array
    c_n: Array
    c_all: Array | None = None
    changed: tuple[str, ...] = ()
    weights: Mapping[str, Array] = field(default_factory=dict)

    def __iter__(self) -> Any:
        return iter((self.y, self.h_n, self.c_n))


@lru_cache(256)
def refusal(target: Target, spec: LSTMSpec) -> str | None:
    """Why this path cannot serve this spec at all, or None. Asks the layer itself: its explain() raises PathError."""
    with target.scope("float32"):
        try:
            target.layer(Weights.initial(spec, 0)).explain()
        except PathError as problem:
            return str(problem)
        except Exception:
            return None  # a layer that cannot be built is for the cells to report, each with its traceback
    return None


@lru_cache(64)
def forward(target: Target, case: Case, training: bool = False) -> Run:
    """The plain call of a case. Cached: several checks look at the same result."""
    return call(target, problem(case), training)


@lru_cache(64)
def gradients(target: Target, case: Case, training: bool = False) -> tuple[Run, dict[str, Array]]:
    """The outputs of a case while differentiating, and the gradients of sum(output·probe) by name. Cached."""
    return differentiate(target, problem(case), training)


def call(target: Target, p: Problem, training: bool = False) -> Run:
    """One call without gradients, compiled where the framework compiles."""
    with target.scope(p.dtype), target.inference():
        training = training or p.masks is not None
        layer, lengths = target.layer(p.weights, training), _lengths(target, p)
        inputs = {name: target.tensor(value) for name, value in p.inputs.items()}
        returned = target.compiled(_outputs_of(target, p, lengths, training))(layer, inputs)
        y, h_n, c_n, *c_all = (target.array(value) for value in returned)
        changed = [n for n, before in p.inputs.items() if target.array(inputs[n]).tobytes() != before.tobytes()]
        if p.lengths is not None and not np.array_equal(_numbers(target, lengths), p.lengths):
            changed.append("lengths")
        return Run(y, h_n, c_n, c_all[0] if c_all else None, tuple(changed), layer.weights())


def differentiate(target: Target, p: Problem, training: bool = False) -> tuple[Run, dict[str, Array]]:
    """The outputs and the gradients of sum(output·probe), by name, as the backend differentiates."""
    vjp = target.vjp(p.weights.spec)
    if vjp is None:
        raise NotApplicable(f"{target.name} is forward only, on this path at least")
    training = training or p.masks is not None
    with target.scope(p.dtype):
        outputs_of = _outputs_of(target, p, _lengths(target, p), training)
        inputs = {name: target.tensor(value) for name, value in p.inputs.items()}
        cotangents = [target.tensor(p.probes[name]) for name in (*OUTPUTS, "c_all") if name in p.probes]
        whole = target.compiled(lambda layer, inputs, cotangents: vjp(layer, outputs_of, inputs, cotangents))
        outputs, grads = whole(target.layer(p.weights, training), inputs, cotangents)
        y, h_n, c_n, *c_all = (target.array(value) for value in outputs)
        run = Run(y, h_n, c_n, c_all[0] if c_all else None)
        return run, {name: target.array(value) for name, value in grads.items()}


def _outputs_of(target: Target, p: Problem, lengths: Any, training: bool) -> Callable[[Any, dict[str, Any]], list[Any]]:
    """A call as a function of the layer and of what can be differentiated by; with every c where there is a probe."""
    cells = {"return_cell_sequence": True} if "c_all" in p.probes else {}

    def outputs_of(layer: Any, inputs: dict[str, Any]) -> list[Any]:
        state = (inputs["h_0"], inputs["c_0"]) if "h_0" in inputs else None
        named = _named(target, p, lengths, training) | cells
        y, (h_n, c_n), *c_all = target.call(layer, inputs["x"], state, **named)
        return [y, h_n, c_n, *c_all]

    return outputs_of


def cell_sequence(target: Target, p: Problem) -> tuple[Array, Array]:
    """y and the c of every step, of a call that asks for both."""
    with target.scope(p.dtype), target.inference():
        named = _named(target, p, _lengths(target, p), training=False)
        layer, x = target.layer(p.weights), target.tensor(p.x)
        y, _, cells = target.call(layer, x, target.state(p), **named, return_cell_sequence=True)
        return target.array(y), target.array(cells)


def stream(target: Target, p: Problem, time: int) -> Run:
    """One step() after the other. time: the axis of x."""
    with target.scope(p.dtype), target.inference():
        layer, state, ys = target.layer(p.weights), target.state(p), []
        for t in range(p.x.shape[time]):
            y, state = target.call(layer.step, target.tensor(np.take(p.x, t, time)), state)
            ys.append(target.array(y))
        h_n, c_n = (target.array(value) for value in state)
    return Run(np.stack(ys, time), h_n, c_n)


def _lengths(target: Target, p: Problem) -> Any:
    if p.lengths is None:
        return None
    forms: list[Callable[[], Any]] = [p.lengths.tolist, p.lengths.copy, lambda: target.tensor(np.array(p.lengths))]
    return forms[p.lengths_form]()


def _numbers(target: Target, lengths: Any) -> Array:
    return np.asarray(lengths) if isinstance(lengths, (list, np.ndarray)) else target.array(lengths)


def _named(target: Target, p: Problem, lengths: Any, training: bool) -> dict[str, Any]:
    """The keyword arguments of a call that are there."""
    given: dict[str, Any] = {"lengths": lengths, "key": p.key if training else None}
    if p.masks is not None:
        given["masks"] = {name: target.tensor(mask) for name, mask in p.masks.items()}
    return {name: value for name, value in given.items() if value is not None}
