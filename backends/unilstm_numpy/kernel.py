"""The project's own kernel on NumPy arrays, forward and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from unilstm.run import DirectionResult, LayerCall
from unilstm.spec import LSTMSpec
from unilstm_kernels import job, library

Array = Any


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer, or a stack of them from this one on."""
    return Layer(spec, layer, call).forward(keep=False)


class Layer:
    """One layer of one call, or a stack of them; what backward() needs of forward(keep=True) stays here."""

    def __init__(self, spec: LSTMSpec, layer: int, call: LayerCall) -> None:
        self.equations, self.call, self.shape = job.equations(spec), call, call.x.shape
        lengths = {} if call.lengths is None else {"lengths": np.ascontiguousarray(call.lengths, np.int32)}
        every = zip(job.reversed_ones(spec, layer, call), job.tensors(call), call.all_masks(), strict=True)
        self.directions = [_direction(reverse, given | job.fixed(masks), lengths) for reverse, given, masks in every]

    def forward(self, *, keep: bool) -> list[DirectionResult]:
        (steps, rows, _), count, call = self.shape, len(self.directions), self.call
        shapes = self.equations.made_shapes(steps, rows, count, stacked=call.stacked, keep=keep, cells=call.cells)
        made = [{n: np.empty(shape, call.x.dtype) for n, shape in of.items()} for of in shapes]
        made = [{"y": made[0]["y"], **of} for of in made]
        self._run(made, backward=False)
        if keep:
            self.directions = [
                one._replace(arrays={**one.arrays, **results})
                for one, results in zip(self.directions, made, strict=True)
            ]
        joined = count > 1 and not call.stacked
        return [
            DirectionResult(r["y"], r["h_n"], r["c_n"], r.get("cells") if call.cells else None, joined) for r in made
        ]

    def backward(self, d_y: Array, into: list[dict[str, Array | None]]) -> list[dict[str, Array]]:
        """For each direction the gradients of x, h_0, c_0 and the parameters, by role, from those of the results: of
        the layer's y [T, B, D·S], and of each direction's others by the names of job.GRADIENTS_IN. Of a stack x is the
        first layer's, and y the last's."""
        dtype = self.call.x.dtype
        d_y, strides = _rows_dense(np.asarray(d_y, dtype))
        made, given = [], []
        for one, of_results in zip(self.directions, into, strict=True):
            dense = {n: np.ascontiguousarray(a, dtype) for n, a in of_results.items() if a is not None}
            given.append({"d_y": d_y, **dense})
            found = [name for name in job.GRADIENTS if name[2:] in one.arrays]
            made.append({name: np.empty(one.arrays[name[2:]].shape, dtype) for name in found})
        self._run([g | m for g, m in zip(given, made, strict=True)], backward=True, d_y_strides=strides)
        return [{name[2:]: array for name, array in found.items()} for found in made]

    def _run(self, more: list[dict[str, Array]], **how: Any) -> None:
        directions = [one._replace(arrays={**one.arrays, **m}) for one, m in zip(self.directions, more, strict=True)]
        double, stacked = self.call.x.dtype == np.float64, self.call.stacked
        how |= {"threads": library.threads(), "stacked": stacked}
        job.run(self.equations, self.shape, double, directions, _pointer, **how)


def _direction(reverse: bool, arrays: dict[str, Any], lengths: dict[str, Array]) -> job.Direction:
    given = {name: np.require(a, requirements="CA") for name, a in arrays.items() if a is not None and name != "x"}
    if "x" not in arrays:
        return job.Direction(reverse, (0, 0), {**given, **lengths})
    x, strides = _rows_dense(arrays["x"])
    return job.Direction(reverse, strides, {"x": x, **given, **lengths})


def _rows_dense(array: Array) -> tuple[Array, list[int]]:
    """The same with its features side by side, and its strides in elements."""
    whole = not any(stride % array.itemsize for stride in array.strides)  # not so in a field of a structured array
    if array.strides[-1] != array.itemsize or min(array.strides) < 0 or not whole or not array.flags.aligned:
        array = array.copy()
    return array, [stride // array.itemsize for stride in array.strides]


def _pointer(array: Array) -> int:
    return array.ctypes.data  # type: ignore[no-any-return]
