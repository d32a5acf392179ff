"""save() and convert() write one way: what a file type cannot hold is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import SPECS, draw
from unilstm import CheckpointError, LayoutError, LSTMSpec, UnilstmError
from unilstm.checkpoints import saving

ONE_BIAS = LSTMSpec(3, 4, bias="single")


FILES = {"m.keras": "keras", "m.weights.h5": "keras", "m.msgpack": "flax or nnx"}
OTHERS = ("torch", "paddle", "nnx", "haste", "keras-cudnn", "onnx")
REFUSED = [(name, holds, to) for name, holds in FILES.items() for to in OTHERS if to not in holds.split()]


@pytest.mark.parametrize(("name", "holds", "to"), REFUSED)
def test_a_layout_that_a_file_type_does_not_hold_is_refused_and_the_old_file_stays(
    tmp_path: Path, name: str, holds: str, to: str
) -> None:
    pytest.importorskip("msgpack" if name == "m.msgpack" else "h5py")
    target = tmp_path / name
    unilstm.save(draw(ONE_BIAS), target)
    unilstm.save(draw(ONE_BIAS), tmp_path / "a.safetensors")
    before = target.read_bytes()
    message = rf"layout='{to}' was given, but this file holds {holds}\..*to=, --to"
    with pytest.raises(CheckpointError, match=message):
        unilstm.convert(tmp_path / "a.safetensors", target, to=to, allow="split-bias")
    with pytest.raises(CheckpointError, match=message):
        unilstm.save(draw(ONE_BIAS), target, layout=to, allow="split-bias")
    assert target.read_bytes() == before


def test_an_onnx_model_has_no_layout_to_convert_to(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    unilstm.save(draw(), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"layout='torch' has no meaning for an ONNX model.*--to"):
        unilstm.convert(tmp_path / "a.safetensors", tmp_path / "m.onnx", to="torch")
    with pytest.raises(CheckpointError, match=r"allow='split-bias' has no meaning for an ONNX model\. Leave it out\.$"):
        unilstm.convert(tmp_path / "a.safetensors", tmp_path / "m.onnx", allow="split-bias")


@pytest.mark.parametrize("how", [{}, {"to": "torch"}, {"to": "keras"}])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_unknown_loss_is_refused_whatever_is_written(tmp_path: Path, suffix: str, how: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    unilstm.save(draw(), tmp_path / "a.safetensors")
    with pytest.raises(UnilstmError, match="allow=.*nonsense"):
        unilstm.convert(tmp_path / "a.safetensors", tmp_path / f"m{suffix}", allow="nonsense", **how)
    assert not (tmp_path / f"m{suffix}").exists()


def test_a_loss_without_a_layout_names_the_option_that_says_the_target(tmp_path: Path) -> None:
    """layout= of convert() is the source's."""
    unilstm.save(draw(), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"loses nothing\. .*of convert: to=, --to"):
        unilstm.convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", allow="merge-biases")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pdparams"])
def test_an_lstm_at_the_root_is_converted_with_another_beside_it(tmp_path: Path, suffix: str) -> None:
    """Its prefix is "", which says which it is."""
    pytest.importorskip("torch")
    both = {prefix + name: array for prefix in ("", "other.") for name, array in draw().items()}
    np.savez(tmp_path / "two.npz", **both)  # type: ignore[arg-type]
    done = unilstm.convert(tmp_path / "two.npz", tmp_path / f"m{suffix}", lstm="")
    assert (done.prefix, done.carried) == ("", 4)
    assert done.check is not None
    assert done.check.ok


MORE = {
    "one-bias": ONE_BIAS,
    "reverse": LSTMSpec(3, 4, direction="reverse"),
    "sum": LSTMSpec(3, 4, direction="bidirectional", merge="sum"),
    "residual": LSTMSpec(4, 4, num_layers=2, residual=True),
    "learned": LSTMSpec(3, 4, learned_state=True),
    "dropout": LSTMSpec(3, 4, num_layers=2, dropout=0.5, recurrent_dropout=0.5),
    "zoneout": LSTMSpec(3, 4, zoneout_cell=0.5),
    "bidirectional": LSTMSpec(3, 4, num_layers=2, direction="bidirectional", proj_size=2),
}


@pytest.mark.parametrize("case", [*SPECS, *MORE])
@pytest.mark.parametrize("allow", [(), ("split-bias", "drop-dropout")])
def test_arrays_that_are_taken_as_they_are_are_those_that_the_layout_has(case: str, allow: tuple[str, ...]) -> None:
    """Torch's, where nothing is lost: the same names in the same order, and the same errors."""
    weights = draw((SPECS | MORE)[case])
    try:
        wanted = weights.to_layout("torch", prefix="x.", allow=allow)
    except LayoutError as problem:
        with pytest.raises(type(problem), match="."):
            saving._arrays(weights, "torch", "x.", allow)
        return
    found = saving._arrays(weights, "torch", "x.", allow)
    assert list(found) == list(wanted)
    assert all(found[name].tobytes() == array.tobytes() for name, array in wanted.items())
    if case in ("plain", "deep-bidirectional", "projected", "no-bias", "bidirectional"):
        assert all(array is weights[name[2:]] for name, array in found.items())
