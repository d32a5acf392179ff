"""Paddle's own LSTM (its fused rnn operator), where it provably computes the same; and reading paddle.nn.LSTM."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import _C_ops

from unilstm.errors import LayoutError
from unilstm.paths import Path
from unilstm.porting.objects import kind_of
from unilstm.run import DirectionResult, LayerCall, composed
from unilstm.spec import LSTMSpec
from unilstm.weights import Weights

from . import kernel
from .ops import OPS

Tensor = Any


def paths(spec: LSTMSpec, dtype: str) -> tuple[Path, ...]:
    return (
        Path(
            "kernel",
            lambda k, call: kernel.refusal(spec, dtype, call),
            lambda k, call: kernel.run(spec, k, call),
            lambda call: kernel.run_stack(spec, call),
        ),
        Path("native", lambda k, call: refusal(spec, k, call), lambda k, call: run(spec, k, call)),
        Path("composed", lambda k, call: None, lambda k, call: composed(OPS, spec, k, call)),
    )


def refusal(spec: LSTMSpec, layer: int, call: LayerCall | None) -> str | None:
    """Why Paddle's rnn operator cannot serve this layer, or None."""
    if spec.beyond_standard:
        return f"paddle.nn.LSTM has no {', '.join(spec.beyond_standard)} of this kind"
    if spec.proj_size:
        return "Paddle's rnn operator has no projection"
    if paddle.device.is_compiled_with_rocm():
        return "Paddle itself avoids the operator on ROCm"
    if not paddle.in_dynamic_mode():
        return "a static graph is being built"
    if call is None:
        return None
    if call.masks is not None:
        return "paddle.nn.LSTM has no recurrent dropout, nor one mask on x for all steps"
    if call.cells:
        return "paddle.nn.LSTM does not return c of every step"
    if spec.num_directions == 2 and _ragged(call) and paddle.is_grad_enabled():
        return "its gradient of the reverse weight_hh is wrong with ragged lengths (seen in Paddle 3.3.1)"
    return None


def _ragged(call: LayerCall) -> bool:
    return call.known_lengths is not None and bool((call.known_lengths < call.x.shape[0]).any())


def run(spec: LSTMSpec, layer: int, call: LayerCall) -> list[DirectionResult]:
    """One layer through the operator. A right-to-left layer runs over its reversed input."""
    (alone,) = spec.reversed_directions(layer) if spec.num_directions == 1 else (False,)
    x = call.without_padding(OPS)  # the operator masks by multiplying
    x = reverse(x, call.lengths) if alone else x
    states = [paddle.stack([state[i] for state in call.states]) for i in range(2)]
    weights = [p[role] for p in call.p for role in ("weight_ih", "weight_hh")]
    biases = [b for p in call.p for b in _biases(spec, p)]
    x, h_0, c_0, *weights = _together([x, *states, *weights, *biases])
    lengths = None if call.lengths is None else call.lengths.astype("int32")
    # is_test must be False for the operator to keep what its gradient needs; with no dropout it changes nothing else.
    y, _, (h, c) = _C_ops.rnn(
        x, [h_0, c_0], weights, lengths, paddle.empty([0], dtype="uint8"), 0.0, spec.num_directions == 2,
        x.shape[2], spec.hidden_size, 1, "LSTM", 0, False,
    )  # fmt: skip
    y = reverse(y, call.lengths) if alone else y
    return [DirectionResult(y, h[d], c[d], joined=spec.num_directions > 1) for d in range(spec.num_directions)]


def _biases(spec: LSTMSpec, p: dict[str, Tensor]) -> list[Tensor]:
    """The two biases the operator insists on; adding an exact zero where the spec has fewer."""
    if spec.bias == "double":
        return [p["bias_ih"], p["bias_hh"]]
    zero = paddle.zeros([p["weight_ih"].shape[0]], dtype=p["weight_ih"].dtype)
    return [p["bias"] if spec.bias == "single" else zero, zero]


def _together(tensors: list[Tensor]) -> list[Tensor]:
    """The same tensors as slices of one, so that the gradient of each is wanted if that of any is.

    The operator's gradient fails ("Required tensor shall not be nullptr") where one of its inputs wants none: a frozen
    bias, or paddle.grad for x alone. The copy is small beside T steps, and not made where no gradient is.
    """
    if not paddle.is_grad_enabled() or all(t.stop_gradient for t in tensors):
        return tensors
    parts = paddle.split(paddle.concat([t.flatten() for t in tensors]), [t.size for t in tensors])
    return [part.reshape(t.shape) for part, t in zip(parts, tensors, strict=True)]


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """[T, B, F] with each row's valid steps in reverse order, and the rest where it was."""
    if lengths is None:
        return paddle.flip(x, [0])
    t = paddle.arange(x.shape[0], dtype="int64")[:, None]
    index = paddle.where(t < lengths[None, :], lengths[None, :] - 1 - t, t.expand([x.shape[0], x.shape[1]]))
    return paddle.take_along_axis(x, index[:, :, None].expand(x.shape), 0, broadcast=False)


def recognise(module: Any) -> Weights | None:
    """The weights of a paddle.nn.LSTM."""
    if kind_of(module, "paddle.nn", ("LSTM",), ("forward",)) is None:
        return None
    # Paddle takes dropout= with one layer, where it acts on nothing; the spec does not.
    dropout = module.dropout if module.num_layers > 1 else 0.0
    config: dict[str, Any] = {"time_major": module.time_major, "dropout": dropout}
    # The alias names of paddle.nn.LSTM point at the wrong tensors with a projection or one bias off; its cells do not.
    state = {name: to_numpy(value, name) for name, value in module.state_dict().items() if ".cell" in name}
    return Weights.from_layout("paddle", state, **config)


def to_numpy(tensor: Tensor, name: str | None = None) -> Any:
    """A tensor as a NumPy array. Raises LayoutError for bfloat16, which Paddle would give as whole numbers."""
    if tensor.dtype == paddle.bfloat16:
        what = f"a tensor {list(tensor.shape)}" if name is None else repr(name)
        raise LayoutError(
            f"{what} has dtype bfloat16, which NumPy does not have. Convert the layer first: layer.float(), which "
            "holds every such value exactly."
        )
    return tensor.numpy()
