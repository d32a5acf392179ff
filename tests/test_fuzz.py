"""Two thousand damaged files over all readers, in CI; a hundred thousand: make fuzz."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are read from /proc")
def test_damaged_files_raise_checkpoint_errors_and_nothing_else() -> None:
    for library in ("torch", "onnx", "h5py", "safetensors", "msgpack", "zstandard"):
        pytest.importorskip(library)
    from fuzz import run

    results, failures = run(2000)
    assert failures == []
    assert results["refused"] > 1000
    assert results["read"] > 100  # a mutation of data alone is still an LSTM
