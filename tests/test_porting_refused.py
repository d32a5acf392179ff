"""What unilstm.port cannot say of another system's layer it refuses by name, each time with the next step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.nn.utils import prune

import unilstm
import unilstm.models
from conftest import numbers, require
from porting_layers import (
    F,
    H,
    Layer,
    X,
    built,
    jax,
    jnp,
    keras,
    keras_lstm,
    nn,
    nnx,
    nnx_cell,
    of_equinox,
    sequential,
    torch,
)
from unilstm import LayoutError, LSTMSpec, UnilstmError
from unilstm.compat import torch as compat

require("paddle")
import paddle  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own


class Own(keras.layers.LSTM):  # type: ignore[misc, name-defined]
    def call(self, *args: Any, **kwargs: Any) -> Any:
        return super().call(*args, **kwargs)


class OwnTorch(torch.nn.LSTM):  # type: ignore[misc]
    def forward(self, *args: Any) -> Any:
        return super().forward(*args)


class OwnCell(torch.nn.LSTMCell):  # type: ignore[misc]
    def forward(self, *args: Any) -> Any:
        return super().forward(*args)


def own_paddle() -> Layer:
    class OwnPaddle(paddle.nn.LSTM):  # type: ignore[misc]
        def forward(self, *args: Any) -> Any:
            return super().forward(*args)

    return OwnPaddle(F, H)


def weight_normed() -> Layer:
    return torch.nn.utils.parametrizations.weight_norm(torch.nn.LSTM(F, H), "weight_hh_l0")


def weight_normed_of_old() -> Layer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: there is a newer one
        return torch.nn.utils.weight_norm(torch.nn.LSTM(F, H), "weight_hh_l0")


def pruned() -> Layer:
    return prune.l1_unstructured(torch.nn.LSTM(F, H), "weight_hh_l0", 0.3)


def linen(module: Layer) -> Layer:
    return module.bind({"params": {}})


def keras_both(**config: Any) -> Layer:
    return built(keras.layers.Bidirectional(keras_lstm(), **config))


def with_dense() -> Layer:
    return keras.Sequential([keras.Input((None, F)), keras_lstm(), keras.layers.Dense(2, name="head")])


def unlike() -> Layer:
    return keras_both(backward_layer=keras_lstm(go_backwards=True, activation="relu"))


def mixed() -> Layer:
    return built(keras_lstm(dtype="mixed_bfloat16"))


def two_dropouts() -> Layer:
    return built(keras_lstm(dropout=0.1, recurrent_dropout=0.2))


def stateful() -> Layer:
    layer = built(keras_lstm())
    layer.stateful = True  # built so, it wants the size of the batch
    return layer


def directions() -> Layer:
    return nnx.Bidirectional(nnx.RNN(nnx_cell()), nnx.RNN(nnx_cell(gate_fn=nnx.relu)))


PARAMETRIZED = r"in the place of 'weight_hh_l0' it has '{}'.*remove_parametrizations\(layer, 'weight_hh_l0'\)"
REFUSED: dict[str, tuple[Callable[[], Layer], str]] = {
    "nothing": (object, r"cannot port a builtins\.object\. Give a unilstm layer; torch\.nn\.LSTM"),
    "torch-own-forward": (lambda: OwnTorch(F, H), r"OwnTorch is a torch\.nn\.LSTM with a forward\(\) of its own"),
    "torch-own-cell": (lambda: OwnCell(F, H), r"OwnCell is a torch\.nn\.LSTMCell with a forward\(\) of its own"),
    "torch-bfloat16": (
        lambda: torch.nn.LSTM(F, H).bfloat16(),
        r"'weight_ih_l0' has dtype bfloat16, .*layer\.float\(\)",
    ),
    "torch-meta": (lambda: torch.nn.LSTMCell(F, H, device="meta"), r"'weight_ih' is on .*meta device.*to_empty\("),
    "torch-weight-norm": (weight_normed, PARAMETRIZED.format(r"parametrizations\.weight_hh_l0\.original0")),
    "torch-old-weight-norm": (weight_normed_of_old, PARAMETRIZED.format("weight_hh_l0_g")),
    "torch-pruned": (pruned, PARAMETRIZED.format("weight_hh_l0_orig")),
    "paddle-own-forward": (own_paddle, r"OwnPaddle is a paddle\.nn\.LSTM with a forward\(\) of its own"),
    "paddle-bfloat16": (lambda: paddle.nn.LSTM(F, H).bfloat16(), r"has dtype bfloat16, .*layer\.float\(\)"),
    "keras-gru": (lambda: built(keras.layers.GRU(H)), r"cannot port a keras\.\S*\.GRU\. Give"),
    "keras-unbuilt": (lambda: keras_lstm(name="rnn"), r"'rnn' has no weights yet. Call it once, or layer\.build\("),
    "keras-own-call": (lambda: built(Own(H)), r"Own is a keras\.layers\.LSTM with a call\(\) of its own"),
    "keras-two-dropouts": (two_dropouts, r"dropout=0\.1 and recurrent_dropout=0\.2 have a mask a gate .*Build the"),
    "keras-a-mask-a-gate": (lambda: built(keras_lstm(dropout=0.1, implementation=1)), r"implementation=1 .*Build it"),
    "keras-stateful": (stateful, r"stateful=True .*Set layer\.stateful = False"),
    "keras-regularizer": (lambda: built(keras_lstm(kernel_regularizer="l2")), r"kernel_regularizer=.*Set it to None"),
    "keras-constraint": (lambda: built(keras_lstm(bias_constraint="max_norm")), r"bias_constraint=.*Set it to None"),
    "keras-dtype": (mixed, r"dtype='bfloat16' computes in another dtype than that of its weights, float32\. Set it"),
    "keras-activation": (lambda: built(keras_lstm(activation="gelu")), r"activation='gelu' is none of those .*'tanh'"),
    "keras-merge": (lambda: keras_both(merge_mode=None), r"merge_mode=None gives two .*Set layer\.merge_mode"),
    "keras-directions": (unlike, r"two directions differ in their arguments"),
    "keras-other-layer": (with_dense, r"has a layer 'head', a Dense, which is no LSTM\. Port a list"),
    "linen-unbound": (lambda: nn.RNN(nn.LSTMCell(H)), r"this RNN has no parameters.*Give module\.bind\(variables\)"),
    "linen-gru": (lambda: linen(nn.RNN(nn.GRUCell(H))), r"cannot port a flax\.linen\.recurrent\.RNN"),
    "linen-activation": (
        lambda: linen(nn.RNN(nn.LSTMCell(H, activation_fn=lambda x: x))),
        r"activation_fn=<function .*is none of the functions of jax\.nn that unilstm has: tanh, .*Give one of these",
    ),
    "linen-dtype": (lambda: linen(nn.RNN(nn.LSTMCell(H, dtype=jnp.bfloat16))), r"dtype='bfloat16' .*Leave it out"),
    "linen-merge": (
        lambda: linen(nn.Bidirectional(*(nn.RNN(nn.LSTMCell(H)) for _ in range(2)), merge_fn=lambda a, b: a + b)),
        r"merge_fn=<function .*Leave it out",
    ),
    "nnx-carry": (
        lambda: nnx.RNN(nnx_cell(carry_init=jax.nn.initializers.ones)),
        r"carry_init=<function ones.*is not 0\. Leave it out",
    ),
    "nnx-promote": (lambda: nnx_cell(promote_dtype=lambda *a, **k: a), r"promote_dtype=<function .*Leave it out"),
    "nnx-directions": (directions, r"two directions of a Bidirectional differ, .*'sigmoid'.*'relu'"),
    "mapping": (
        lambda: {"kernel": X},
        r"a mapping of arrays says nothing.*Read them with unilstm\.",
    ),
    "haiku-two": (
        lambda: {f"lstm{n}/linear": {"w": numbers(F + H, 4 * H), "b": numbers(4 * H)} for n in ("", "_1")},
        r"hold 2 LSTMs, at 'lstm/', 'lstm_1/'\. Port one",
    ),
    "stack-sizes": (lambda: [of_equinox()[0], of_equinox()[0]], r"layer 1 takes 4 features, .* gives 3\. Give the"),
    "stack-reverse": (
        lambda: [built(keras_lstm(go_backwards=True), size) for size in (F, H)],
        r"layer 0 has direction='reverse': .*Port it by itself",
    ),
    "stack-of-stacks": (lambda: [sequential(), of_equinox()[0]], r"layer 0 is itself a stack of 2\. Port it by itself"),
}


@pytest.mark.filterwarnings("ignore:carry_init is provided:UserWarning")  # flax's own
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_by_name(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(UnilstmError, match=message):
        unilstm.port(make(), to="numpy")


@pytest.mark.parametrize("backend", ["torch", "paddle"])
@pytest.mark.parametrize("make", [unilstm.LSTM, compat.LSTM], ids=["layer", "drop-in"])
def test_a_layer_in_bfloat16_says_so_when_its_weights_are_asked_for(
    make: Callable[..., Layer], backend: str, tmp_path: Path
) -> None:
    require(backend)
    layer = make(F, H, backend=backend).bfloat16()
    for use in (
        layer.weights,
        lambda: unilstm.port(layer, to="numpy"),
        lambda: unilstm.save(layer, tmp_path / "m.npz"),
    ):
        with pytest.raises(LayoutError, match=r"has dtype bfloat16, which NumPy does not have.*layer\.float\(\)"):
            use()
    assert unilstm.port(layer.float(), to="numpy").weights() == layer.weights()


def test_a_model_in_bfloat16_says_so_when_its_weights_are_asked_for() -> None:
    model = unilstm.models.LanguageModel(LSTMSpec(F, H), vocab_size=5, d_emb=F, backend="torch").bfloat16()
    with pytest.raises(LayoutError, match=r"has dtype bfloat16, which NumPy does not have.*layer\.float\(\)"):
        model.weights()


def test_a_subclass_that_computes_nothing_of_its_own_is_ported() -> None:
    class Named(torch.nn.LSTM):  # type: ignore[misc]
        """No forward."""

    class Ours(compat.LSTM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    assert unilstm.port(Named(F, H), to="numpy").spec == unilstm.port(Ours(F, H), to="numpy").spec
