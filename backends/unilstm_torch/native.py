"""torch's own LSTM (ATen, oneDNN, cuDNN), where it provably computes the same; and reading torch's own layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unilstm import parallel
from unilstm.errors import LayoutError, PortError
from unilstm.paths import Path
from unilstm.porting.objects import kind_of
from unilstm.run import DirectionResult, LayerCall, composed
from unilstm.spec import LSTMSpec
from unilstm.weights import Weights

from . import fused, kernel
from .ops import TorchOps, tracing
from .scan import scan

Tensor = torch.Tensor
# MPS and ROCm have computed wrong LSTMs for releases on end (pytorch#190056, #177834); ROCm also calls itself "cuda".
_TRUSTED = ("cpu",) if torch.version.hip else ("cpu", "cuda")
_OF_NUMPY = (torch.float16, torch.float32, torch.float64)
# What a state_dict has in the place of a weight that torch computes of something else.
_PARTS = re.compile(r"(?:parametrizations\.)?((?:weight|bias)_\w+?)(?:\.original\d*|_g|_v|_u|_orig|_mask)")


def paths(spec: LSTMSpec, device: torch.device, dtype: str, *, native_first: bool = False) -> tuple[Path, ...]:
    """native_first: of a layer that stands for one of torch's, down to the last bit, TF32 included."""
    ops = TorchOps(device)
    own = Path(
        "kernel",
        lambda k, call: kernel.refusal(spec, device, dtype, call),
        lambda k, call: kernel.run(ops, spec, k, call),
        lambda call: kernel.run_stack(ops, spec, call),
    )
    coarse = None if native_first else tf32(device, dtype)
    native = Path(
        "native", lambda k, call: coarse or refusal(spec, k, device, call), lambda k, call: run(ops, spec, k, call)
    )
    compiled = Path(
        "fused", lambda k, call: fused.refusal(spec, device, call), lambda k, call: fused.run(ops, spec, k, call)
    )
    one = Path("composed", lambda k, call: None, lambda k, call: composed(ops, spec, k, call, scan))
    first = (native, own) if native_first else (own, native)
    # The compiled step is there by name alone, behind what serves everything: it has yet to run on a GPU.
    return (*first, *parallel.paths(ops, spec), one, compiled)


def tf32(device: torch.device, dtype: str) -> str | None:
    """Why cuDNN would compute in less than float32, or None. torch allows it TF32 unless it is told not to."""
    if device.type != "cuda" or dtype != "float32":
        return None
    own = getattr(torch.backends.cudnn, "rnn", None)  # since torch 2.9; before, one switch for all
    allowed = torch.backends.cudnn.allow_tf32 if own is None else own.fp32_precision == "tf32"
    if not allowed or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    return "cuDNN would use TF32, not float32 (torch.backends.cudnn.allow_tf32 = False gives float32)"


def refusal(spec: LSTMSpec, layer: int, device: torch.device, call: LayerCall | None) -> str | None:
    """Why torch.lstm cannot serve this layer, or None."""
    if spec.beyond_standard:
        return f"torch.nn.LSTM has no {', '.join(spec.beyond_standard)} of this kind"
    if device.type not in _TRUSTED:
        return f"torch's LSTM on {device.type} is not proven equal"
    if call is None:
        return None
    if call.masks is not None:
        return "torch.nn.LSTM has no recurrent dropout, nor one mask on x for all steps"
    if call.cells:
        return "torch.nn.LSTM does not return c of every step"
    if torch._C._are_functorch_transforms_active():
        return "inside a torch.func transform"
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return "torch.compile fails on torch's own LSTM (inductor and mkldnn_rnn_layer, seen in torch 2.13)"
    if call.lengths is not None and tracing():
        return "packing needs the values of lengths, which are not known while tracing"
    return None


