"""docs/own_cell.md: its code runs as it stands, and the cell it makes is the same on every backend."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import BACKENDS, Driver, close, numbers, require

PAGE = (Path(__file__).parent.parent / "docs" / "own_cell.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CELL, PROOF = BLOCKS[0], next(block for block in BLOCKS if "conformance_cases" in block)


@pytest.fixture
def janet() -> Iterator[dict[str, Any]]:
    """What the page's first block, the cell, defines."""
    made: dict[str, Any] = {}
    exec(compile(CELL, "own_cell.md", "exec"), made)
    yield made
    unilstm.cells.unregister("janet")


def test_the_cell_takes_under_thirty_lines() -> None:
    assert len([line for line in CELL.splitlines() if line.strip()]) < 30


def test_the_page_runs_as_it_stands(janet: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "jax"):
        require(name)
    monkeypatch.chdir(tmp_path)
    for block in (b for b in BLOCKS if b not in (CELL, PROOF)):
        exec(compile(block, "own_cell.md", "exec"), janet)
    assert janet["y"].shape == (4, 10, 64)
    assert not janet["y"][1, 7:].any()


def test_the_cell_computes_the_pages_equations(janet: dict[str, Any], backend: Any) -> None:
    spec = unilstm.LSTMSpec(4, 6, cell="janet")
    weights = unilstm.Weights.initial(spec, 3, dtype="float64")
    x, h, c = numbers(3, 1, 4), numbers(1, 3, 6, stream=1), numbers(1, 3, 6, stream=2)
    z = x[:, 0] @ weights["weight_ih_l0"].T + h[0] @ weights["weight_hh_l0"].T + weights["bias_l0"]
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    expected = sigmoid(z[:, :6]) * c[0] + (1 - sigmoid(z[:, :6] - 1)) * np.tanh(z[:, 6:])
    y, (h_n, c_n) = Driver(backend, weights)(x, (h, c))
    for got in (y[:, 0], h_n[0], c_n[0]):
        close(got, expected)


def test_the_cell_passes_conformance_as_the_page_says(tmp_path: Path) -> None:
    """In a process of its own, as a user's test file."""
    for name in BACKENDS:
        require(name)
    (tmp_path / "test_janet.py").write_text(CELL + "\n\n" + PROOF, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_janet.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout[-5000:]
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|skipped)", done.stdout)}
    assert counts["passed"] > 4 * 25  # four backends; what is skipped has a reason, such as a path for another cell
