"""LSTMSpec: what an LSTM computes, in no framework's terms. Frozen, validated, hashable, to and from JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import cells
from .activations import Activation
from .errors import SpecError
from .validation import CHECKS, check_combinations


def parameter_name(role: str, layer: int, direction: int) -> str:
    """The canonical name of a parameter."""
    return f"{role}_l{layer}{'_reverse' if direction else ''}"


@dataclass(frozen=True)
class LSTMSpec:
    """One LSTM, any variant.

    input_size, hidden_size: features of x, units of the cell (I, H).
    num_layers: stacked layers (L).
    direction: forward, reverse (right to left), bidirectional, or alternating (even layers forward, odd ones reverse).
    merge: how a bidirectional layer joins its two outputs: concat (forward first), sum, mul, average.
    batch_first: x is [B, T, I] if true, [T, B, I] if not.
    bias: "double" (bias_ih and bias_hh, as torch; True means this), "single" (as Keras), "none" (False means this).
    proj_size: P > 0 projects h = W_hr·(o * act(c)) down to P < H features (Sak et al. 2014); 0 is off.
    coupled_gates: f = 1 - i (Greff et al. 2017, CIFG); there are no forget-gate parameters then.
    peephole: diagonal connections from the old c to i and f and from the new c to o (Gers & Schmidhuber 2000).
    gate_activation, cell_activation, output_activation: of i, f, o; of the candidate g; of c on its way to h.
        A name, or (name, alpha, beta); the eleven of ONNX.
    gate_clip: > 0 clips every pre-activation to ±gate_clip, peephole and bias included; 0 is off.
    cell_clip: > 0 clips the new c to ±cell_clip before the output gate sees it; the stored c is the clipped one.
    proj_clip: > 0 clips the projected h.
    learned_state: h_0 and c_0 are parameters, used where a call gives no state.
    dropout: probability of zeroing each input of every layer but the first, in training.
    gates: which of input, forget, output exist; an absent one is the constant 1 (Greff et al. 2017, NIG, NFG, NOG).
    highway: o·ψ(c) becomes r·(o·ψ(c)) + (1 - r)·(W_x x), before any projection, with a gate r of its own and W_x of
        every layer (Srivastava et al. 2015; He et al. 2017, Deep Semantic Role Labeling, eqs. 7-9).
    residual: each layer but the first adds its input to its output; the states do not (as in ELMo).
    num_blocks: K > 0 memory blocks of H / K units that share their gates i, f, o (Hochreiter & Schmidhuber 1997); 0: a
        gate a unit. A peephole then sums over its block.
    lanes: memories c that share one h, each with gates of its own (Rocki 2016); lane_pooling joins them: sum, argmax
        (of the output gates), attention, attention-max.
    layer_norm: none; joint (of W x and of R h over all gates; what ψ sees of c too, the stored c is raw);
        normalized-state (the same, and c is stored normalised); per-gate (of W x + R h, gate by gate; c as before).
        With bias="double" the biases are the shifts β of the two norms. layer_norm_eps is added to the variance.
    gate_recurrence: i, f, o also see those of the step before (Greff et al. 2017, FGR); the state carries them in c.
    input_dropout: as recurrent_dropout, on the input of each layer, the first too.
    recurrent_dropout: probability of zeroing, in training, by recurrent_dropout_kind: "state", each unit of the h that
        a step reads, one mask for all steps (Gal & Ghahramani 2016); "per-gate", the same with a mask for each gate
        (Keras); "candidate", each unit of g, anew at each step (Semeniuta et al. 2016).
    weight_dropout: probability of zeroing each weight of weight_hh, drawn once a call (Wan et al. 2013, DropConnect).
    zoneout_hidden, zoneout_cell: probability of keeping a unit's old h, c at a step; in evaluation the expectation
        (Krueger et al. 2017).
    cell: which equations: "lstm"; "slstm" (Beck et al. 2024), with num_heads and exponential_forget (f = exp instead of
        σ) of its own; "minlstm" (Feng et al. 2024); or a cell of your own (unilstm.cells).

    Raises SpecError for an impossible combination, naming the field, its value, the rule and the cure.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    direction: str = "forward"
    merge: str = "concat"
    batch_first: bool = True
    bias: str | bool = "double"
    proj_size: int = 0
    coupled_gates: bool = False
    peephole: bool = False
    gate_activation: Any = "sigmoid"
    cell_activation: Any = "tanh"
    output_activation: Any = "tanh"
    gate_clip: float = 0.0
    cell_clip: float = 0.0
    proj_clip: float = 0.0
    learned_state: bool = False
    dropout: float = 0.0
    gates: tuple[str, ...] = ("input", "forget", "output")
    num_blocks: int = 0
    lanes: int = 1
    lane_pooling: str = "sum"
    layer_norm: str = "none"
    layer_norm_eps: float = 1e-5
    highway: bool = False
    residual: bool = False
    input_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    recurrent_dropout_kind: str = "state"
    weight_dropout: float = 0.0
    zoneout_hidden: float = 0.0
    zoneout_cell: float = 0.0
    gate_recurrence: bool = False
    cell: str = "lstm"
    num_heads: int = 1
    exponential_forget: bool = False

    def __post_init__(self) -> None:
        for field, check in CHECKS.items():
            object.__setattr__(self, field, check(field, getattr(self, field)))
        check_combinations(self)
        # Worked out now: torch.compile cannot trace the lock under which a cached_property is worked out (torch 2.13).
        _ = self.gate_names, self.peephole_names, self.row_groups, self.slots, hash(self)
        if self.num_layers <= _MOST_AHEAD:
            _ = self.roles, self.shapes

    # What follows from the fields.

    @property
    def num_directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def state_size(self) -> int:
        """Features of h: P where there is a projection, else H."""
        return self.proj_size or self.hidden_size

    @property
    def output_size(self) -> int:
        """Features of y: those of h, times the directions that are concatenated."""
        return self.state_size * (self.num_directions if self.merge == "concat" else 1)

    def __hash__(self) -> int:
        """Of the fields; worked out once, because every call looks up by it what depends on the spec alone."""
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = hash(tuple(getattr(self, field.name) for field in dataclasses.fields(self)))
            object.__setattr__(self, "_hash", found)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}  # another process has others

    @cached_property
    def gate_names(self) -> str:
        """The gates that have weights, in canonical order i f g o r: g always, i f o unless absent (f also when it is
        1 - i), r with highway. Of cell="lstm"; once for each lane, but for r."""
        there = {"i": "input" in self.gates, "f": "forget" in self.gates and not self.coupled_gates, "g": True}
        there |= {"o": "output" in self.gates, "r": self.highway}
        return "".join(gate for gate, exists in there.items() if exists)

    @cached_property
    def peephole_names(self) -> str:
        """The gates that have a peephole, in canonical order."""
        return "".join(gate for gate in self.gate_names if gate in "ifo") if self.peephole else ""

    @cached_property
    def row_groups(self) -> tuple[tuple[str, int], ...]:
        """The row groups of the pre-activations, letter and size: lane by lane the gates that exist, and then r."""
        return cells.lstm.row_groups(self)

    @cached_property
    def slots(self) -> int:
        """Vectors of H in c: 1, or the lanes, or c and what else the cell remembers. States have an axis for them
        where they are several: [L·D, B, slots, H]."""
        return cells.get(self.cell).num_slots(self)

    @property
    def cell_shape(self) -> tuple[int, ...]:
        """c of one row: (H,), or (slots, H) where there are several."""
        return (self.hidden_size,) if self.slots == 1 else (self.slots, self.hidden_size)

    @cached_property
    def roles(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """(role, canonical name) of each parameter, by direction and layer as the states are."""
        found = []
        for k in range(self.num_layers):
            roles = [array.role for array in self.arrays(k)]
            found += [tuple((r, parameter_name(r, k, d)) for r in roles) for d in range(self.num_directions)]
        return tuple(found)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each parameter, by its canonical name."""
        layers, directions = range(self.num_layers), range(self.num_directions)
        return {parameter_name(a.role, k, d): a.shape for k in layers for a in self.arrays(k) for d in directions}

    def arrays(self, layer: int) -> tuple[cells.Array, ...]:
        """Those of one direction of a layer: the cell's, and its initial state where that is learned."""
        found = cells.get(self.cell).arrays(self, self.layer_input_size(layer))
        if not self.learned_state:
            return found
        return (*found, cells.Array("h_0", (self.state_size,)), cells.Array("c_0", self.cell_shape))

    @property
    def beyond_standard(self) -> tuple[str, ...]:
        """The fields by which the cell differs from the one that frameworks build in; empty where it is that one."""
        return tuple(field for field, value in _STANDARD_CELL.items() if getattr(self, field) != value)

    def layer_input_size(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.output_size

    def reversed_directions(self, layer: int) -> tuple[bool, ...]:
        """For each direction of a layer, in the order of the states: does it run right to left?"""
        if self.direction == "bidirectional":
            return (False, True)
        return (self.direction == "reverse" or (self.direction == "alternating" and layer % 2 == 1),)

    @property
    def plain_stack(self) -> bool:
        """Several layers of one direction, each of which reads what the one below makes, in its order, and no more?"""
        return self.num_layers > 1 and self.direction in ("forward", "reverse") and not self.residual

    def replace(self, **changes: Any) -> LSTMSpec:
        """The same spec with some fields changed, validated again."""
        return dataclasses.replace(self, **_known(changes))

    def to_dict(self) -> dict[str, Any]:
        """The sizes and every field that differs from its default, as plain JSON values."""
        out: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            value = value.to_json() if isinstance(value, Activation) else value
            if field.default is dataclasses.MISSING or value != field.default:
                out[field.name] = list(value) if isinstance(value, tuple) else value
        return out

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> LSTMSpec:
        if not isinstance(fields, Mapping):
            raise SpecError(f"a spec must be a JSON object of fields, not {type(fields).__name__}.")
        missing = [name for name in ("input_size", "hidden_size") if name not in fields]
        if missing:
            raise SpecError(f"the spec lacks {' and '.join(missing)}. Every spec states its sizes.")
        return cls(**_known(fields))

    @classmethod
    def from_json(cls, text: str) -> LSTMSpec:
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise SpecError(f"the spec is not JSON: {problem}.") from None
        return cls.from_dict(fields)

    def __repr__(self) -> str:
        fields = self.to_dict()
        sizes = f"{fields.pop('input_size')}, {fields.pop('hidden_size')}"
        return f"LSTMSpec({', '.join([sizes, *(f'{k}={v!r}' for k, v in fields.items())])})"


# Of a spec with more layers nothing is worked out by layer ahead: a hostile file may say two billion.
_MOST_AHEAD = 1000

# What the equations of a step depend on, beside the sizes and the biases, as frameworks build it in.
_STANDARD_CELL = {
    field: getattr(LSTMSpec(1, 1), field)
    for field in (
        "cell", "gates", "coupled_gates", "peephole", "gate_activation", "cell_activation", "output_activation",
        "gate_clip", "cell_clip", "proj_clip", "highway", "num_blocks", "lanes", "layer_norm", "gate_recurrence",
        "zoneout_hidden", "zoneout_cell",
    )
}  # fmt: skip


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(LSTMSpec)]
    for name in fields:
        if name not in names:
            raise SpecError(f"{name!r} is not a field of LSTMSpec. The fields are: {', '.join(names)}.")
    return dict(fields)
