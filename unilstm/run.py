"""Layers, directions, lengths and masks around a cell: the same lines for every backend.

A layer of the stack is run by one *path* (native, kernel or composed; see paths.py). This module holds the composed
one, which serves every spec, and the loop over layers that all of them share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from . import calls
from .cells import get
from .errors import InputError
from .layer_masks import get_masks
from .masks import Masks
from .ops import Ops, Tensor
from .spec import LSTMSpec


@dataclass
class LayerCall:
    """What one layer of the stack is asked to do. One entry a direction in states and p.

    stacked: or what several layers are, of one direction each and the same one, every one upon the y of the one before
    it. One entry a layer then; x is the first's, masks and cells are not wanted, and the last one's y is the stack's.
    """

    x: Tensor  # [T, B, F]
    states: list[tuple[Tensor, Tensor]]  # (h [B, P or H], c [B, slots·H])
    p: list[dict[str, Tensor]]  # arrays by role
    lengths: Tensor | None = None  # [B]
    known_lengths: Any = None
    cells: bool = False  # is the sequence of c wanted too?
    masks: list[dict[str, Tensor]] | None = None  # by kind (layer_masks.py), in training with such a dropout
    scratch: dict[str, Tensor] = field(default_factory=dict)  # shared by the layers of one call
    stacked: bool = False

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

    def tensors(self) -> list[Tensor]:
        """x, the states, and the parameters and masks of all directions."""
        named = (*self.p, *self.all_masks())
        return [self.x, *(s for state in self.states for s in state), *(t for of in named for t in of.values())]

    def all_masks(self) -> list[dict[str, Tensor]]:
        return [{} for _ in self.states] if self.masks is None else self.masks

    def input(self, ops: Ops, masks: dict[str, Tensor]) -> Tensor:
        """x as a direction sees it: without padding, and without what its mask drops."""
        x = self.without_padding(ops)
        return x * masks["input"] if "input" in masks else x


@dataclass
class DirectionResult:
    """y [T, B, P or H], h [B, P or H], c [B, slots·H], and c of every step [T, B, slots·H] where it was wanted.

    joined: y is that of both directions side by side [T, B, 2·(P or H)], as the path made it; both have the same.
    """

    y: Tensor
    h: Tensor
    c: Tensor
    cells: Tensor | None = None
    joined: bool = False


RunLayer = Callable[[int, LayerCall], list[DirectionResult]]
RunStack = Callable[[LayerCall], "list[DirectionResult] | None"]  # None: the layers are to be run one after the other
ScanDirection = Callable[..., DirectionResult]  # the arguments of scan_direction


def forward(
    ops: Ops,
    spec: LSTMSpec,
    params: dict[str, Tensor],
    call: calls.Call,
    run_layer: RunLayer,
    *,
    run_stack: RunStack | None = None,
    masks: Masks | None = None,
    cells: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor | None]:
    """Run the stack. masks: of training; None in evaluation. run_stack: all layers at once, where nothing is done
    between them.

    Returns y [T, B, O], (h_n [L·D, B, P or H], c_n [L·D, B, slots·H]) and, if wanted, c of every step of the last
    layer [T, B, D·slots·H], forward direction first.
    """
    states = calls.initial_state(ops, spec, params, call)
    if run_stack is not None and masks is None and not cells and spec.plain_stack:
        p = [weights_of(spec, params, k, 0) for k in range(spec.num_layers)]
        every = run_stack(LayerCall(call.x, states, p, call.lengths, call.known_lengths, stacked=True))
        if every is not None:
            return every[-1].y, (ops.stack([r.h for r in every]), ops.stack([r.c for r in every])), None
    count = spec.num_directions
    x: Tensor = call.x
    finals: list[DirectionResult] = []
    scratch: dict[str, Tensor] = {}
    results: list[DirectionResult] = []
    for k in range(spec.num_layers):
        below = x
        if k and spec.dropout and masks is not None:
            x = x * masks.get(f"dropout_l{k}", tuple(x.shape), spec.dropout, x)
        drawn = get_masks(spec, k, masks, x)
        layer = LayerCall(
            x,
            states[k * count : (k + 1) * count],
            [weights_of(spec, params, k, d, drawn[d].pop("weight", None)) for d in range(count)],
            call.lengths,
            call.known_lengths,
            cells and k == spec.num_layers - 1,
            drawn if any(drawn) else None,
            scratch,
        )
        results = run_layer(k, layer)
        finals += results
        joined = results[0].joined and spec.merge == "concat"
        x = results[0].y if joined else merge(ops, spec, outputs(spec, results))
        x = x + below if k and spec.residual else x
    h_n, c_n = _stack(ops, [r.h for r in finals]), _stack(ops, [r.c for r in finals])
    return x, (h_n, c_n), ops.concat([r.cells for r in results]) if cells else None


def _stack(ops: Ops, states: list[Tensor]) -> Tensor:
    """Of one alone without a copy, which a stream would make at every step."""
    return ops.stack(states) if len(states) > 1 else ops.reshape(states[0], (1, *states[0].shape))


def weights_of(
    spec: LSTMSpec, params: dict[str, Tensor], layer: int, direction: int, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """The arrays of one direction of one layer, by role. mask: of weight_hh.

    Raises InputError where one has got another shape than the spec's, or another dtype than the rest, which a path that
    works on its memory trusts.
    """
    found, shapes, dtype = {}, spec.shapes, next(iter(params.values())).dtype
    for role, name in spec.roles[layer * spec.num_directions + direction]:
        found[role] = params[name]
        if tuple(found[role].shape) != shapes[name]:
            raise InputError(
                f"the layer's parameter {name} has shape {list(found[role].shape)}, but its spec says "
                f"{list(shapes[name])}. Give it that, or build a layer of another spec."
            )
        if found[role].dtype != dtype:
            raise InputError(
                f"the layer's parameter {name} has dtype {found[role].dtype}, but the first one has {dtype}. Convert "
                "all of them to one."
            )
    return found if mask is None else {**found, "weight_hh": found["weight_hh"] * mask}


def outputs(spec: LSTMSpec, results: list[DirectionResult]) -> list[Tensor]:
    """y of each direction."""
    size = spec.state_size
    return [r.y[..., d * size : (d + 1) * size] if r.joined else r.y for d, r in enumerate(results)]


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
    directions = zip(spec.reversed_directions(layer), call.states, call.p, call.all_masks(), strict=True)
    return [scan(ops, spec, call, reverse, state, p, masks) for reverse, state, p, masks in directions]


def scan_direction(
    ops: Ops,
    spec: LSTMSpec,
    call: LayerCall,
    reverse: bool,
    state: tuple[Tensor, Tensor],
    p: dict[str, Tensor],
    masks: dict[str, Tensor],
) -> DirectionResult:
    """One direction. A row's state holds past its length, so a reverse scan starts, in effect, at its last step."""
    xs, body = given_of_steps(ops, spec, call, p, masks), one_step(ops, spec, p, masks, call.cells)
    (h, c), outs = ops.scan(body, state, xs, reverse)
    return DirectionResult(outs[0], h, c, outs[1] if call.cells else None)


