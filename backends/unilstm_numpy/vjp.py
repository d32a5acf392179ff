"""A stack of layers and its derivative, where the project's kernel runs each of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unilstm import calls
from unilstm.errors import InputError, PathError
from unilstm.masks import Masks
from unilstm.parameters import layer_parameters
from unilstm.run import DirectionResult, LayerCall, forward, outputs
from unilstm.spec import LSTMSpec
from unilstm_kernels import job

from . import kernel
from .ops import OPS

_parameters = functools.lru_cache(256)(layer_parameters)  # of cell="lstm", which nobody can replace
Array = Any
Gradients = dict[str, Array]


def vjp(
    layer: Any, x: Any, state: Any, lengths: Any, masks: Masks | None, cells: bool
) -> tuple[Any, Callable[..., Gradients]]:
    """(y, (h_n, c_n)[, c of every step]) and pull; see LSTM.vjp."""
    spec, params = layer.spec, layer._tensors()
    call = calls.receive(OPS, spec, str(next(iter(params.values())).dtype), x, state, lengths)
    run = _Run(layer, call, None if masks is None else _Kept(masks))
    y, (h, c), every_c = forward(OPS, spec, params, call, run.layer, run_stack=run.stack, masks=run.masks, cells=cells)
    outputs = calls.give_back(OPS, spec, call, y), calls.give_back_state(OPS, spec, call, h, c)
    return (outputs if every_c is None else (*outputs, calls.give_back_cells(OPS, spec, call, every_c))), run.pull


class _Kept:
    """Masks that are remembered by name."""

    def __init__(self, masks: Masks) -> None:
        self.masks, self.known = masks, {}

    def get(self, name: str, shape: tuple[int, ...], *rest: Any) -> Array:
        self.known[name] = self.masks.get(name, shape, *rest)
        return self.known[name]


class _Run:
    """One call, forward and back."""

    def __init__(self, layer: Any, call: calls.Call, masks: _Kept | None) -> None:
        self.spec, self.path, self.call, self.masks = layer.spec, layer.path, call, masks
        self.done: list[tuple[int, kernel.Layer, list[DirectionResult]]] = []  # from which layer on

    def layer(self, k: int, call: LayerCall) -> list[DirectionResult]:
        reason = job.refusal(self.spec, OPS.dtype(call.x))
        if reason is None and self.path not in ("auto", "kernel"):
            reason = f"path={self.path!r} was asked for"
        if reason is not None:
            raise PathError(
                f"NumPy differentiates through the kernel only, which cannot serve layer {k}: {reason}. "
                "Port the layer to another backend for its gradients."
            )
        layer = kernel.Layer(self.spec, k, call)
        results = layer.forward(keep=True)
        self.done.append((k, layer, results))
        return results

    def stack(self, call: LayerCall) -> list[DirectionResult]:
        return self.layer(0, call)

    def masked(self, name: str, gradient: Array) -> Array:
        """Times the mask of training of that name, if there was one."""
        mask = None if self.masks is None else self.masks.known.get(name)
        return gradient if mask is None else gradient * mask

    def pull(self, d_y: Any = None, d_state: Any = None, d_cells: Any = None) -> Gradients:
        spec, count = self.spec, self.spec.num_directions
        d = self._sequence("d_y", d_y, spec.output_size)
        d_h, d_c = self._states(d_state)
        every_c: list[Any] = [None] * len(d_h)
        if d_cells is not None:
            slots = (count * spec.hidden_size,) if spec.slots == 1 else (count * spec.slots, spec.hidden_size)
            of_cells = self._sequence("d_c", d_cells, *slots)
            every_c[-count:] = np.split(of_cells, count, axis=-1)
        found: Gradients = {}
        of_states: list[tuple[Array, Array]] = []
        for first, layer, results in reversed(self.done):
            d_x = None
            start = first * count
            at = slice(start, start + len(results))
            of_results = zip(d_h[at], d_c[at], every_c[at], strict=True)
            into = [dict(zip(job.GRADIENTS_IN[1:], one, strict=True)) for one in of_results]
            of_layer = []
            for n, gradients in enumerate(layer.backward(_unmerged(spec, d, results), into), start):
                k, direction = divmod(n, count)
                if "x" in gradients:
                    of_x = self.masked(f"input_l{k}{'_reverse' if direction else ''}", gradients["x"])
                    d_x = of_x if d_x is None else d_x + of_x
                found |= self._of_parameters(k, direction, gradients)
                of_layer.append((gradients["h_0"], gradients["c_0"]))
            of_states = of_layer + of_states
            d_x = self.masked(f"dropout_l{first}", d_x)
            d = d + d_x if first and spec.residual else d_x
        return {"x": calls.give_back(OPS, spec, self.call, d), **self._of_states(of_states), **found}

    def _sequence(self, name: str, d: Any, *features: int) -> Array:
        """The gradient of a sequence, in the form of that, as the kernel takes it, [T, B, all features]."""
        steps, rows, _ = self.call.x.shape
        size, form = math.prod(features), self.spec.batch_first and self.call.batched
        if d is None:
            return np.zeros((steps, rows, size), self.call.x.dtype)
        lead = ((rows, steps) if form else (steps, rows)) if self.call.batched else (steps,)
        d = _of_shape(name, d, (*lead, *features)).reshape((*lead, size))
        if not self.call.batched:
            return d[:, None]
        return d.swapaxes(0, 1) if form else d

    def _states(self, d_state: Any) -> list[Array]:
        """d_h_n and d_c_n [L·D, B, F], from the form in which the states were given back."""
        count, rows = self.spec.num_layers * self.spec.num_directions, self.call.rows
        found, lead = [], (count, rows) if self.call.batched else (count,)
        every = zip(
            ("d_h_n", "d_c_n"), d_state or (None, None), ((self.spec.state_size,), self.spec.cell_shape), strict=True
        )
        for name, d, features in every:
            shape = (count, rows, math.prod(features))
            given = np.zeros(shape, self.call.x.dtype) if d is None else _of_shape(name, d, (*lead, *features))
            found.append(given.reshape(shape))
        return found

    def _of_parameters(self, k: int, n: int, gradients: Gradients) -> Gradients:
        found = {}
        for p in _parameters(self.spec, k, n):
            gradient = gradients[job.gradient_name(p.role)[2:]]
            if p.role in ("h_0", "c_0"):  # learned: the same for all rows, and unused where the call gave a state
                gradient = gradient.sum(0) if self.call.h_0 is None else np.zeros_like(gradient[0])
                gradient = gradient.reshape(p.shape)
            elif p.role == "weight_hh":
                gradient = self.masked(f"weight_l{k}{'_reverse' if n else ''}", gradient)
            # What is done to the gradient of one of two biases must not be done to the other's.
            found[p.name] = gradient.copy() if p.role == "bias_hh" else gradient
        return found

    def _of_states(self, found: list[tuple[Array, Array]]) -> Gradients:
        if self.call.h_0 is None:
            return {}
        h, c = (np.stack(parts) for parts in zip(*found, strict=True))
        h, c = calls.give_back_state(OPS, self.spec, self.call, h, c)
        return {"h_0": h, "c_0": c}


def _of_shape(name: str, gradient: Any, shape: tuple[int, ...]) -> Array:
    if np.shape(gradient) != shape:
        raise InputError(
            f"{name} has shape {list(np.shape(gradient))}, but must have {list(shape)}, as what it is the gradient of."
        )
    return np.asarray(gradient)


def _unmerged(spec: LSTMSpec, d: Array, results: list[DirectionResult]) -> Array:
    """What reaches a layer's directions, side by side."""
    if spec.num_directions == 1 or spec.merge == "concat":
        return d
    if spec.merge == "mul":
        ahead, back = outputs(spec, results)
        return np.concatenate([d * back, d * ahead], -1)
    return np.concatenate([d, d] if spec.merge == "sum" else [d * 0.5, d * 0.5], -1)
