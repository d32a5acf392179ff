"""The README's example runs as it stands and prints what the README says it prints."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from conftest import require, require_kernel

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_says() -> None:
    require("torch")
    require("jax")
    require_kernel()  # the example shows that it is taken
    code, printed = re.search(r"```python\n(.*?)```\s+```\n(.*?)```", README, re.DOTALL).groups()  # type: ignore[union-attr]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    error, *rest = out.getvalue().splitlines()
    assert float(error) < 1e-6  # rounding: another machine, other last digits
    assert " ".join(rest).split() == " ".join(printed.splitlines()[1:]).split()


def test_every_local_link_leads_somewhere() -> None:
    root = Path(__file__).parent.parent
    for page in (root / "README.md", *(root / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"
