"""Keras files that unilstm writes: Keras itself loads and runs them, and they come back as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# Keras runs on one framework in a process.
os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw
from compat_cases import original
from conftest import close, numbers, require
from unilstm import CheckpointError, LSTMSpec
from unilstm_conformance.tolerances import PAIR_FACTOR, eps, output_units

require("torch")
keras = original("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

B, T, F, H = 2, 5, 4, 3
X = numbers(B, T, F, dtype="float32")
PLAIN = LSTMSpec(F, H, bias="single")
RELU: dict[str, Any] = {"cell_activation": "relu", "output_activation": "relu"}
SPECS = {
    "plain": PLAIN,
    "stack": PLAIN.replace(num_layers=3, gate_activation=("hard_sigmoid", 1 / 6, 0.5)),
    "no-bias-relu": PLAIN.replace(bias="none", **RELU),
    "reverse-stack": PLAIN.replace(num_layers=2, direction="reverse"),
    "bidirectional": PLAIN.replace(direction="bidirectional", input_dropout=0.3),
    "averaged-stack": PLAIN.replace(num_layers=2, direction="bidirectional", merge="average"),
    "per-gate-dropout": PLAIN.replace(recurrent_dropout=0.2, recurrent_dropout_kind="per-gate"),
}


def run(model: Any, x: Any = X) -> Any:
    return keras.ops.convert_to_numpy(model(x))


def expected(spec: LSTMSpec) -> Any:
    return unilstm.LSTM(draw(spec))(X)[0]


def near(y: Any, spec: LSTMSpec) -> None:
    want = expected(spec)
    close(y, want, PAIR_FACTOR * output_units(spec, T) * eps("float32") * np.abs(want).max())


@pytest.mark.parametrize("name", SPECS)
def test_keras_loads_the_model_and_computes_the_same(tmp_path: Path, name: str) -> None:
    spec = SPECS[name]
    unilstm.save(draw(spec), tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras")
    near(run(model), spec)
    lstms = [layer for layer in model.layers if hasattr(layer, "return_sequences")]
    assert len(lstms) == spec.num_layers
    inner = getattr(lstms[0], "forward_layer", lstms[0])
    assert (inner.dropout, inner.recurrent_dropout) == (spec.input_dropout, spec.recurrent_dropout)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("name", SPECS)
def test_it_comes_back_exactly(tmp_path: Path, name: str, suffix: str) -> None:
    """The spec, too, which weights alone do not tell; and the same weights give the same bytes."""
    for dtype in ("float64", "float32"):
        weights = draw(SPECS[name].replace(batch_first=False)).astype(dtype)
        unilstm.save(weights, tmp_path / f"m{suffix}")
        assert unilstm.load(tmp_path / f"m{suffix}") == weights
    unilstm.save(weights, tmp_path / f"again{suffix}")
    assert (tmp_path / f"again{suffix}").read_bytes() == (tmp_path / f"m{suffix}").read_bytes()


LENGTHS = [5, 2]
MASK = np.arange(T)[None] < np.array(LENGTHS)[:, None]


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")  # of any functional model
@pytest.mark.parametrize("name", ["stack", "bidirectional", "reverse", "reverse-stack"])
def test_a_mask_acts_as_lengths_do(tmp_path: Path, name: str) -> None:
    """But between layers that run backwards, as docs/weights.md says: this fails when Keras mends that."""
    spec = PLAIN.replace(direction="reverse") if name == "reverse" else SPECS[name]
    unilstm.save(draw(spec), tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras")
    y = keras.ops.convert_to_numpy(model(keras.ops.array(X), mask=keras.ops.array(MASK)))
    want = unilstm.LSTM(draw(spec))(X, lengths=LENGTHS)[0]
    limit = PAIR_FACTOR * output_units(spec, T) * eps("float32") * np.abs(want).max()
    if name == "reverse-stack":
        assert np.abs(y - want).max() > 100 * limit
    else:
        close(y, want, limit)


def stack_of_keras(both: bool) -> Any:
    """A model of somebody's own: its layers' names and its other layers are theirs."""
    layers = [keras.layers.LSTM(H, return_sequences=True) for _ in range(2)]
    own = [keras.layers.Bidirectional(layer, merge_mode="ave", name=f"rnn_{n}") for n, layer in enumerate(layers)]
    return keras.Sequential([keras.Input((None, F)), keras.layers.Dropout(0.1), *(own if both else layers)])


@pytest.mark.parametrize("both", [False, True], ids=["LSTM", "Bidirectional"])
def test_a_model_of_the_same_layers_loads_the_weights(tmp_path: Path, both: bool) -> None:
    spec = PLAIN.replace(num_layers=2, **({"direction": "bidirectional", "merge": "average"} if both else {}))
    unilstm.save(draw(spec), tmp_path / "m.weights.h5")
    model = stack_of_keras(both)
    model.load_weights(tmp_path / "m.weights.h5")
    near(run(model), spec)


def test_what_keras_saves_again_is_read_by_its_configuration(tmp_path: Path) -> None:
    """Without unilstm's own note: layer_0 and layer_1 are one stack, with the activations of the model."""
    spec = SPECS["stack"]
    unilstm.save(draw(spec), tmp_path / "m.keras")
    keras.saving.load_model(tmp_path / "m.keras").save(tmp_path / "again.keras")
    assert unilstm.load(tmp_path / "again.keras") == draw(spec)


