"""The pieces a layout is made of: plain data, from which reading and writing both follow.

A *form* is one way a system stores an LSTM: tensors, and how layers and directions appear in their names. A *tensor*
holds *parts*: canonical arrays (parameters.py), each with its gates in some order, perhaps transposed. An *argument* is
a constructor argument of the system and what it says of a spec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

NOT_SAID: Any = object()  # an argument whose absence says nothing: the arrays tell

# Field of LSTMSpec → the values it may have. Also of "form", "forget_offset" and "added", which are none of its fields.
Claims = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Piece:
    """A piece of a name: the text that is written, and the pattern that is read (the text itself, unless given)."""

    text: str
    pattern: str = ""


@dataclass(frozen=True)
class Names:
    """How layers and directions appear in names: what replaces `{layer}` and `{direction}` of a tensor's name.

    layer: with {k}, the layer, or {2k}, twice the layer; "" where there can be one only; a Piece where other names are
    read, too. always: also where there is one layer only; else a lone layer has the bare name. one: the direction of a
    layer that has one. two: forward and backward of one that has two.
    """

    layer: str | Piece = "layer_{k}/"
    always: bool = False
    one: Piece = Piece("")
    two: tuple[Piece, Piece] | None = None

    def layer_text(self, k: int, num_layers: int) -> str:
        text = self.layer if isinstance(self.layer, str) else self.layer.text
        return text.replace("{k}", str(k)).replace("{2k}", str(2 * k)) if self.always or num_layers > 1 else ""

    def direction_text(self, d: int, num_directions: int) -> str:
        return self.two[d].text if self.two and num_directions == 2 else self.one.text


@dataclass(frozen=True)
class Part:
    """A canonical array inside a tensor.

    gates: their order along the array's first axis, in each lane (r in the last); one letter where a tensor holds one
    gate; "" for an array without gates. A gate that the spec lacks (f of coupled gates) is written as zeros and ignored
    when read. transposed: stored as [columns, gates·H]. reshaped: the same extent, but the numbers of each gate are in
    the order of [H, columns]. run: in a flat vector, all parts of run 0 come before those of run 1.
    forget_offset: added to the forget gate at run time, so that the stored value is the true one minus it.
    """

    role: str
    gates: str = ""
    transposed: bool = False
    reshaped: bool = False
    run: int = 0
    forget_offset: float = 0.0


@dataclass(frozen=True)
class Tensor:
    """A tensor: its name, its parts, and the axis along which they follow each other.

    stacked: the parts follow each other on a new first axis instead. shape: how the system shapes a vector, where that
    is not a vector: symbols K (blocks), U (units a block), S (features of h), 1.
    fixed: it is there without its parameter, too, as zeros, and may be left out when read: an initial state that the
    system never learns; or a third bias, and then `added` is the role that it is added to when a caller allows it.
    derived: the system computes it from the others: it is passed over when read, and not written.
    span: "direction" — one a direction; "layer" — one a layer, the directions stacked on a new first axis;
    "stack" — one flat vector for everything: run by run, layer by layer, direction by direction.
    """

    name: str
    parts: tuple[Part, ...]
    axis: int = 0
    span: str = "direction"
    stacked: bool = False
    shape: tuple[str, ...] = ()
    fixed: bool = False
    added: str = ""
    derived: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(part.role for part in self.parts)

    def with_offset(self, offset: float) -> Tensor:
        parts = (replace(part, forget_offset=offset) if part.forget_offset else part for part in self.parts)
        return replace(self, parts=tuple(parts))


@dataclass(frozen=True)
class Form:
    """One way a system stores an LSTM.

    aliases: the names that the first tensors would have under a second scheme (they exist where those do). All aliases
    of a stack, in order, point at all its tensors, in order: see paddle.py for why that is not the same.
    marker: a pattern that some name must contain for find() to report it; detect: whether find() looks for it at all;
    joints: the characters that may end what stands before its names.
    single_bias: of two biases, the one in whose place a spec's single bias stands ("": it has a place of its own, or
    none). alternating: its layers run forward and backward in turn. lanes: its rows may be those of several lanes.
    blocks: its gates i f o have a row a block. says: what its being there says of a spec: field → the values possible
    (where nothing is said: no norm). residual: from the second layer on, each adds its input to its output.
    needs: roles that it always has, weight_ch and weight_hr.
    """

    name: str
    tensors: tuple[Tensor, ...]
    names: Names
    aliases: tuple[str, ...] = ()
    marker: str = ""
    detect: bool = True
    joints: str = "/.:"
    single_bias: str = ""
    alternating: bool = False
    lanes: bool = False
    blocks: bool = False
    residual: bool = False
    needs: tuple[str, ...] = ()
    says: Claims = field(default_factory=dict, hash=False)

    def holds(self, role: str) -> bool:
        return any(role in tensor.roles for tensor in self.tensors)

    def same_names(self, other: Form) -> bool:
        return self.names == other.names and [t.name for t in self.tensors] == [t.name for t in other.tensors]

    @property
    def forget_offset(self) -> float:
        """What is added to the forget gate at run time, unless an argument says otherwise."""
        return max(part.forget_offset for tensor in self.tensors for part in tensor.parts)

    def with_offset(self, offset: float | None) -> Form:
        """The same with another forget_offset, where it has one."""
        if offset is None or offset == self.forget_offset:
            return self
        return replace(self, tensors=tuple(tensor.with_offset(offset) for tensor in self.tensors))

    @property
    def flat(self) -> bool:
        return any(tensor.span == "stack" for tensor in self.tensors)

    @property
    def stacks(self) -> bool:
        """Can it hold more than one layer?"""
        return self.flat or bool(self.names.layer)

    def directions(self, num_layers: int, two: bool) -> tuple[str, ...]:
        """What `direction` may be of arrays with so many layers, of one direction each or of two."""
        if two:
            return ("bidirectional",)
        if self.alternating:
            return ("alternating" if num_layers > 1 else "forward",)
        return ("forward", "reverse", "alternating")


@dataclass(frozen=True)
class Argument:
    """A constructor argument: its name, and the field of the spec that has the same value, or a table.

    table: (value, what it says of the spec's fields); a field may be left several values, as a tuple.
    default: the system's own. An argument is written where it differs from it; without one, always.
    written: False for a name that is only read, because the system has no such argument or calls it otherwise.
    needed: the arrays don't tell, so that reading needs it. rule: what an error should say of the fields it covers.
    also: fields that have these values, too, where the argument has not its default. none: what None stands for.
    forms: those that have it; none named: all.
    One with neither field nor table says nothing of a spec (how values are initialised, say): it is read, not written.
    """

    name: str
    field: str = ""
    table: tuple[tuple[Any, Mapping[str, Any]], ...] = ()
    default: Any = NOT_SAID
    written: bool = True
    needed: bool = False
    rule: str = ""
    also: tuple[tuple[str, Any], ...] = ()
    none: Any = None
    forms: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def fields(self) -> tuple[str, ...]:
        own = (self.field,) if self.field else tuple({f: None for _, says in self.table for f in says})
        return own + tuple(f for f, _ in self.also)

    def claims(self, value: Any) -> Claims | None:
        """What a value says; None if the argument cannot have it."""
        value = self.none if value is None else value
        form: Claims = {"form": self.forms} if self.forms else {}
        if self.field:
            usual = self.default is not NOT_SAID and _equal(value, self.default)
            return {self.field: (value,)} | ({} if usual else {f: (v,) for f, v in self.also}) | form
        if not self.table:
            return form
        for known, says in self.table:
            if value is known or (known is not None and _equal(value, known)):
                return form | {f: v if isinstance(v, tuple) else (v,) for f, v in says.items()}
        return None

    def open(self, seen: Claims) -> bool:
        """Do the arrays leave several of its values possible, which say different things?"""
        if self.field:
            return len(seen.get(self.field, ())) != 1
        return len(self.options(seen)) > 1

    def options(self, seen: Claims) -> list[Any]:
        """Those values of its table that the arrays leave possible, one of each that say the same."""
        said: list[Claims] = []
        found = []
        for value, _ in self.table:
            claims = {f: seen[f] for f in self.fields if f in seen}
            for f, options in (self.claims(value) or {}).items():
                claims[f] = tuple(v for v in seen.get(f, options) if v in options)
            if all(claims.values()) and claims not in said:
                said.append(claims)
                found.append(value)
        return found

    def write(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The argument for a spec's fields, if it says anything that its default does not."""
        value = facts[self.field] if self.field else self._fitting(facts)
        if not self.written or value is NOT_SAID or (self.forms and facts["form"] not in self.forms):
            return {}
        if self.default is not NOT_SAID and value == self.default:
            return {}
        return {self.name: value} if all(facts[f] == v for f, v in self.also) else {}

    def _fitting(self, facts: Mapping[str, Any]) -> Any:
        for value, says in self.table:
            if all(facts[f] in (v if isinstance(v, tuple) else (v,)) for f, v in says.items()):
                return value
        return NOT_SAID


@dataclass(frozen=True)
class Arguments:
    """Several constructor arguments that say something only together, translated by two functions.

    read: the given arguments → claims, raising LayoutError for values they cannot have. write: a spec's fields → the
    arguments that differ from their defaults, or {} where they cannot say it.
    """

    names: tuple[str, ...]
    fields: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], Claims]
    write: Callable[[Mapping[str, Any]], dict[str, Any]]
    rule: str = ""


def _equal(a: Any, b: Any) -> bool:
    """a == b for scalars and text; arrays and the like are equal to nothing."""
    return isinstance(a == b, bool) and bool(a == b)
