"""What holds of every drop-in class: nothing is imported early, the documentation runs, plugins, copies, saving."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import BACKENDS, close, numbers, require
from unilstm import plugins
from unilstm.compat import allennlp, arraylstm, haste, keras, lmp
from unilstm.compat import paddle as paddle_compat
from unilstm.compat import torch as torch_compat
from unilstm.compat.dropin import DropIn

PAGE = (Path(__file__).parent.parent / "docs" / "compat.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MODULES = ("torch", "paddle", "keras", "allennlp", "arraylstm", "lmp", "haste")

# Every class, with arguments for input of 4 features, batch first.
MADE: dict[str, Any] = {
    "torch.LSTM": lambda **k: torch_compat.LSTM(4, 6, 2, batch_first=True, **k),
    "paddle.LSTM": lambda **k: paddle_compat.LSTM(4, 6, 2, direction="bidirect", **k),
    "keras.LSTM": lambda **k: keras.LSTM(6, input_size=4, return_sequences=True, **k),
    "keras.Bidirectional": lambda **k: keras.Bidirectional(keras.LSTM(6, input_size=4, return_sequences=True, **k)),
    "allennlp.StackedAlternatingLstm": lambda **k: allennlp.StackedAlternatingLstm(4, 6, 2, **k),
    "allennlp.AugmentedLstm": lambda **k: allennlp.AugmentedLstm(4, 6, False, **k),
    "allennlp.BiAugmentedLstm": lambda **k: allennlp.BiAugmentedLstm(4, 6, 2, bidirectional=True, **k),
    "allennlp.StackedBidirectionalLstm": lambda **k: allennlp.StackedBidirectionalLstm(4, 6, 2, **k),
    "arraylstm.AttentionArrayLSTM": lambda **k: arraylstm.AttentionArrayLSTM(4, 6, 3, **k),
    "lmp.LSTM2002Layer": lambda **k: lmp.LSTM2002Layer(in_feat=4, n_blk=2, d_blk=3, **k),
    "haste.LayerNormLSTM": lambda **k: haste.LayerNormLSTM(4, 6, batch_first=True, **k),
}


@pytest.fixture(params=MADE)
def make(request: pytest.FixtureRequest) -> Any:
    return MADE[request.param]


def test_importing_all_of_it_imports_no_framework() -> None:
    names = ", ".join(f"unilstm.compat.{name}" for name in MODULES)
    code = f"import sys, {names}; print([m for m in ('torch', 'paddle', 'jax', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_pages_examples_run(number: int) -> None:
    for backend in ("torch", "jax"):
        require(backend)
    exec(compile(EXAMPLES[number], "compat.md", "exec"), {})


def test_the_page_names_every_class() -> None:
    shared = ("DropIn", "KerasLayer", "Augmented")
    for module in (torch_compat, paddle_compat, keras, allennlp, arraylstm, lmp, haste):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, DropIn) and name not in shared and name[0] != "_":
                assert f"`{name}`" in PAGE, f"{module.__name__}.{name}"


def outputs(layer: Any, x: Any) -> Any:
    """The first thing a call returns, as a NumPy array, in evaluation."""
    found = require(layer.backend)
    if hasattr(layer, "eval"):
        layer.eval()
    y = layer(found.tensor(x))
    return found.array(y[0] if isinstance(y, tuple) else y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_is_of_its_class_copies_pickles_and_ports(make: Any, backend: str) -> None:
    require(backend)
    layer = make(backend=backend, seed=1)
    x = numbers(3, 5, 4, dtype="float32")
    expected = outputs(layer, x)
    assert layer.backend == backend
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(other) is type(layer)
        close(outputs(other, x), expected, 0.0)
    assert type(layer).__name__ in repr(layer)
    plain = unilstm.port(layer, "numpy")
    y, _, c = plain(x, return_cell_sequence=True)
    if isinstance(layer, lmp.LSTM1997Layer):
        close(expected.reshape(3, 5, 6), c, 2e-6)
    else:
        close(expected, y, 2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seed_gives_the_same_tensors_everywhere(make: Any, backend: str) -> None:
    require(backend)
    ours, numpy = make(backend=backend, seed=3), make(backend="numpy", seed=3)
    assert ours.weights() == numpy.weights()
    different = make(backend="numpy", seed=4).weights()
    assert any(not np.array_equal(different[name], value) for name, value in numpy.weights().items())


def test_its_weights_save_and_load(make: Any, tmp_path: Path) -> None:
    layer = make(backend="numpy", seed=1)
    unilstm.save(layer.weights(), tmp_path / "lstm.safetensors")
    assert unilstm.load(tmp_path / "lstm.safetensors") == layer.weights()


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_a_state_dict_that_does_not_fit_changes_nothing(make: Any, backend: str) -> None:
    require(backend)
    layer = make(backend=backend, seed=1)
    state = layer.state_dict()
    first = next(iter(state))
    wrong = [
        ({k: v for k, v in state.items() if k != first}, "is missing from the state_dict"),
        ({**state, "other.weight": np.zeros(1)}, "'other.weight' is not a tensor of this layer"),
        ({**state, first: np.zeros((9, 9, 9))}, "has shape [9, 9, 9]"),
    ]
    for given, message in wrong:
        with pytest.raises(unilstm.LayoutError, match=re.escape(message)):
            layer.load_state_dict({name: np.array(value) + 1 for name, value in given.items()})
        for name, value in layer.state_dict().items():
            close(value, state[name], 0.0)


def test_a_backend_without_stored_layers_says_so() -> None:
    bare = SimpleNamespace(name="bare", distribution="numpy", extra="", load=lambda: None)

    class Plugin:
        @unilstm.hookspecs.hookimpl
        def unilstm_backend(self, spec_version: int) -> Any:
            return bare

    plugins.register(Plugin(), "bare")
    try:
        with pytest.raises(
            unilstm.BackendUnavailable, match="backend='bare' has no stored layers, which LSTM is made of"
        ):
            torch_compat.LSTM(4, 6, backend="bare")
    finally:
        plugins.unregister("bare")
