"""What convert() measures: source and target run, each in its own framework, and what that says where one cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import unilstm
from checkpoint_files import draw, hide, save_zip, torch_state
from layout_cases import GOLDEN
from test_cli import run
from unilstm import CheckpointError, LSTMSpec, Weights
from unilstm.checkpoints import running, verifying

torch = pytest.importorskip("torch")

FILES = Path(__file__).parent / "files"


def test_half_precision_is_judged_by_its_own_eps_where_a_loss_rounds_to_it_and_nowhere_else(tmp_path: Path) -> None:
    """A sum of two biases in float16 is 2⁻¹¹ off; copied weights give float32's outputs."""
    weights = Weights.initial(LSTMSpec(3, 4), seed=1).astype("float16")
    unilstm.save(weights, tmp_path / "a.safetensors")
    merged = unilstm.convert(
        tmp_path / "a.safetensors", tmp_path / "b.safetensors", to="keras", allow="merge-biases", check=True
    )
    copied = unilstm.convert(tmp_path / "a.safetensors", tmp_path / "c.safetensors", to="paddle", check=True)
    assert merged.check
    assert merged.check.ok
    assert merged.check.error > 64 * 2**-23
    assert copied.check
    assert copied.check.ok
    assert copied.check.error < 64 * 2**-23
    assert merged.check.eps < 8


