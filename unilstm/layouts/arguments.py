"""A system's constructor arguments ↔ the fields of a spec, from the layout's table of arguments."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

from ..activations import Activation
from ..errors import LayoutError, UnilstmError
from ..spec import LSTMSpec
from ..validation import CHECKS
from .sizes import told
from .tables import NOT_SAID, Argument, Arguments, Claims, Form

if TYPE_CHECKING:
    from .layout import Layout

# What acts in training only, and the value at which it does not act.
TRAINING = {
    "dropout": 0.0,
    "input_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "recurrent_dropout_kind": "state",
    "weight_dropout": 0.0,
}

_OPTIONAL = {"weight_ch": "peephole", "weight_hr": "proj_size"}
_USUAL = {f.name: f.default for f in dataclasses.fields(LSTMSpec)}
_FIELDS = tuple(_USUAL)


class NotTold(LayoutError):
    """An argument that the arrays do not tell was not given."""

    def __init__(self, layout: str, argument: Argument, options: list[Any]) -> None:
        these = f": {' or '.join(repr(value) for value in options)}" if options else ""
        super().__init__(
            f"{argument.name} is not told by the arrays of layout {layout!r}. Give {argument.name}={these}."
        )
        self.argument, self.options = argument.name, options


class Said(NamedTuple):
    """What arguments and arrays say.

    forget_offset: what is added to the forget gate at run time (None: as usual). added: whether a third bias may be
    added to another.
    """

    spec: LSTMSpec
    forget_offset: float | None
    added: bool


def read(layout: Layout, config: Mapping[str, Any], seen: Claims) -> Said:
    """What arguments and arrays agree on. Raises LayoutError where they do not, or an argument is unknown."""
    fields = _fields(layout, config, seen)
    spec = LSTMSpec(**{field: value for field, value in fields.items() if field in _FIELDS})
    offset = fields.get("forget_offset")
    if offset is not None and (isinstance(offset, bool) or not isinstance(offset, Real) or not math.isfinite(offset)):
        raise LayoutError(f"{_name(layout, 'forget_offset')}={offset!r} must be a finite number, which is added to f.")
    return Said(spec, None if offset is None else float(offset), fields.get("added", False))


def _fields(layout: Layout, config: Mapping[str, Any], seen: Claims) -> dict[str, Any]:
    """The fields that are said, be there a spec that has them all or not."""
    accepted = [name for entry in layout.arguments for name in entry.names]
    for key in config:
        if key not in accepted:
            raise LayoutError(
                f"{key!r} is not an argument of layout {layout.name!r}. It accepts: {', '.join(accepted)}."
            )
    claims, by = dict(seen), dict.fromkeys(seen, "the arrays")
    usual: dict[str, Any] = {}
    for entry in layout.arguments:
        text = ", ".join(f"{name}={config[name]!r}" for name in entry.names if name in config)
        said = _claims(layout, entry, config, seen)
        if not text:  # only the system's default: it yields to arrays and arguments
            usual |= {field: options[0] for field, options in said.items()}
            continue
        for field, options in said.items():
            before = claims.get(field, options)
            claims[field] = tuple(option for option in before if option in options)
            if not claims[field]:
                raise LayoutError(
                    f"{text} contradicts {by[field]}: {_stated(layout, field, before)}. "
                    f"Leave {entry.names[0]} out, or correct it."
                )
            by.setdefault(field, text)
    return usual | {field: _choose(options, usual.get(field)) for field, options in claims.items()}


def _claims(layout: Layout, entry: Argument | Arguments, config: Mapping[str, Any], seen: Claims) -> Claims:
    """What the given values of an entry say, or else its defaults."""
    if isinstance(entry, Arguments):
        given = {name: config[name] for name in entry.names if name in config}
        try:
            return entry.read(given)
        except (TypeError, ValueError) as problem:
            if isinstance(problem, UnilstmError):
                raise
            text = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise LayoutError(f"{text} cannot be read: {problem}. {entry.rule}".rstrip()) from None
    if entry.name not in config:
        if entry.needed and entry.open(seen):
            raise NotTold(layout.name, entry, entry.options(seen))
        return {} if entry.default is NOT_SAID else entry.claims(entry.default) or {}
    claims = entry.claims(config[entry.name])
    if claims is None:
        known = ", ".join(repr(value) for value, _ in entry.table)
        text = f"{entry.name}={config[entry.name]!r} is none of those that unilstm can read: {known}. {entry.rule}"
        raise LayoutError(text.rstrip())
    return claims


def _choose(options: tuple[Any, ...], usual: Any) -> Any:
    return usual if usual in options else options[0]


def _name(layout: Layout, field: str) -> str:
    """A field under the system's own name, where it has one of its own."""
    own = (e.name for e in layout.arguments if isinstance(e, Argument) and e.field == field)
    return next(own, field)


