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
    assert len({name for name, _ in results}) > 20  # every format had its turn
    count = {word: sum(n for (_, result), n in results.items() if result == word) for word in ("refused", "read")}
    assert count["refused"] > 1000
    assert count["read"] > 100  # a mutation of data alone is still an LSTM
