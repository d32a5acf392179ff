"""flax's .msgpack files that unilstm writes are those of flax itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw
from compat_cases import original
from conftest import close, numbers, require
from unilstm import CheckpointError, LSTMSpec
from unilstm.checkpoints import flax_file
from unilstm_conformance.tolerances import PAIR_FACTOR, eps, output_units

require("jax")
nn, serialization = original("flax.linen"), original("flax.serialization")

B, T, F, H = 2, 5, 4, 3
TWO = LSTMSpec(F, H, bias="single", direction="bidirectional")


def test_flax_restores_it_and_computes_the_same(tmp_path: Path) -> None:
    weights, x = draw(TWO), numbers(B, T, F, dtype="float32")
    unilstm.save(weights, tmp_path / "m.msgpack", prefix="params/")
    module = nn.Bidirectional(nn.RNN(nn.LSTMCell(H)), nn.RNN(nn.LSTMCell(H)))
    variables = serialization.msgpack_restore((tmp_path / "m.msgpack").read_bytes())
    y, want = np.asarray(module.apply(variables, x)), unilstm.LSTM(weights)(x)[0]
    close(y, want, PAIR_FACTOR * output_units(TWO, T) * eps("float32") * np.abs(want).max())
    assert unilstm.factory.weights_of(module.bind(variables)) == weights


@pytest.mark.parametrize("layout", ["flax", "nnx"])
def test_the_bytes_are_flaxs_own_and_come_back_exactly(tmp_path: Path, layout: str) -> None:
    for dtype in ("float16", "float32", "float64"):
        weights, path = draw(TWO).astype(dtype), tmp_path / "m.msgpack"
        unilstm.save(weights, path, layout=layout)
        written = path.read_bytes()
        assert serialization.msgpack_serialize(serialization.msgpack_restore(written)) == written
        assert unilstm.load(path) == weights


def test_a_large_array_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flax_file, "_PIECE", 20)  # bytes, which no float32 fills up evenly with H of 3
    unilstm.save(draw(TWO), tmp_path / "m.msgpack")
    restored = serialization.msgpack_restore((tmp_path / "m.msgpack").read_bytes())
    kernel = restored["forward_rnn"]["cell"]["ii"]["kernel"]
    np.testing.assert_array_equal(kernel, draw(TWO).to_layout("flax")["forward_rnn/cell/ii/kernel"])
    assert unilstm.load(tmp_path / "m.msgpack") == draw(TWO)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"layout='torch' was given, but this file holds flax or nnx\. Leave it"):
        unilstm.save(draw(LSTMSpec(F, H)), tmp_path / "m.msgpack", layout="torch")
    assert not list(tmp_path.iterdir())