def run(ops: TorchOps, spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer through torch.lstm. A right-to-left layer runs over its reversed input."""
    (alone,) = spec.reversed_directions(layer) if spec.num_directions == 1 else (False,)
    x, weights = call.x, [w for p in call.p for w in _flat(spec, p)]
    h_0, c_0 = (torch.stack([state[i] for state in call.states]) for i in range(2))
    x = reverse(x, call.lengths) if alone else x
    if call.known_lengths is None:
        y, h, c = _lstm(x, None, (h_0, c_0), weights, spec)
    else:
        # A packed sequence cannot hold an empty row: it runs one step of zeros for it and takes that back.
        empty = not call.known_lengths.all()
        x = torch.where(_some(call), x, 0.0) if empty else x
        packed = pack_padded_sequence(x, call.known_lengths.clip(1), enforce_sorted=False)
        hx = h_0.index_select(1, packed.sorted_indices), c_0.index_select(1, packed.sorted_indices)
        data, h, c = _lstm(packed.data, packed.batch_sizes, hx, weights, spec)
        y, _ = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])
        h, c = (s.index_select(1, packed.unsorted_indices) for s in (h, c))
        if empty:
            y, h, c = (torch.where(_some(call), a, b) for a, b in ((y, torch.zeros_like(y)), (h, h_0), (c, c_0)))
    y = reverse(y, call.lengths) if alone else y
    return [DirectionResult(y, h[d], c[d], joined=spec.num_directions > 1) for d in range(spec.num_directions)]


def _some(call: LayerCall) -> Tensor:
    """[1, B, 1]: has the row any step?"""
    assert call.lengths is not None
    return (call.lengths > 0)[None, :, None]


def _flat(spec: LSTMSpec, p: dict[str, Tensor]) -> list[Tensor]:
    flat = [p["weight_ih"], p["weight_hh"]]
    if spec.bias == "double":
        flat += [p["bias_ih"], p["bias_hh"]]
    elif spec.bias == "single":  # adding an exact zero
        flat += [p["bias"], torch.zeros_like(p["bias"])]
    return [*flat, p["weight_hr"]] if spec.proj_size else flat


def _lstm(x: Tensor, batch_sizes: Tensor | None, hx: Any, weights: list[Tensor], spec: LSTMSpec) -> Any:
    """torch.lstm is what torch.nn.LSTM calls: one layer, no dropout (masks are ours), time-major."""
    biases, both = spec.bias != "none", spec.num_directions == 2
    if batch_sizes is None:
        return torch.lstm(x, hx, weights, biases, 1, 0.0, False, both, False)
    return torch.lstm(x, batch_sizes, hx, weights, biases, 1, 0.0, False, both)


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """[T, B, F] with each row's valid steps in reverse order, and the rest where it was."""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(x.shape[0], device=x.device)[:, None]
    index = torch.where(t < lengths, lengths - 1 - t, t)
    return x.gather(0, index[:, :, None].expand(x.shape))


def recognise(module: Any) -> Weights | None:
    """The weights of a torch.nn.LSTM or LSTMCell."""
    kind = kind_of(module, "torch.nn", ("LSTM", "LSTMCell"), ("forward",))
    if kind is None:
        return None
    state = module.state_dict()
    _refuse_parametrized(module, state)
    config: dict[str, Any] = {}
    if kind == "LSTM":
        # torch takes dropout= with one layer, where it acts on nothing; the spec does not.
        dropout = module.dropout if module.num_layers > 1 else 0.0
        config = {"batch_first": module.batch_first, "dropout": dropout}
    return Weights.from_layout("torch", {name: to_numpy(value, name) for name, value in state.items()}, **config)


def _refuse_parametrized(module: Any, names: Iterable[str]) -> None:
    """What torch's utilities leave of a weight is no weight; and what they made of it may be from before."""
    for name in names:
        parts = _PARTS.fullmatch(name)
        if parts is not None:
            utils, weight = "torch.nn.utils", parts.group(1)
            raise PortError(
                f"{type(module).__name__}: in the place of {weight!r} it has {name!r}, of which torch computes it. "
                f"Remove what does so (a weight norm, pruning) from a copy of the layer, whichever it is: "
                f"{utils}.parametrize.remove_parametrizations(layer, {weight!r}), {utils}.remove_weight_norm, "
                f"remove_spectral_norm or prune.remove of the same arguments."
            )


def to_numpy(tensor: Tensor, name: str | None = None) -> Any:
    """A tensor as a NumPy array, which may share its memory.

    Raises LayoutError for a floating-point dtype that NumPy does not have, and for a tensor without data.
    """
    what = f"a tensor {list(tensor.shape)}" if name is None else repr(name)
    if tensor.is_meta:
        raise LayoutError(
            f"{what} is on torch's meta device, which holds no values. Give the layer some first: "
            "layer.to_empty(device='cpu'), and layer.load_state_dict(…)."
        )
    if tensor.is_floating_point() and tensor.dtype not in _OF_NUMPY:
        raise LayoutError(
            f"{what} has dtype {str(tensor.dtype).removeprefix('torch.')}, which NumPy does not have. Convert the "
            "layer first: layer.float(), which holds every such value exactly."
        )
    return tensor.detach().cpu().numpy()
