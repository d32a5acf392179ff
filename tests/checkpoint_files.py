"""What the tests of checkpoints share: specs, weights, and files of several kinds."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from unilstm import LSTMSpec, Weights

SPECS = {
    "plain": LSTMSpec(3, 4),
    "deep-bidirectional": LSTMSpec(3, 4, num_layers=2, direction="bidirectional", dropout=0.5, batch_first=False),
    "projected": LSTMSpec(3, 4, proj_size=2),
    "no-bias": LSTMSpec(3, 4, bias="none"),
    "peephole": LSTMSpec(3, 4, peephole=True, bias="single", cell_clip=3.0),
    "exotic": LSTMSpec(
        3, 4, num_layers=3, direction="alternating", gate_activation=("hard_sigmoid", 0.2, 0.5), learned_state=True
    ),
}


def draw(spec: LSTMSpec = SPECS["plain"], dtype: str = "float32") -> Weights:
    return Weights.initial(spec, seed=7, dtype=dtype)


def torch_state(spec: LSTMSpec = SPECS["plain"], prefix: str = "") -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    arrays = draw(spec).to_layout("torch", prefix=prefix, allow=("split-bias",))
    return {name: torch.tensor(array) for name, array in arrays.items()}


def write_header(path: Path, header: dict[str, Any] | bytes, data: bytes = b"", size: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def save_zip(state: Any, path: Path) -> Path:
    torch = pytest.importorskip("torch")
    torch.save(state, path)
    return path


class Bomb:
    """What it would run makes a folder; the folder's absence shows that nothing ran."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def hide(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if a library were not installed."""
    monkeypatch.setitem(sys.modules, name, None)