def given_of_steps(ops: Ops, spec: LSTMSpec, call: LayerCall, p: dict[str, Tensor], masks: dict[str, Tensor]) -> Any:
    """What a step is given beside the state, of all steps: [T, B, …] each, or None."""
    return (*masks_of_steps(ops, spec, call, masks), *get(spec.cell).given(ops, spec, p, call.input(ops, masks)))


def masks_of_steps(ops: Ops, spec: LSTMSpec, call: LayerCall, masks: dict[str, Tensor]) -> Any:
    """The first of that: is the step before the row's length, and its masks."""
    recurrent = masks.get("recurrent") if spec.recurrent_dropout_kind == "candidate" else None
    return call.valid(ops), recurrent, masks.get("zoneout_hidden"), masks.get("zoneout_cell")


def one_step(ops: Ops, spec: LSTMSpec, p: dict[str, Tensor], masks: dict[str, Tensor], cells: bool) -> Any:
    """The body of the scan: (state, what `given_of_steps` says of the step) → (state, outputs)."""
    cell, kind = get(spec.cell), spec.recurrent_dropout_kind
    recurrent = masks.get("recurrent")
    of_h = recurrent if kind == "state" else None  # the same for all steps
    of_gates = {"drop": recurrent} if recurrent is not None and kind == "per-gate" else {}

    def body(state: Any, step: Any) -> tuple[Any, Any]:
        valid, of_g, keep_h, keep_c, *given = step
        read = state if of_h is None else (state[0] * of_h, state[1])
        drop = of_gates if of_g is None else {"drop": of_g}
        h, c = zoned_out(ops, spec, state, cell.take(ops, spec, p, tuple(given), read, **drop), keep_h, keep_c)
        if valid is None:
            return (h, c), (h, c) if cells else (h,)
        zero = ops.full(0.0, h)
        outs = (ops.where(valid, h, zero),) + ((ops.where(valid, c, zero),) if cells else ())
        return (ops.where(valid, h, state[0]), ops.where(valid, c, state[1])), outs

    return body


def zoned_out(
    ops: Ops, spec: LSTMSpec, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], of_h: Any, of_c: Any
) -> tuple[Tensor, Tensor]:
    """Units that keep their old value (Krueger et al. 2017): by the masks of training, 0 keeping; in evaluation, where
    there are none, by the expectation."""
    (h, c), (h_old, c_old) = new, old
    if spec.zoneout_hidden:
        h = _held(h_old, h, 1.0 - spec.zoneout_hidden if of_h is None else of_h)
    if not spec.zoneout_cell:
        return h, c
    taken = 1.0 - spec.zoneout_cell if of_c is None else of_c
    if spec.gate_recurrence:  # the gates remembered behind c are no cells
        hidden = spec.hidden_size
        return h, ops.concat([_held(c_old[:, :hidden], c[:, :hidden], taken), c[:, hidden:]])
    if of_c is not None and spec.slots > spec.lanes:  # slots of one unit go together
        taken = ops.concat([of_c] * spec.slots)
    return h, _held(c_old, c, taken)


def _held(old: Tensor, new: Tensor, taken: Any) -> Tensor:
    """What is taken whole is new to the last bit; old + taken · (new - old) would round it by old."""
    return taken * new + (1.0 - taken) * old


def check_step(spec: LSTMSpec) -> None:
    """Raise InputError where a spec cannot be streamed, because some direction needs the end of the sequence first."""
    if any(any(spec.reversed_directions(k)) for k in range(spec.num_layers)):
        raise InputError(
            f"step() streams forward in time, but direction={spec.direction!r} has a layer that starts at the end. "
            "Use direction='forward', or call the layer on the whole sequence."
        )
