"""One step of a stream, straight into the kernel.

A step computes for a tenth of a millisecond or less, so what a call does before and after it is worth saving. What this
does not recognise as plain, it leaves to the call that serves everything, which also says what is wrong with it.
"""

from __future__ import annotations

from typing import Any

import torch

from unilstm_kernels import job

from . import kernel
from .scan import serves

Tensor = torch.Tensor
_DTYPES = (torch.float32, torch.float64)
_CPU = torch.device("cpu")


def step(layer: Any, x: Any, state: Any) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
    """What layer.step(x, state) returns, outside of autograd and transforms; None where the plain call is to do it."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or layer.path not in ("auto", "kernel"):
        return None
    spec, params = layer.spec, layer._parameters
    if spec.num_directions != 1 or spec.residual or spec.direction != "forward":
        return None
    if not _plain(spec, params, x, state):
        return None
    h_n, c_n = x.new_empty(state[0].shape), x.new_empty(state[1].shape)
    for k in range(spec.num_layers):
        p = {role: params[name] for role, name in spec.roles[k]}
        y = x.new_empty(x.shape[0], spec.state_size)
        given = {**job.given(p), "x": x, "h_0": state[0][k], "c_0": state[1][k], "y": y, "h_n": h_n[k], "c_n": c_n[k]}
        kernel.run_step(job.equations(spec), x, given)
        x = y
    return x, (h_n, c_n)


def _plain(spec: Any, params: Any, x: Any, state: Any) -> bool:
    if type(x) is not Tensor or x.dim() != 2 or x.dtype not in _DTYPES or not isinstance(state, (tuple, list)):
        return False
    if x.shape[0] == 0 or x.shape[1] != spec.input_size or len(state) != 2:
        return False
    lead = (spec.num_layers, x.shape[0])
    for tensor, size in zip(state, (spec.state_size, spec.hidden_size), strict=True):
        if type(tensor) is not Tensor or tensor.shape != (*lead, size):
            return False
    tensors = [x, *state, *params.values()]
    if {(t.dtype, t.device, t.is_contiguous()) for t in tensors} != {(x.dtype, _CPU, True)}:
        return False
    if torch.is_autocast_enabled("cpu") or torch.jit.is_tracing() or not serves(tensors):
        return False
    return all(type(t) is torch.nn.Parameter for t in params.values()) and job.refusal(spec, None) is None
