"""A system's constructor arguments ↔ the fields of a spec, from the layout's table of arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ..activations import Activation
from ..errors import LayoutError, UnsupportedByLayout
from ..spec import LSTMSpec
from .losses import held
from .tables import NOT_SAID, Argument, Arguments, Claims, Form

if TYPE_CHECKING:
    from .layout import Layout

_FIELDS = {f.name: f.default for f in dataclasses.fields(LSTMSpec)}


def read(layout: Layout, config: Mapping[str, Any], seen: Claims) -> LSTMSpec:
    """The spec that arguments and arrays agree on. Raises LayoutError where they do not, or an argument is unknown."""
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
    fields = usual | {field: _choose(options, usual.get(field)) for field, options in claims.items()}
    return LSTMSpec(**{field: value for field, value in fields.items() if field in _FIELDS})


def _claims(layout: Layout, entry: Argument | Arguments, config: Mapping[str, Any], seen: Claims) -> Claims:
    """What the given values of an entry say, or else its defaults."""
    if isinstance(entry, Arguments):
        return entry.read({name: config[name] for name in entry.names if name in config})
    if entry.name not in config:
        if entry.needed and not seen.keys() >= set(entry.fields):
            raise LayoutError(f"{entry.name} is not told by the arrays of layout {layout.name!r}. Give {entry.name}=.")
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


def write(layout: Layout, spec: LSTMSpec) -> Written:
    """The form and the arguments for a spec. Raises UnsupportedByLayout if reading them back would give another one."""
    stored, _ = held(layout, spec)
    best = _best(layout, stored)
    for field in best.unheld:
        rules = [e.rule for e in layout.arguments if field in e.fields and e.rule]
        value = _plain(getattr(stored, field))
        raise UnsupportedByLayout(
            " ".join([f"{field}={value!r} has no place in layout {layout.name!r}.", *rules[:1], _cure(spec)])
        )
    return best


def _best(layout: Layout, stored: LSTMSpec) -> Written:
    """The first form that holds a spec, or else the one that lacks least."""
    forms = [form for form in layout.forms if form.holds("weight_xh") == stored.highway] or layout.forms
    best = _write(layout, forms[0], stored)
    for form in forms[1:] if best.unheld else ():
        with suppress(LayoutError):  # its arguments contradict each other: too many layers, say
            best = min(best, _write(layout, form, stored), key=lambda written: len(written.unheld))
    return best


def _write(layout: Layout, form: Form, stored: LSTMSpec) -> Written:
    """The arguments, and where the spec that they and the arrays would be read back as differs."""
    facts = {field: getattr(stored, field) for field in _FIELDS} | {"form": form.name}
    config = {name: value for entry in layout.arguments for name, value in entry.write(facts).items()}
    two = stored.num_directions == 2 and (form.names.two is not None or form.tensors[0].span != "direction")
    layers = stored.num_layers if form.stacks else 1
    seen: Claims = {
        "form": (form.name,),
        "input_size": (stored.input_size,),
        "hidden_size": (stored.hidden_size,),
        "num_layers": (layers,),
        "direction": form.directions(layers, two),
        "bias": (stored.bias,),
        "peephole": (stored.peephole and form.holds("weight_ch"),),
        "highway": (form.holds("weight_xh"),),
        "proj_size": (stored.proj_size if form.holds("weight_hr") else 0,),
    }
    again = read(layout, config, seen)
    return Written(form, config, [field for field in _FIELDS if getattr(stored, field) != getattr(again, field)])


def fits(layout: Layout, spec: LSTMSpec) -> bool:
    return not _best(layout, held(layout, spec)[0]).unheld


def _cure(spec: LSTMSpec) -> str:
    from . import LAYOUTS  # the table of layouts, which needs this module

    able = [name for name, layout in LAYOUTS.items() if fits(layout, spec)]
    if able:
        return f"Layouts that hold it: {', '.join(able)}."
    return (
        "No layout of another system holds it: keep it in unilstm's own file, unilstm.save(weights, 'out.safetensors')."
    )