def _stated(layout: Layout, field: str, options: tuple[Any, ...]) -> str:
    if field == "direction":
        return "there are two directions" if options == ("bidirectional",) else "there is one direction"
    return f"{_name(layout, field)} is {' or '.join(repr(_plain(option)) for option in options)}"


def _plain(value: Any) -> Any:
    return value.to_json() if isinstance(value, Activation) else value


class Written(NamedTuple):
    """What a spec becomes in a form: the arguments, and the fields that it has no place for."""

    form: Form
    config: dict[str, Any]
    unheld: list[str]


def best(layout: Layout, spec: LSTMSpec) -> Written:
    """The first form that holds a spec, or else the one that lacks least."""
    found: list[Written] = []
    problems: list[UnilstmError] = []
    for form in layout.forms:
        try:
            found.append(_write(layout, form, spec))
        except UnilstmError as problem:  # its arguments contradict each other: too many layers, say
            problems.append(problem)
            continue
        if not found[-1].unheld:
            return found[-1]
    if not found:
        raise problems[0]
    return min(found, key=lambda written: (len(set(written.unheld) - TRAINING.keys()), len(written.unheld)))


def _write(layout: Layout, form: Form, spec: LSTMSpec) -> Written:
    """The arguments, and where the spec that they and the arrays would be read back as differs."""
    facts = {field: getattr(spec, field) for field in _FIELDS}
    facts |= {"form": form.name, "forget_offset": form.forget_offset, "added": False}
    config = {name: value for entry in layout.arguments for name, value in entry.write(facts).items()}
    again = _USUAL | _fields(layout, config, _told(form, spec))
    lacking = {field for role, field in _OPTIONAL.items() if role in form.needs and not getattr(spec, field)}
    return Written(form, config, [f for f in _FIELDS if facts[f] != _as_field(f, again[f]) or f in lacking])


def _as_field(field: str, value: Any) -> Any:
    """A value as a spec has it."""
    return CHECKS[field](field, value)


def _told(form: Form, spec: LSTMSpec) -> Claims:
    """What the arrays of a spec would say in a form, as far as it can hold them."""
    two = spec.num_directions == 2 and (form.names.two is not None or form.tensors[0].span != "direction")
    layers = spec.num_layers if form.stacks else 1
    lanes = spec.lanes if form.lanes else 1
    return {
        "input_size": (spec.input_size,),
        "hidden_size": (spec.hidden_size,),
        "num_layers": (layers,),
        "direction": form.directions(layers, two),
        "proj_size": (spec.proj_size if form.holds("weight_hr") else 0,),
        "num_blocks": ((spec.num_blocks or spec.hidden_size) if form.blocks else 0,),
        **told(form, _bias(form, spec), spec.peephole and form.holds("weight_ch"), layers, lanes),
    }


def _bias(form: Form, spec: LSTMSpec) -> str:
    """The biases of a spec, or those that the form has instead."""
    there = {"double": form.holds("bias_ih"), "single": form.holds("bias") or bool(form.single_bias), "none": True}
    return str(spec.bias) if there[str(spec.bias)] else next(bias for bias, holds in there.items() if holds)
