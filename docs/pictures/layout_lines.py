"""Writes into each variant's page which layouts hold its weights, so that a new layout is a run of this.

python docs/pictures/layout_lines.py            write the lines
python docs/pictures/layout_lines.py --check    exit 1 if one is missing or stale
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import unilstm
from unilstm import layouts
from unilstm.errors import LossyConversion, UnsupportedByLayout

PAGES = Path(__file__).parent.parent / "variants"
HELD, LOSING, NONE = "Layouts that hold it", "With a loss that has a name", "No layout of another system holds it."
PARAGRAPH = re.compile(rf"^(?:{HELD}|{LOSING}|{re.escape(NONE)}).*?(?=\n\n)", re.MULTILINE | re.DOTALL)


def spec_of(page: str) -> unilstm.LSTMSpec:
    """The spec that the page's Python block makes."""
    made: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], made)
    return made["spec"]  # type: ignore[no-any-return]


def line(spec: unilstm.LSTMSpec) -> str:
    weights = unilstm.Weights.initial(spec, 0)
    found: dict[str, list[str]] = {HELD: [], LOSING: []}
    for name in layouts.names():
        try:
            weights.to_layout(name)
            found[HELD].append(name)
        except LossyConversion:
            found[LOSING].append(name)
        except UnsupportedByLayout:
            continue
    parts = [f"{what}: {', '.join(f'`{name}`' for name in names)}." for what, names in found.items() if names]
    return " ".join(parts) or NONE


def main(arguments: list[str]) -> int:
    problems = []
    for file in sorted(PAGES.glob("*.md")):
        page = file.read_text(encoding="utf-8")
        if file.stem == "index":
            continue
        text = textwrap.fill(line(spec_of(page)), 118, break_long_words=False, break_on_hyphens=False)
        written, count = PARAGRAPH.subn(text, page)
        if count != 1:
            problems.append(f"{file.name} has {count} paragraphs that say which layouts hold it: one is wanted.")
        elif arguments != ["--check"]:
            file.write_text(written, encoding="utf-8")
        elif written != page:
            problems.append(
                f"{file.name} names other layouts than there are. Run: python docs/pictures/layout_lines.py"
            )
    print("\n".join(problems) or "the pages name the layouts that there are")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