SOURCES: dict[str, tuple[Path, dict[str, Any], str]] = {
    "keras": (Path(str(GOLDEN / "keras/model.keras")), {"lstm": "second"}, "keras.layers.LSTM"),
    "onnx": (Path(str(GOLDEN / "onnx/bidirectional_lengths.onnx")), {}, "onnxruntime's LSTM"),
    "onnx-peepholes": (Path(str(GOLDEN / "onnx/reverse_peepholes.onnx")), {}, "onnxruntime's LSTM"),
    "flax": (FILES / "flax.msgpack", {}, "unilstm on NumPy"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_is_run_in_its_own_framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    source, options, title = SOURCES[case]
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras" if case == "keras" else "onnxruntime")
    done = unilstm.convert(source, tmp_path / "m.safetensors", **options)
    assert done.check is not None
    assert done.check.ok, str(done.check)
    assert done.check.source.startswith(title), done.check
    assert bool(done.check.notes) == (case == "flax") or "unilstm itself" in done.check.notes[-1]


@pytest.mark.parametrize("target", [".pt", ".pdparams"])
def test_a_target_is_run_in_its_own_framework(tmp_path: Path, target: str) -> None:
    pytest.importorskip("torch" if target == ".pt" else "paddle")
    spec = LSTMSpec(3, 4, num_layers=2, direction="bidirectional")
    unilstm.save(draw(spec), tmp_path / "a.safetensors")
    check = unilstm.convert(tmp_path / "a.safetensors", tmp_path / f"b{target}").check
    assert check is not None
    assert check.ok, str(check)
    assert check.target.startswith("torch.nn.LSTM" if target == ".pt" else "paddle.nn.LSTM")


def test_a_conversion_that_swaps_two_gates_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very mistake that verification is for."""
    path = save_zip(torch_state(), tmp_path / "a.pt")
    real = unilstm.checkpoints.converting.chosen

    def wrong(*args: Any, **options: Any) -> Any:
        place, weights = real(*args, **options)
        order = [4, 5, 6, 7, 0, 1, 2, 3, *range(8, 16)]
        return place, Weights(weights.spec, {name: array[order] for name, array in weights.items()})

    monkeypatch.setattr(unilstm.checkpoints.converting, "chosen", wrong)
    check = unilstm.convert(path, tmp_path / "b.safetensors").check
    assert check is not None
    assert not check.ok
    assert check.eps > 1000
    assert "NOT within" in str(check)


def test_a_framework_that_is_not_here_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unilstm.save(draw(), tmp_path / "a.pdparams")
    monkeypatch.setitem(sys.modules, "paddle", None)
    check = unilstm.convert(tmp_path / "a.pdparams", tmp_path / "b.safetensors").check
    assert check is not None
    assert check.source == "unilstm on NumPy"
    assert "paddle cannot be used (import of paddle halted; None in sys.modules): run by unilstm itself" in check.notes


def test_float64_is_verified_in_float64(tmp_path: Path) -> None:
    unilstm.save(draw(dtype="float64"), tmp_path / "a.pt")
    check = unilstm.convert(tmp_path / "a.pt", tmp_path / "b.safetensors").check
    assert check is not None
    assert check.ok
    assert check.error < 1e-14


def test_verification_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "verify", lambda *args: pytest.fail("it ran"))
    unilstm.save(draw(), tmp_path / "a.pt")
    assert unilstm.convert(tmp_path / "a.pt", tmp_path / "b.safetensors", check=False).check is None


def test_a_large_one_is_verified_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unilstm.checkpoints.converting._LARGE", 100)
    unilstm.save(draw(), tmp_path / "a.pt")
    done = unilstm.convert(tmp_path / "a.pt", tmp_path / "b.safetensors")
    assert done.check is None
    assert "--verify does it" in str(done.unchecked)
    assert unilstm.convert(tmp_path / "a.pt", tmp_path / "b.safetensors", check=True).check is not None


@pytest.mark.parametrize("layout", [None, "keras"])
def test_an_onnx_model_is_fed_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str | None
) -> None:
    """A model in float64 takes no float32, which is what a source that has no float64 runs in."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    unilstm.save(draw(LSTMSpec(3, 4, bias="single"), "float64"), tmp_path / "a.safetensors", layout=layout)
    check = unilstm.convert(tmp_path / "a.safetensors", tmp_path / "m.onnx").check
    assert check is not None
    assert check.ok, str(check)
    assert check.target.startswith("the model in onnxruntime ")


def test_float16_is_not_exported_to_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    unilstm.save(draw(dtype="float16"), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"dtype='float16' is not exported to ONNX.*--dtype float32"):
        unilstm.convert(tmp_path / "a.safetensors", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    assert unilstm.convert(tmp_path / "a.safetensors", tmp_path / "m.onnx", dtype="float32").weights.dtype == "float32"


def test_a_source_that_its_framework_refuses_is_run_by_unilstm(tmp_path: Path) -> None:
    """Three activations for two directions, which ONNX fills up and onnxruntime does not take."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    spec = LSTMSpec(3, 4, direction="bidirectional", batch_first=False)
    said = {"hidden_size": 4, "direction": "bidirectional", "activations": ["Sigmoid", "Tanh", "Tanh"]}
    node = onnx.helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], **said)
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("X", "Y")]
    arrays = [onnx.numpy_helper.from_array(a, name) for name, a in draw(spec).to_layout("onnx").items()]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], arrays)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    check = unilstm.convert(tmp_path / "m.onnx", tmp_path / "m.safetensors").check
    assert check is not None
    assert (check.ok, check.source) == (True, "unilstm on NumPy")
    assert "onnxruntime's LSTM failed (" in check.notes[0]


def test_a_model_that_its_framework_refuses_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")

    def refuse(*args: Any) -> Any:
        raise ValueError("no such operator\nand more")

    monkeypatch.setitem(running.MODELS, ".onnx", running.ModelRunner(refuse, "onnxruntime"))
    unilstm.save(draw(), tmp_path / "a.safetensors")
    result = run("convert", tmp_path / "a.safetensors", tmp_path / "m.onnx")
    assert result.exit_code == 1
    assert "unilstm on NumPy ran, but the model in onnxruntime" in result.stdout
    assert "failed (ValueError: no such operator)." in result.stdout
    check = json.loads(run("convert", tmp_path / "a.safetensors", tmp_path / "m.onnx", "--json").stdout)["check"]
    assert (check["ok"], check["error"], check["eps"]) == (False, None, None)


@pytest.mark.parametrize(("suffix", "package"), [(".onnx", "onnxruntime"), (".keras", "keras")])
def test_a_model_whose_framework_is_not_here_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    """And that is said once, with what is wrong: Keras may be here without the backend that it would take."""
    pytest.importorskip("onnx" if suffix == ".onnx" else "h5py")
    unilstm.save(draw(LSTMSpec(3, 4, bias="single")), tmp_path / "a.safetensors")
    hide(monkeypatch, package)
    check = unilstm.convert(tmp_path / "a.safetensors", tmp_path / f"m{suffix}").check
    assert check is not None
    assert (check.ok, check.target) == (True, "unilstm on NumPy")
    why = f"{package} cannot be used (import of {package} halted; None in sys.modules): run by unilstm itself"
    assert [note for note in check.notes if package in note] == [why]
