"""Draws the cell of every preset: docs/variants/<preset>.svg.

python docs/pictures/draw_cells.py            write the pictures
python docs/pictures/draw_cells.py --check    exit 1 if one is missing, stale or drawn over itself
"""

from __future__ import annotations

import sys
from pathlib import Path

from descriptions import CELLS
from drawing import Drawing
from newer_cells import SLSTM, MinLSTM
from pen import Pen

PAGES = Path(__file__).parent.parent / "variants"
KINDS: dict[str, type[Drawing]] = {"lstm": Drawing, "slstm": SLSTM, "minlstm": MinLSTM}


def draw(name: str) -> Pen:
    cell = CELLS[name]
    return KINDS[cell.kind](name, cell).draw()


def main(arguments: list[str]) -> int:
    problems = []
    for name in CELLS:
        pen, file = draw(name), PAGES / f"{name}.svg"
        problems += [f"{name}: {problem}" for problem in pen.collisions()]
        if arguments != ["--check"]:
            file.write_text(pen.svg(), encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != pen.svg():
            problems.append(
                f"{name}: {file.name} is not what the script draws. Run: python docs/pictures/draw_cells.py"
            )
    print("\n".join(problems) or f"{len(CELLS)} pictures")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
