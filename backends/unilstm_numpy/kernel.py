"""The project's own kernel on NumPy arrays, forward and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm.run import DirectionResult, LayerCall
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

Array = Any


def refusal(spec: LSTMSpec, call: LayerCall | None) -> str | None:
    """Why the kernel cannot serve this layer, or None."""
    return job.refusal(spec, call)


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    return [direction.forward(call.cells, keep=False) for direction in directions(spec, layer, call)]


def directions(spec: LSTMSpec, layer: int, call: LayerCall) -> list[Direction]:
    every = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
    return [Direction(spec, call, *one) for one in every]


class Direction:
    """One direction of one call; what backward() needs of forward(keep=True) stays here."""

    def __init__(self, spec: LSTMSpec, call: LayerCall, reverse: bool, state: Any, p: Any, masks: Any) -> None:
        arrays = job.tensors(call, state, p, masks) | job.fixed(masks)
        x = arrays.pop("x")
        self.spec, self.masks = spec, masks
        x = x if x.strides[2] == x.itemsize and min(x.strides) >= 0 else np.ascontiguousarray(x)
        self.strides = tuple(stride // x.itemsize for stride in x.strides)
        self.equations, self.reverse, self.shape, self.dtype = job.equations(spec), reverse, x.shape, x.dtype
        self.given = {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None} | {"x": x}
        if call.lengths is not None:
            self.given["lengths"] = np.ascontiguousarray(call.lengths, np.int32)
        self.kept: dict[str, Array] = {}

    def forward(self, cells: bool, *, keep: bool) -> DirectionResult:
        spec, (steps, rows, _) = self.spec, self.shape
        results = {
            "y": np.empty((steps, rows, spec.state_size), self.dtype),
            "h_n": np.empty((rows, spec.state_size), self.dtype),
            "c_n": np.empty((rows, self.equations.remembered), self.dtype),
        }
        if cells or keep:
            results["cells"] = np.empty((steps, rows, self.equations.remembered), self.dtype)
        kept = {}
        if keep:
            shapes = self.equations.kept_shapes(steps, rows)
            kept = {name: np.empty(shape, self.dtype) for name, shape in shapes.items()}
        self._run(self.given | results | kept, backward=False)
        if keep:
            self.kept = kept | {"y": results["y"], "cells": results["cells"]}
        return DirectionResult(results["y"], results["h_n"], results["c_n"], results["cells"] if cells else None)

    def backward(self, d_y: Array, d_h_n: Array, d_c_n: Array, d_cells: Array | None) -> dict[str, Array]:
        """The gradients of x, h_0, c_0 and the parameters, by role, from those of the results."""
        into = {"d_y": d_y, "d_h_n": d_h_n, "d_c_n": d_c_n, "d_cells": d_cells}
        arrays = {name: np.ascontiguousarray(a, self.dtype) for name, a in into.items() if a is not None}
        names = [name for name in job.GRADIENTS if name[2:] in self.given]
        found = {name: np.empty(self.given[name[2:]].shape, self.dtype) for name in names}
        self._run(self.given | self.kept | arrays | found, backward=True)
        return {name[2:]: array for name, array in found.items()}

    def _run(self, arrays: dict[str, Array], *, backward: bool) -> None:
        double = self.dtype == np.float64
        threads = library.threads()
        job.run(
            self.equations,
            self.shape,
            self.strides,
            self.reverse,
            double,
            arrays,
            _pointer,
            backward=backward,
            threads=threads,
        )


def _pointer(array: Array) -> int:
    return array.ctypes.data  # type: ignore[no-any-return]
