"""Functions of tensors recorded as CUDA graphs: one launch for all their kernels.

A graph reads and writes the memory it was recorded with, so its inputs are copied there, and its results are copied
out. Shapes are recorded when they come for the second time; the first call compiles. A bounded number is kept, the
least recently used one goes. Never yet run on a GPU.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch

Tensor = torch.Tensor
_KEPT = 16  # recordings, each with the memory of its own intermediate results
_LOCK = threading.RLock()
_FOUND: OrderedDict[Any, Any] = OrderedDict()  # None: seen once


def recorded(function: Callable[..., Any], static: tuple[Any, ...], tensors: Sequence[Any]) -> Any:
    """function(*static, *tensors), a tuple of tensors or None; from a recording of it on a CUDA device.

    function: the same kernels in the same order whenever static and the shapes are the same; it keeps no gradients.
    """
    device = next(t.device for t in tensors if t is not None)
    if device.type != "cuda" or torch.cuda.is_current_stream_capturing():
        return function(*static, *tensors)
    shapes = tuple(None if t is None else (tuple(t.shape), t.dtype) for t in tensors)
    with torch.cuda.device(device), _LOCK:
        key = (function, static, shapes, device.index, torch.cuda.current_stream().cuda_stream)
        return replayed(key, lambda *given: function(*static, *given), tensors, CudaGraph)


def replayed(key: Any, function: Callable[..., Any], tensors: Sequence[Any], recorder: Any) -> Any:
    """recorder: of functions without arguments, whose recording runs again by replay()."""
    if key not in _FOUND:
        _FOUND[key] = None
        while len(_FOUND) > _KEPT:
            _FOUND.popitem(last=False)
        return function(*tensors)
    _FOUND.move_to_end(key)
    if _FOUND[key] is None:
        inputs = [None if t is None else t.clone(memory_format=torch.contiguous_format) for t in tensors]
        _FOUND[key] = inputs, recorder(lambda: function(*inputs))
    inputs, recording = _FOUND[key]
    for own, given in zip(inputs, tensors, strict=True):
        if own is not None:
            own.copy_(given)
    recording.replay()
    return tuple(None if t is None else t.clone() for t in recording.results)


class CudaGraph:
    def __init__(self, function: Callable[[], Any]) -> None:
        stream = torch.cuda.Stream()  # a recording must not be the first run: libraries set themselves up in that
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.results = function()

    def replay(self) -> None:
        self.graph.replay()
