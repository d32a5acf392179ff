"""Layers, directions, lengths and masks around a cell: the same lines for every backend.

A layer of the stack is run by one *path* (native, kernel or composed; see paths.py). This module holds the composed
one, which serves every spec, and the loop over layers that all of them share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import calls
from .cells import lstm
from .errors import InputError
from .masks import Masks
from .ops import Ops, Tensor
from .parameters import layer_parameters
from .spec import LSTMSpec


@dataclass
class LayerCall:
    """What one layer of the stack is asked to do. One entry a direction in states and p."""

    x: Tensor  # [T, B, F]
    states: list[tuple[Tensor, Tensor]]  # (h [B, P or H], c [B, H])
    p: list[dict[str, Tensor]]  # arrays by role
    lengths: Tensor | None = None  # [B]
    known_lengths: Any = None
    cells: bool = False  # is the sequence of c wanted too?
    masks: list[Tensor] | None = None  # [B, P or H] on the h that a step reads, in training with recurrent dropout
    scratch: dict[str, Tensor] = field(default_factory=dict)  # shared by the layers of one call

    def valid(self, ops: Ops) -> Tensor | None:
        """[T, B, 1]: is step t before the row's length? Worked out once a call."""
        if self.lengths is None:
            return None
        if "valid" not in self.scratch:
            self.scratch["valid"] = ops.valid(self.x.shape[0], self.lengths, self.x)
        return self.scratch["valid"]

    def without_padding(self, ops: Ops) -> Tensor:
        """x with zeros past each row's length. Padding may hold anything, NaN too: where a path only drops or
        multiplies away what it computed there, that would still reach results or gradients."""
        valid = self.valid(ops)
        return self.x if valid is None else ops.where(valid, self.x, ops.full(0.0, self.x))


@dataclass
class DirectionResult:
    """y [T, B, P or H], h [B, P or H], c [B, H], and c of every step [T, B, H] where it was wanted."""

    y: Tensor
    h: Tensor
    c: Tensor
    cells: Tensor | None = None


RunLayer = Callable[[int, LayerCall], list[DirectionResult]]
ScanDirection = Callable[..., DirectionResult]  # the arguments of scan_direction


def forward(
    ops: Ops,
    spec: LSTMSpec,
    params: dict[str, Tensor],
    call: calls.Call,
    run_layer: RunLayer,
    *,
    masks: Masks | None = None,
    cells: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor | None]:
    """Run the stack. masks: of training; None in evaluation.

    Returns y [T, B, O], (h_n [L·D, B, P or H], c_n [L·D, B, H]) and, if wanted, c of every step of the last layer
    [T, B, D·H], forward direction first.
    """
    states = calls.initial_state(ops, spec, params, call)
    count = spec.num_directions
    x: Tensor = call.x
    finals: list[DirectionResult] = []
    scratch: dict[str, Tensor] = {}
    results: list[DirectionResult] = []
    for k in range(spec.num_layers):
        below = x
        if k and spec.dropout and masks is not None:
            x = x * masks.get(f"dropout_l{k}", tuple(x.shape), spec.dropout, x)
        layer = LayerCall(
            x,
            states[k * count : (k + 1) * count],
            [roles(spec, params, k, d) for d in range(count)],
            call.lengths,
            call.known_lengths,
            cells and k == spec.num_layers - 1,
            recurrent_masks(spec, k, masks, x),
            scratch,
        )
        results = run_layer(k, layer)
        finals += results
        x = merge(ops, spec, [r.y for r in results])
        x = x + below if k and spec.residual else x
    h_n, c_n = ops.stack([r.h for r in finals]), ops.stack([r.c for r in finals])
    return x, (h_n, c_n), ops.concat([r.cells for r in results]) if cells else None


def roles(spec: LSTMSpec, params: dict[str, Tensor], layer: int, direction: int) -> dict[str, Tensor]:
    """The arrays of one direction of one layer, by role."""
    return {p.role: params[p.name] for p in layer_parameters(spec, layer, direction)}


def mask_names(spec: LSTMSpec) -> list[str]:
    """The masks that a training call needs, by name; see masks.Masks."""
    names = [f"dropout_l{k}" for k in range(1, spec.num_layers)] if spec.dropout else []
    if spec.recurrent_dropout:
        names += [f"recurrent_l{k}{s}" for k in range(spec.num_layers) for s in ("", "_reverse")[: spec.num_directions]]
    return names


def recurrent_masks(spec: LSTMSpec, layer: int, masks: Masks | None, x: Tensor) -> list[Tensor] | None:
    """One mask for each direction of a layer, or None where nothing is dropped."""
    if masks is None or not spec.recurrent_dropout:
        return None
    shape = (x.shape[1], spec.state_size)
    names = [f"recurrent_l{layer}{'_reverse' if d else ''}" for d in range(spec.num_directions)]
    return [masks.get(name, shape, spec.recurrent_dropout, x) for name in names]


def merge(ops: Ops, spec: LSTMSpec, outputs: list[Tensor]) -> Tensor:
    if len(outputs) == 1:
        return outputs[0]
    ahead, back = outputs
    if spec.merge == "concat":
        return ops.concat([ahead, back])
    if spec.merge == "mul":
        return ahead * back
    return ahead + back if spec.merge == "sum" else (ahead + back) * 0.5


def composed(
    ops: Ops, spec: LSTMSpec, layer: int, call: LayerCall, scan: ScanDirection | None = None
) -> list[DirectionResult]:
    """The equations over ops.scan: any spec, any device, every derivative.

    scan: a backend's own way to run one direction, equal to scan_direction and as general.
    """
    scan = scan or scan_direction
    masks = call.masks or [None] * spec.num_directions
    directions = zip(spec.reversed_directions(layer), call.states, call.p, masks, strict=True)
    return [scan(ops, spec, call, reverse, state, p, mask) for reverse, state, p, mask in directions]


def scan_direction(
    ops: Ops,
    spec: LSTMSpec,
    call: LayerCall,
    reverse: bool,
    state: tuple[Tensor, Tensor],
    p: dict[str, Tensor],
    mask: Tensor | None = None,
) -> DirectionResult:
    """One direction. A row's state holds past its length, so a reverse scan starts, in effect, at its last step."""

    def body(state: Any, step: Any) -> tuple[Any, Any]:
        x, valid = step
        read = state if mask is None else (state[0] * mask, state[1])
        h, c = lstm.step(ops, spec, p, x, read)
        if valid is None:
            return (h, c), (h, c) if call.cells else (h,)
        zero = ops.full(0.0, h)
        outs = (ops.where(valid, h, zero),) + ((ops.where(valid, c, zero),) if call.cells else ())
        return (ops.where(valid, h, state[0]), ops.where(valid, c, state[1])), outs

    (h, c), outs = ops.scan(body, state, (call.without_padding(ops), call.valid(ops)), reverse)
    return DirectionResult(outs[0], h, c, outs[1] if call.cells else None)


def check_step(spec: LSTMSpec) -> None:
    """Raise InputError where a spec cannot be streamed, because some direction needs the end of the sequence first."""
    if any(any(spec.reversed_directions(k)) for k in range(spec.num_layers)):
        raise InputError(
            f"step() streams forward in time, but direction={spec.direction!r} has a layer that starts at the end. "
            "Use direction='forward', or call the layer on the whole sequence."
        )
