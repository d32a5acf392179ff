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
    return Layer(spec, layer, call).forward(keep=False)


class Layer:
    """One layer of one call; what backward() needs of forward(keep=True) stays here."""

    def __init__(self, spec: LSTMSpec, layer: int, call: LayerCall) -> None:
        self.equations, self.cells = job.equations(spec), call.cells
        lengths = {} if call.lengths is None else {"lengths": np.ascontiguousarray(call.lengths, np.int32)}
        every = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
        self.directions = [_direction(call, *one, lengths) for one in every]

    def forward(self, *, keep: bool) -> list[DirectionResult]:
        x, count = self.directions[0].arrays["x"], len(self.directions)
        y = np.empty((*x.shape[:2], count * self.equations.state), x.dtype)
        shapes = self.equations.made_shapes(*x.shape[:2], keep=keep, cells=self.cells)
        made = [{"y": y, **{n: np.empty(shape, x.dtype) for n, shape in shapes.items()}} for _ in self.directions]
        self._run(made, backward=False)
        if keep:
            self.directions = [
                one._replace(arrays={**one.arrays, **results})
                for one, results in zip(self.directions, made, strict=True)
            ]
        cells = [r["cells"] if self.cells else None for r in made]
        return [DirectionResult(y, r["h_n"], r["c_n"], c, count > 1) for r, c in zip(made, cells, strict=True)]

    def backward(self, d_y: Array, into: list[dict[str, Array | None]]) -> list[dict[str, Array]]:
        """For each direction the gradients of x, h_0, c_0 and the parameters, by role, from those of the results: of
        the layer's y [T, B, D·S], and of each direction's others by the names of job.GRADIENTS_IN."""
        d_y, strides = _rows_dense(np.asarray(d_y, self.directions[0].arrays["x"].dtype))
        made, given = [], []
        for one, of_results in zip(self.directions, into, strict=True):
            dtype = one.arrays["x"].dtype
            dense = {n: np.ascontiguousarray(a, dtype) for n, a in of_results.items() if a is not None}
            given.append({"d_y": d_y, **dense})
            names = [name for name in job.GRADIENTS if name[2:] in one.arrays]
            made.append({name: np.empty(one.arrays[name[2:]].shape, dtype) for name in names})
        self._run([g | m for g, m in zip(given, made, strict=True)], backward=True, d_y_strides=strides)
        return [{name[2:]: array for name, array in found.items()} for found in made]

    def _run(self, more: list[dict[str, Array]], **how: Any) -> None:
        directions = [one._replace(arrays={**one.arrays, **m}) for one, m in zip(self.directions, more, strict=True)]
        x, threads = directions[0].arrays["x"], library.threads()
        double = x.dtype == np.float64
        job.run(self.equations, x.shape, double, directions, _pointer, threads=threads, **how)


def _direction(
    call: LayerCall, reverse: bool, state: Any, p: Any, masks: Any, lengths: dict[str, Array]
) -> job.Direction:
    arrays = job.tensors(call, state, p, masks) | job.fixed(masks)
    x, strides = _rows_dense(arrays.pop("x"))
    given = {name: np.ascontiguousarray(a) for name, a in arrays.items() if a is not None}
    return job.Direction(reverse, strides, {"x": x, **given, **lengths})


def _rows_dense(array: Array) -> tuple[Array, list[int]]:
    """The same with its features side by side, and its strides in elements."""
    if array.strides[-1] != array.itemsize or min(array.strides) < 0:
        array = np.ascontiguousarray(array)
    return array, [stride // array.itemsize for stride in array.strides]


def _pointer(array: Array) -> int:
    return array.ctypes.data  # type: ignore[no-any-return]
