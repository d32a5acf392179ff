"""A trained checkpoint of somebody else's, end to end: Resemblyzer's speaker encoder, 3 layers, 40 → 256."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import unilstm
from unilstm import LSTMSpec
from unilstm.errors import CheckpointError

torch = pytest.importorskip("torch")
SPEC = LSTMSpec(40, 256, num_layers=3, batch_first=False)
TARGETS = [".safetensors", ".pt", ".pdparams", ".npz", ".onnx"]
LAYOUTS = ["torch", "paddle", "keras", "flax", "nnx", "equinox", "haiku", "onnx", "jax-cudnn", "mxnet", "haste"]


@pytest.fixture(scope="module")
def pretrained() -> Path:
    from unilstm.demo import find_checkpoint

    try:
        return Path(find_checkpoint())
    except CheckpointError as problem:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have it: {problem}")
        pytest.skip(str(problem))


def test_its_lstm_is_found(pretrained: Path) -> None:
    (found,) = unilstm.inspect(pretrained)
    assert (found.prefix, found.layout, found.spec) == ("model_state.lstm.", "torch", SPEC)
    assert found.parameters == 1_357_824


@pytest.mark.parametrize("target", TARGETS)
def test_it_goes_to_every_file_type_and_computes_the_same(pretrained: Path, tmp_path: Path, target: str) -> None:
    """Verified in torch on one side, and on the other in torch, Paddle or onnxruntime."""
    done = unilstm.convert(pretrained, tmp_path / f"lstm{target}")
    assert done.check is not None
    assert done.check.ok, str(done.check)
    assert done.check.source.startswith("torch.nn.LSTM")
    assert done.carried == (
        0 if target == ".onnx" else 4
    )  # the linear layer after it, and the similarity's two numbers
    again = unilstm.load(tmp_path / f"lstm{target}", prefix=None if target == ".onnx" else "lstm.")
    for name, array in unilstm.load(pretrained).items():
        np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize("target", [".keras", ".weights.h5", ".msgpack"])
def test_it_goes_to_files_of_one_bias_and_computes_the_same(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Verified in torch on one side, and on the other in Keras, for a model of it."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    done = unilstm.convert(pretrained, tmp_path / f"lstm{target}", allow="merge-biases")
    assert done.check is not None
    assert done.check.ok, str(done.check)
    assert done.check.source.startswith("torch.nn.LSTM")
    assert done.check.target.startswith("the model in keras" if target == ".keras" else "unilstm")
    assert "stay behind" in str(done.left)


def test_the_model_that_it_is_of_loads_what_was_written(pretrained: Path, tmp_path: Path) -> None:
    """Out of torch, through Paddle's file and NumPy's, back into torch: the same state_dict, bit for bit."""
    unilstm.convert(pretrained, tmp_path / "a.pdparams")
    unilstm.convert(tmp_path / "a.pdparams", tmp_path / "b.npz", check=False)
    unilstm.convert(tmp_path / "b.npz", tmp_path / "c.pt", check=False)
    before = torch.load(pretrained, weights_only=True, map_location="cpu")["model_state"]
    after = torch.load(tmp_path / "c.pt", weights_only=True)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_goes_to_every_layout_and_computes_the_same(pretrained: Path, tmp_path: Path, layout: str) -> None:
    allow = ("merge-biases", "forget-offset")
    done = unilstm.convert(pretrained, tmp_path / "m.safetensors", to=layout, allow=allow, only_lstm=True)
    assert done.check is not None
    assert done.check.ok, str(done.check)
