"""Reading docs/variants/: a page's text, the spec that it makes, its tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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
