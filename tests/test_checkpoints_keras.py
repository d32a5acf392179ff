"""Keras models: found through their configuration, without Keras; hostile HDF5 files are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from checkpoint_files import draw
from layout_cases import GOLDEN, bound, golden
from unilstm import CheckpointError, LSTMSpec

h5py = pytest.importorskip("h5py")

MODELS = ("model.keras", "model.weights.h5", "model_legacy.h5")


def computed(name: str) -> tuple[dict[str, Any], float]:
    """The LSTMs of a golden model, and the largest error of the first one's outputs and of the logits."""
    path, g = Path(str(GOLDEN / "keras" / name)), golden("keras/model")
    y, _ = unilstm.LSTM(unilstm.load(path, prefix="first"))(g.inputs["x"])
    _, (h_n, _) = unilstm.LSTM(unilstm.load(path, prefix="second"))(y)
    logits = np.concatenate([h_n[0], h_n[1]], axis=-1) @ g.weights["head/kernel"] + g.weights["head/bias"]
    error = max(np.abs(y - g.outputs["first"]).max(), np.abs(logits - g.outputs["y"]).max())
    return {found.prefix: found.spec for found in unilstm.inspect(path)}, float(error)


@pytest.mark.filterwarnings("ignore:.*taken as Keras's defaults:UserWarning")  # of the weights alone
@pytest.mark.parametrize("name", MODELS)
def test_the_golden_model_is_found_and_computes_what_keras_did(name: str) -> None:
    specs, error = computed(name)
    assert specs == {
        "first/": LSTMSpec(4, 6, bias="single"),
        "second/": LSTMSpec(6, 6, direction="bidirectional", bias="single"),
    }
    assert error <= bound("keras/model")


def test_neither_keras_nor_tensorflow_is_imported() -> None:
    """All of the above, in a process that has not imported anything else."""
    code = "import sys, test_checkpoints_keras as t; print([t.computed(name)[1] for name in t.MODELS]); "
    code += "print(*sys.modules)"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    errors, modules = done.stdout.splitlines()
    assert max(json.loads(errors)) <= bound("keras/model")
    assert not {"keras", "tensorflow", "torch", "jax", "paddle"} & set(modules.split())


def test_what_the_configuration_says_of_the_call_is_told() -> None:
    first, second = unilstm.inspect(str(GOLDEN / "keras/model.keras"))
    assert (first.said["return_sequences"], second.said["return_sequences"]) == (True, False)
    assert second.said["merge_mode"] == "concat"


def test_a_weights_file_says_what_it_leaves_open() -> None:
    (first, _) = unilstm.inspect(str(GOLDEN / "keras/model_legacy.h5"))
    assert first.uncertain is None
    for found in unilstm.inspect(str(GOLDEN / "keras/model.weights.h5")):
        assert "config= (--config) settles them" in str(found.uncertain)


