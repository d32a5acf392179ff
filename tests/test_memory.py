"""Converting a file takes little more memory than the LSTM's tensors have: bench/memory.py at a size for every day."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import memory


@pytest.mark.skipif(sys.platform != "linux", reason="the system's count of memory is Linux's")
def test_a_conversion_takes_at_most_its_tensors_and_a_third(tmp_path: Path) -> None:
    """From .safetensors and .pt to either: 64 MB in 4 arrays. What is mapped counts, and so would a second copy."""
    for library in ("torch", "safetensors"):
        pytest.importorskip(library)
    size = memory.make(tmp_path / "in.safetensors", 1408, 1)
    chain = [
        ("in.safetensors", "a.safetensors"),
        ("in.safetensors", "a.pt"),
        ("a.pt", "b.safetensors"),
        ("a.pt", "b.pt"),
    ]
    assert {tuple(name[name.index(".") :] for name in pair) for pair in chain} == set(memory.CASES)
    peak = memory.peak(*(tmp_path / name for pair in chain for name in pair))
    assert 0.5 * size < peak <= memory.BOUND * size, f"{peak / size:.2f} times the {size} bytes of the tensors"
