"""Writes docs/layouts.md: what each layout holds, out of the tables. `make pages` runs it; a test says when to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unilstm import layouts, porting
from unilstm.checkpoints import formats
from unilstm.layouts import Argument, Form, Layout, Names, Part, Piece, Tensor, sizes

PAGE = Path(__file__).parent.parent / "layouts.md"
HEAD = """# Layouts

The table below and the sections are made from the tables that the engine runs on (`unilstm/layouts/`). Every form of a
layout is read; the first that has a place for all of a spec is written. H is the units, I the inputs, S the features of
h (H, or those of a projection), K the blocks, U the units of a block, N the units of all lanes.

"Golden vectors" are what the system itself computed, read through the layout and compared; "equations" are the system's
documented equations in a few lines of NumPy, apart from unilstm's own. In both cases every mutant of a table (gates
swapped, a transpose dropped, an offset left out, directions exchanged) must fail.

| layout | system | read, write | gates | biases | stacks, directions | tested against |
|---|---|---|---|---|---|---|
"""
FILES = """## Files

`r`: read, `w`: written, both with that layout's names; –: that system has no such files. **port**: `unilstm.port` takes
the system's layer as it is. An `.onnx` file is written of any weights, whatever their layout.
"""
KINDS = """| file | read | written | tested with |
|---|---|---|---|"""
BIASES = {"double": "2", "single": "1"}
ROLES = {
    "weight_ih": "input weights",
    "weight_hh": "recurrent weights",
    "bias_ih": "input bias",
    "bias_hh": "recurrent bias",
    "bias": "bias",
    "gamma_ih": "scale of the norm of W x",
    "gamma_hh": "scale of the norm of R h",
    "gamma": "scale of the norm of a gate",
    "gamma_c": "scale of the norm of c",
    "beta_c": "shift of the norm of c",
    "weight_ch": "peephole",
    "weight_xa": "attention weights",
    "bias_xa": "attention bias",
    "weight_hr": "projection",
    "weight_xh": "the highway's weights",
    "bias_xh": "the highway's bias",
    "h_0": "initial h",
    "c_0": "initial c",
}


def page() -> str:
    known = list(layouts.LAYOUTS.values())
    rows = "\n".join(_row(layout) for layout in known)
    return f"{HEAD}{rows}\n\n{_files(known)}\n" + "\n".join(_section(layout) for layout in known)


def _files(known: list[Layout]) -> str:
    """Which files hold which layouts, out of the registered readers and writers."""
    kinds = (*formats.KINDS, formats.ORBAX)
    titles = [f"`{kind.suffixes[0]}`" if kind.suffixes[0].startswith(".") else "orbax" for kind in kinds]
    lines = [FILES, f"| layout | port | {' | '.join(titles)} | tested against |", "|---" * (len(kinds) + 3) + "|"]
    for layout in known:
        ported = "✔" if layout.name in porting.LAYOUTS else ""
        cells = [_held(kind, layout.name) for kind in kinds]
        lines.append(f"| `{layout.name}` | {ported} | {' | '.join(cells)} | {layout.source.partition(',')[0]} |")
    lines += ["", KINDS]
    for kind in kinds:
        suffixes = " ".join(f"`{suffix}`" if suffix.startswith(".") else suffix for suffix in kind.suffixes)
        lines.append(f"| {suffixes} | ✔ | {'✔' if kind.writes else '–'} | {kind.tested} |")
    return "\n".join(lines) + "\n"


def _held(kind: formats.Kind, layout: str) -> str:
    return ("r" if reads(kind, layout) else "") + ("w" if writes(kind, layout) else "") or "–"


def reads(kind: formats.Kind, layout: str) -> bool:
    return kind.layouts is None or layout in kind.layouts


def writes(kind: formats.Kind, layout: str) -> bool:
    return kind.writes and reads(kind, layout)


def _row(layout: Layout) -> str:
    form = layout.forms[0]
    orders = dict.fromkeys(
        " ".join(part.gates) for tensor in form.tensors for part in tensor.parts if part.role == "weight_ih"
    )
    gates = "one tensor a gate" if all(len(order) == 1 for order in orders) else ", ".join(orders)
    biases = " or ".join([*(BIASES[bias] for bias in layout.biases), *(["0"] if layout.bias_optional else [])])
    version = layout.source.partition(",")[0]
    tested = f"golden vectors ({version})" if layout.tested == "golden" else f"equations ({version})"
    return (
        f"| [`{layout.name}`](#{layout.name}) | {layout.title} | both | {gates} | {biases} | {_stacks(layout)} | "
        f"{tested} |"
    )


def _stacks(layout: Layout) -> str:
    stacked = any(form.stacks for form in layout.forms)
    both = any(form.names.two or form.tensors[0].span != "direction" for form in layout.forms)
    alternating = ", alternating" if any(form.alternating for form in layout.forms) else ""
    return f"{'stacks' if stacked else 'one layer'}{', both directions' if both else ''}{alternating}"


def _section(layout: Layout) -> str:
    lines = [f"## {layout.name}", "", f"{layout.title}. {layout.notes}".rstrip(), ""]
    for title, form in _forms(layout):
        lines += [f"**{title}**: {_placed(form.names)}", "", "| tensor | shape | holds |", "|---|---|---|"]
        lines += [_tensor(form, tensor) for tensor in form.tensors]
        lines += [""]
    lines += [f"Arguments: {', '.join(_argument(entry) for entry in layout.arguments)}.", ""]
    lines += [f"Source: {layout.source}.", ""]
    return "\n".join(lines)


def _forms(layout: Layout) -> list[tuple[str, Form]]:
    """Each form once; those of one name are with and without a highway."""
    names = [form.name for form in layout.forms]
    return [
        (f"{form.name}{' with highway' if names.count(form.name) > 1 and form.holds('weight_xh') else ''}", form)
        for form in layout.forms
    ]


def _placed(names: Names) -> str:
    """How its layers and directions are called."""
    layer = names.layer if isinstance(names.layer, str) else names.layer.text
    said = [f"`{{layer}}` is `{layer}`{'' if names.always else ', nothing for a lone layer'}"] if layer else []
    if names.two:
        fore, back = names.two
        said += [f"`{{direction}}` is {_text(names.one)}, of two {_text(fore)} and {_text(back)}"]
    elif names.one.text:
        said += [f"`{{direction}}` is {_text(names.one)}"]
    return "; ".join(said) or "one layer, one direction"


def _text(piece: Piece) -> str:
    return f"`{piece.text}`" if piece.text else "nothing"


def _tensor(form: Form, tensor: Tensor) -> str:
    axes = sizes.axes(form, tensor)
    shape = ", ".join(" + ".join(_size(symbol, times) for symbol, times in axis.items()) for axis in axes)
    if tensor.span == "layer":
        shape = f"directions, {shape}"
    if tensor.span == "stack":
        shape = "all numbers"
    holds = "; ".join(_part(part) for part in tensor.parts)
    if tensor.fixed:
        holds += f", added to {ROLES[tensor.added]} (add_bias=True)" if tensor.added else ", not trained"
    if tensor.derived:
        holds += ", derived: passed over"
    return f"| `{tensor.name}` | [{shape}] | {holds} |"


def _size(symbol: str, times: int) -> str:
    if symbol == "1":
        return str(times)
    return f"{times}{symbol}" if times > 1 else symbol


def _part(part: Part) -> str:
    gates = f" {' '.join(part.gates)}" if part.gates else ""
    how = ", transposed" if part.transposed else ", in cuDNN's order" if part.reshaped else ""
    offset = f", f stored minus {part.forget_offset:g}" if part.forget_offset else ""
    return f"{ROLES[part.role]}{gates}{how}{offset}"


def _argument(entry: Any) -> str:
    names = ", ".join(f"`{name}`" for name in entry.names)
    fields = [field for field in entry.fields if field not in ("form", "forget_offset", "added")]
    if isinstance(entry, Argument) and entry.field == entry.name:
        return names
    return f"{names} ({', '.join(fields)})" if fields else names


if __name__ == "__main__":
    PAGE.write_text(page())