def test_a_weights_file_says_that_a_stack_is_a_guess(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for name, array in draw(LSTMSpec(3, 4, bias="single", num_layers=2)).to_layout("keras").items():
            file[name] = array
    assert "as one stack" in str(unilstm.inspect(tmp_path / "m.weights.h5")[0].uncertain)


def test_a_weights_file_takes_a_config() -> None:
    path, config = str(GOLDEN / "keras/model.weights.h5"), {"merge_mode": "sum", "activation": "relu"}
    spec = unilstm.load(path, prefix="second", config=config).spec
    assert (spec.merge, spec.cell_activation.name) == ("sum", "relu")


# Models written by hand, as Keras 2 and 3 write them.


def lstm(name: str, **config: Any) -> dict[str, Any]:
    usual = {"name": name, "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    return {"class_name": "LSTM", "config": {**usual, **config}}


def both(name: str, layer: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {"class_name": "Bidirectional", "config": {"name": name, "layer": layer, **config}}


def model(*layers: dict[str, Any], kind: str = "Functional", name: str = "model") -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "layers": list(layers)}}


KERNELS = draw(LSTMSpec(3, 4, bias="single")).to_layout("keras")
TWO = draw(LSTMSpec(3, 4, bias="single", direction="bidirectional")).to_layout("keras")


def legacy(path: Path, config: Any, weights: dict[str, Any], version: str = "2.9.0") -> Path:
    """weights: by layer/name-in-it."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(config)
        for name, array in weights.items():
            file[f"model_weights/{name}"] = array
    return path


def tf_names(layer: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """As tf.keras 2 names variables: the layer twice, and ":0"."""
    return {
        f"{layer}/{layer}/{name.replace('lstm_cell', 'lstm_cell_1') if '/' in name else 'lstm_cell_1/' + name}:0": a
        for name, a in arrays.items()
    }


def only(path: Path) -> Any:
    (found,) = unilstm.inspect(path)
    assert found.problem is None, found.problem
    return found.spec


def test_keras_2_names_and_its_hard_sigmoid(tmp_path: Path) -> None:
    """hard_sigmoid had a slope of 0.2 up to Keras 2, and has one of 1/6 since Keras 3."""
    config = model(lstm("rnn_1", recurrent_activation="hard_sigmoid"))
    two = legacy(tmp_path / "two.h5", config, tf_names("rnn_1", KERNELS))
    three = legacy(tmp_path / "three.h5", config, tf_names("rnn_1", KERNELS), "3.1.0")
    assert only(two).gate_activation.alpha == 0.2
    assert only(three).gate_activation.alpha == 1 / 6
    np.testing.assert_array_equal(unilstm.load(two)["weight_ih_l0"], KERNELS["kernel"].T)


def test_names_without_a_cell_are_read_as_well(tmp_path: Path) -> None:
    weights = {f"lstm_1/lstm_1/{name}:0": a for name, a in KERNELS.items()}
    assert only(legacy(tmp_path / "m.h5", model(lstm("lstm_1"), kind="Sequential"), weights)).hidden_size == 4


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
def test_a_bidirectional_layer_has_its_merge_mode(tmp_path: Path, mode: str) -> None:
    config = model(both("both", lstm("a"), merge_mode=mode))
    spec = only(legacy(tmp_path / "m.h5", config, tf_names("both", TWO)))
    assert (spec.direction, spec.merge) == ("bidirectional", {"ave": "average"}.get(mode, mode))


def test_go_backwards_bias_and_time_major_come_from_the_configuration(tmp_path: Path) -> None:
    config = model(lstm("rnn_1", go_backwards=True, use_bias=False, time_major=True, activation="relu"))
    weights = {name: a for name, a in KERNELS.items() if name != "bias"}
    spec = only(legacy(tmp_path / "m.h5", config, tf_names("rnn_1", weights)))
    assert (spec.direction, spec.bias, spec.batch_first, spec.cell_activation.name) == (
        "reverse",
        "none",
        False,
        "relu",
    )


def test_a_layer_inside_a_model_inside_a_model_is_found(tmp_path: Path) -> None:
    config = model(model(model(lstm("deep", activation="relu"), name="b"), name="a"))
    weights = {f"a/b/deep/lstm_cell/{name}": a for name, a in KERNELS.items()}
    assert only(legacy(tmp_path / "m.h5", config, weights)).cell_activation.name == "relu"


@pytest.mark.parametrize("read", ["layer_0", "x"])
def test_what_feeds_a_layer_is_read_as_keras_2_writes_it(tmp_path: Path, read: str) -> None:
    layers = [lstm(f"layer_{n}", return_sequences=True) for n in range(2)]
    nodes = [[[[source, 0, 0, {}]]] for source in ("x", read)]
    config = model(*({**layer, "inbound_nodes": node} for layer, node in zip(layers, nodes, strict=True)))
    stack = draw(LSTMSpec(4, 4, bias="single", num_layers=2)).to_layout("keras")
    weights = {f"{name.partition('/')[0]}/{name}": array for name, array in stack.items()}
    found = unilstm.inspect(legacy(tmp_path / "m.h5", config, weights))
    assert [f.prefix for f in found] == ([""] if read == "layer_0" else ["layer_0/", "layer_1/"])


def test_one_dropout_is_translated_and_two_are_said_not_to_be(tmp_path: Path) -> None:
    weights = tf_names("rnn_1", KERNELS)
    spec = only(legacy(tmp_path / "one.h5", model(lstm("rnn_1", recurrent_dropout=0.2)), weights))
    assert (spec.recurrent_dropout, spec.recurrent_dropout_kind) == (0.2, "per-gate")
    two = legacy(tmp_path / "two.h5", model(lstm("rnn_1", recurrent_dropout=0.2, dropout=0.1)), weights)
    assert only(two).recurrent_dropout == 0.0
    assert "dropout=0.1 and recurrent_dropout=0.2 have a mask a gate" in str(unilstm.inspect(two)[0].uncertain)


OTHERS = {
    "keras-cudnn": ("CuDNNLSTM", LSTMSpec(3, 4)),
    "addons-peephole": ("Addons>PeepholeLSTMCell", LSTMSpec(3, 4, bias="single", peephole=True)),
    "addons-layer-norm": (
        "Addons>LayerNormLSTMCell",
        LSTMSpec(3, 4, layer_norm="normalized-state", layer_norm_eps=1e-3),
    ),
}


@pytest.mark.parametrize("layout", OTHERS)
def test_keras_relatives_are_read_in_their_own_layouts(tmp_path: Path, layout: str) -> None:
    """Read as an ordinary LSTM, CuDNNLSTM's kernels give noise."""
    kind, spec = OTHERS[layout]
    own = {**lstm("rnn_1"), "class_name": kind}
    whole = own if layout == "keras-cudnn" else {"class_name": "RNN", "config": {"name": "rnn_1", "cell": own}}
    weights = {f"rnn_1/rnn_1/{name}:0": a for name, a in draw(spec).to_layout(layout).items()}
    path = legacy(tmp_path / "m.h5", model(whole), weights)
    assert [f.layout for f in unilstm.inspect(path)] == [layout]
    assert unilstm.load(path) == draw(spec)


PROBLEMS = {
    "swapped directions": (both("rnn", lstm("a", go_backwards=True)), "its directions are swapped"),
    "unlike directions": (
        both("rnn", lstm("a"), backward_layer=lstm("backward_lstm", activation="relu")),
        "two directions differ",
    ),
    "an own activation": (both("rnn", lstm("a", activation={"class_name": "function"})), "is none of those"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_cannot_be_read_is_named(tmp_path: Path, case: str) -> None:
    layer, message = PROBLEMS[case]
    path = legacy(tmp_path / "m.h5", model(layer), tf_names("rnn", TWO))
    with pytest.raises(CheckpointError, match=message):
        unilstm.load(path)
    assert message in str(unilstm.inspect(path)[0].problem)


def keras_3(path: Path, config: Any, weights: dict[str, Any]) -> Path:
    """A .keras file. weights: by place; a place without arrays is a group with a name."""
    with h5py.File(path.with_suffix(".weights.h5"), "w") as file:
        for place, value in weights.items():
            if isinstance(value, str):
                file.create_group(place).attrs["name"] = value
            else:
                file[place] = value
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.write(path.with_suffix(".weights.h5"), "model.weights.h5")
    return path


def variables(place: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {f"{place}/cell/vars/{n}": a for n, a in enumerate(arrays.values())}


def test_without_names_layers_are_counted_as_keras_counts_them(tmp_path: Path) -> None:
    """Early Keras 3 wrote no names into the file: the second LSTM is lstm_1, whatever it is called."""
    other = {name: a + 1 for name, a in KERNELS.items()}
    weights = {**variables("layers/lstm", KERNELS), **variables("layers/lstm_1", other)}
    path = keras_3(tmp_path / "m.keras", model(lstm("lstm_1"), lstm("lstm", activation="relu")), weights)
    assert unilstm.load(path, prefix="lstm").spec.cell_activation.name == "relu"
    np.testing.assert_array_equal(unilstm.load(path, prefix="lstm")["weight_ih_l0"], other["kernel"].T)


def test_a_cell_in_an_rnn_is_found(tmp_path: Path) -> None:
    config = {
        "name": "rnn",
        "cell": {**lstm("cell", activation="relu"), "class_name": "LSTMCell"},
        "go_backwards": True,
    }
    path = keras_3(
        tmp_path / "m.keras", model({"class_name": "RNN", "config": config}), variables("layers/rnn", KERNELS)
    )
    assert (only(path).cell_activation.name, only(path).direction) == ("relu", "reverse")
