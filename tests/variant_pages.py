"""Reading docs/variants/: a page's text, the spec that it makes, its tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import unilstm
from unilstm import layouts
from unilstm.errors import LossyConversion, UnsupportedByLayout

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "variants"
STEPS, ROWS = 5, 3


def text(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def spec_of(name: str) -> Any:
    """The spec that the page's Python block makes; its assertion holds."""
    made: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", text(name), re.DOTALL)
    exec(compile(code, f"{name}.md", "exec"), made)
    return made["spec"]


def table(name: str, head: str) -> list[list[str]]:
    """The cells of the rows of the table whose first column is called head; none where the page has no such table."""
    found = re.search(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)*)", text(name), re.MULTILINE)
    return [[c.strip(" `") for c in row.strip("|").split("|")] for row in found[1].splitlines()] if found else []


def shape(written: str, spec: Any, layer: int) -> tuple[int, ...]:
    """[3K + H, I] with the sizes of a spec."""
    sizes = {
        "I": spec.layer_input_size(layer), "H": spec.hidden_size, "P": spec.state_size, "T": STEPS, "B": ROWS,
        "K": spec.num_blocks or spec.lanes, "L": spec.num_layers, "D": spec.num_directions, "heads": spec.num_heads,
    }  # fmt: skip
    assert re.fullmatch(r"\[[\w ,·/+]+\]", written), written
    formula = re.sub(r"(?<=\d)(?=[A-Z])", "*", written.strip("[]").replace("·", "*").replace("/", "//"))
    return tuple(int(eval(part, {"__builtins__": {}}, sizes)) for part in formula.split(","))


def layouts_line(spec: Any) -> str:
    """What a page says of the layouts that hold its weights."""
    weights, held, losing = unilstm.Weights.initial(spec, 0), [], []
    for name in layouts.names():
        try:
            weights.to_layout(name, allow=tuple(layouts.LOSSES))
        except UnsupportedByLayout:
            continue
        try:
            weights.to_layout(name)
            held.append(name)
        except LossyConversion:
            losing.append(name)
    if not held + losing:
        return "No layout of another system holds it."
    parts = [("Layouts that hold it", held), ("With a loss that has a name", losing)]
    return " ".join(f"{what}: {', '.join(f'`{name}`' for name in names)}." for what, names in parts if names)
