"""docs/layouts.md is what the tables say, and what it says of their tests is true."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from layout_cases import CASES, layout_of
from layout_equations import FIXTURES
from unilstm import layouts

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_is_current() -> None:
    found = importlib.util.spec_from_file_location("layouts_page", DOCS / "pictures" / "layout_page.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert (DOCS / "layouts.md").read_text() == module.page(), "run make pages"


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_each_layout_is_tested_as_it_says(name: str) -> None:
    layout = layouts.get(name)
    golden = {layout_of(case).name for case in CASES}
    fixtures = {fixture.split("/")[0] for fixture in FIXTURES}
    assert layout.tested == ("golden" if name in golden else "equations")
    assert name in golden | fixtures
    assert f"[`{name}`](#{name})" in (DOCS / "layouts.md").read_text()


def test_the_guide_lists_every_layout_and_every_loss() -> None:
    guide = (DOCS / "weights.md").read_text()
    listed = guide.split("## Layouts")[1].split("## Losses")[0]
    assert re.findall(r"`([a-z-]+)`", listed) == list(layouts.LAYOUTS)
    assert all(f"| `{loss}` |" in guide for loss in layouts.LOSSES)
