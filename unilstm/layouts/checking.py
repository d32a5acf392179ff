"""Whether the table of a layout makes sense: for tables that come from elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ..errors import LayoutError
from ..spec import LSTMSpec
from .layout import Layout
from .sizes import ROLES
from .tables import Form, Part, Tensor

_FIELDS = {field.name for field in dataclasses.fields(LSTMSpec)} | {"form", "forget_offset", "added"}
_SPANS = ("direction", "layer", "stack")
_SYMBOLS = ("1", "K", "U", "S")


def check_table(layout: Any) -> None:
    """Raise LayoutError for a table that could not be read or written along, saying where it is wrong and how."""
    if not isinstance(layout, Layout):
        raise LayoutError(f"{layout!r} is not a unilstm.layouts.Layout. Make one of forms, tensors and arguments.")
    for problem in _problems(layout):
        raise LayoutError(f"the table of layout {layout.name!r} is wrong: {problem}.")


def _problems(layout: Layout) -> Iterator[str]:
    if not layout.forms:
        yield "it has no form. Give at least one"
    if layout.bias not in ("double", "single"):
        yield f"bias={layout.bias!r} must be 'double' or 'single', the biases it has unless told otherwise"
    for entry in layout.arguments:
        if unknown := set(entry.fields) - _FIELDS:
            yield f"argument {entry.names[0]!r} says something of {sorted(unknown)[0]!r}, which is no field of LSTMSpec"
    for form in layout.forms:
        if unknown := set(form.says) - _FIELDS:
            yield f"form {form.name!r} says something of {sorted(unknown)[0]!r}, which is no field of LSTMSpec"
        yield from (f"form {form.name!r}: {problem}" for problem in _of_form(form))


def _of_form(form: Form) -> Iterator[str]:
    for role in ("weight_ih", "weight_hh"):
        if not form.holds(role):
            yield f"it has no {role}"
    names = [tensor.name for tensor in form.tensors]
    if twice := next((name for name in names if names.count(name) > 1), None):
        yield f"two tensors are called {twice!r}"
    for tensor in form.tensors:
        yield from (f"tensor {tensor.name!r}: {problem}" for problem in _of_tensor(form, tensor))


def _of_tensor(form: Form, tensor: Tensor) -> Iterator[str]:
    if tensor.span not in _SPANS:
        yield f"span={tensor.span!r} must be one of: {', '.join(_SPANS)}"
    if not tensor.parts:
        yield "it has no part"
    if unknown := set(tensor.shape) - set(_SYMBOLS):
        yield f"shape has {sorted(unknown)[0]!r}, which is none of: {', '.join(_SYMBOLS)}"
    if "{layer}" not in tensor.name and form.stacks and not form.flat:
        yield "its name lacks {layer}, which tells the layers of a stack apart"
    if "{direction}" not in tensor.name and form.names.two and tensor.span == "direction":
        yield "its name lacks {direction}, which tells two directions apart"
    for part in tensor.parts:
        yield from _of_part(part)


def _of_part(part: Part) -> Iterator[str]:
    if part.role not in ROLES:
        yield f"role {part.role!r} is none of: {', '.join(ROLES)}"
        return
    if ROLES[part.role] != bool(part.gates):
        yield f"{part.role} is made of gates: say their order" if not part.gates else f"{part.role} has no gates"
    if len(set(part.gates)) < len(part.gates) or set(part.gates) - set("ifgor"):
        yield f"gates={part.gates!r} must be of the letters i f g o r, each once"
    if part.transposed and part.reshaped:
        yield "a part is transposed or reshaped, not both"
