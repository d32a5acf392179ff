"""docs/own_cell.md: its code runs as it stands, and the cell it makes is the same on every backend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import Driver, close, numbers, require

PAGE = (Path(__file__).parent.parent / "docs" / "own_cell.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def janet() -> Iterator[dict[str, Any]]:
    """What the page's first block, the cell, defines."""
    made: dict[str, Any] = {}
    exec(compile(BLOCKS[0], "own_cell.md", "exec"), made)
    yield made
    unilstm.cells.unregister("janet")


def test_the_cell_takes_under_thirty_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) < 30


def test_the_page_runs_as_it_stands(janet: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "jax"):
        require(name)
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS[1:]:
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