def named_as_a_stack(backwards: bool) -> Any:
    kinds = ("tanh", "tanh") if backwards else ("relu", "tanh")
    own = {"return_sequences": True, "go_backwards": backwards}
    layers = [keras.layers.LSTM(H, activation=kind, name=f"layer_{n}", **own) for n, kind in enumerate(kinds)]
    return keras.Sequential([keras.Input((None, F)), *layers])


@pytest.mark.parametrize("backwards", [False, True], ids=["activations", "go_backwards"])
def test_layers_that_are_only_named_as_a_stack_are_read_one_by_one(tmp_path: Path, backwards: bool) -> None:
    """They were read as one LSTM, without what the configuration says of them."""
    named_as_a_stack(backwards).save(tmp_path / "m.keras")
    first, second = unilstm.inspect(tmp_path / "m.keras")
    assert (first.prefix, second.prefix) == ("layer_0/", "layer_1/")
    usual = PLAIN.replace(direction="reverse") if backwards else PLAIN
    assert first.spec == (usual if backwards else usual.replace(**RELU))
    assert second.spec == usual.replace(input_size=H)


def test_a_conversion_is_verified_in_keras(tmp_path: Path) -> None:
    unilstm.save(draw(LSTMSpec(F, H, num_layers=2)), tmp_path / "m.safetensors")
    for suffix, ran in ((".keras", "the model in keras"), (".weights.h5", "unilstm on NumPy")):
        done = unilstm.convert(tmp_path / "m.safetensors", tmp_path / f"m{suffix}", allow="merge-biases")
        assert done.check is not None
        assert done.check.ok, done.check
        assert ran in done.check.target
    with pytest.raises(unilstm.LossyConversion, match="merge-biases"):
        unilstm.convert(tmp_path / "m.safetensors", tmp_path / "n.keras")
    assert not (tmp_path / "n.keras").exists()


REFUSED: dict[str, tuple[str, LSTMSpec, dict[str, Any], type[Exception], str]] = {
    "layout": ("m.keras", PLAIN, {"layout": "torch"}, CheckpointError, r"layout='torch' was given.*Leave it out"),
    "prefix": ("m.weights.h5", PLAIN, {"prefix": "rnn."}, CheckpointError, r"prefix='rnn\.' has no meaning.*Leave"),
    "legacy": ("m.h5", PLAIN, {}, CheckpointError, r"\.h5 files are only read\. Written are: .*\.keras, \.weights\.h5"),
    "peephole": (
        "m.keras",
        PLAIN.replace(peephole=True),
        {},
        unilstm.UnsupportedByLayout,
        r"peephole=True has no place",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_keras_file_cannot_hold_is_refused(tmp_path: Path, case: str) -> None:
    name, spec, given, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        unilstm.save(draw(spec), tmp_path / name, **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="limits are POSIX's")
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_disk_that_fills_up_leaves_the_old_target_whole(tmp_path: Path, suffix: str) -> None:
    """The process may write files of 100 KB; the target would have 500. Keras is not imported to write."""
    target = tmp_path / f"m{suffix}"
    unilstm.save(draw(PLAIN), target)
    before = target.read_bytes()
    code = f"""
import resource, signal, sys, unilstm
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
weights = unilstm.Weights.initial(unilstm.LSTMSpec(128, 128, bias="single"), 0)
try:
    unilstm.save(weights, {str(target)!r})
except unilstm.CheckpointError as problem:
    print(problem, *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert not {"keras", "torch", "jax"} & set(done.stdout.split())
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
