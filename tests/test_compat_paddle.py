"""compat.paddle.LSTM beside paddle.nn.LSTM: the documented example, outputs, states, gradients, ParamAttr, state_dict,
and what the original cannot do."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import unilstm
from compat_cases import Ported, arrays, paddle_dtype
from conftest import close, numbers, require
from unilstm.compat.paddle import LSTM, ParamAttr

require("paddle")
import paddle  # noqa: E402
from paddle.nn import initializer  # noqa: E402

CONFIGS: list[dict[str, Any]] = [
    {},
    {"num_layers": 3, "time_major": True},
    {"num_layers": 2, "direction": "bidirect", "dropout": 0.3},
    {"direction": "bidirectional"},
    {"num_layers": 2, "proj_size": 3},
]


def pair(**config: Any) -> tuple[Any, Any]:
    """The original and the drop-in, made after the same paddle.seed; float64, evaluating."""
    made = []
    for cls in (paddle.nn.LSTM, LSTM):
        paddle.seed(3)
        with paddle_dtype():
            layer = cls(4, 6, **config)
        layer.eval()
        made.append(layer)
    return made[0], made[1]


def given(config: dict[str, Any], rows: int = 3, steps: int = 5) -> dict[str, Any]:
    lead = config.get("num_layers", 1) * (2 if config.get("direction", "forward") != "forward" else 1)
    shape = (steps, rows, 4) if config.get("time_major") else (rows, steps, 4)
    sizes = {"x": shape, "h": (lead, rows, config.get("proj_size") or 6), "c": (lead, rows, 6)}
    return {name: numbers(*size, stream=n) for n, (name, size) in enumerate(sizes.items())}


def gradients(layer: Any, outputs: list[Any], inputs: dict[str, Any]) -> dict[str, Any]:
    total = sum((out * paddle.to_tensor(numbers(*out.shape, stream=9))).sum() for out in outputs)
    # By the cells' names: those of the original's aliases may be of other tensors.
    cells = {f"{k}.{name}": p for k, cell in layer.named_children() for name, p in cell.named_parameters()}
    wanted = {**inputs, **{name: p for name, p in cells.items() if not p.stop_gradient}}
    found = paddle.grad([total], list(wanted.values()), allow_unused=True)
    return {name: None if g is None else g.numpy() for name, g in zip(wanted, found, strict=True)}


EXAMPLE = """
rnn = LSTM(16, 32, 2)

x = paddle.randn((4, 23, 16))
prev_h = paddle.randn((2, 4, 32))
prev_c = paddle.randn((2, 4, 32))
y, (h, c) = rnn(x, (prev_h, prev_c))
shapes = y.shape, h.shape, c.shape
"""


def test_the_documented_example_gives_the_same_tensors() -> None:
    found = []
    for lstm in (LSTM, paddle.nn.LSTM):
        scope: dict[str, Any] = {"paddle": paddle, "LSTM": lstm}
        paddle.seed(0)
        exec(EXAMPLE, scope)
        found.append(scope)
    assert found[0]["shapes"] == ([4, 23, 32], [2, 4, 32], [2, 4, 32]) == found[1]["shapes"]
    for name in ("y", "h", "c"):
        close(found[0][name].numpy(), found[1][name].numpy(), 1e-6)


@pytest.mark.filterwarnings("ignore:(.|\n)*sequence_mask")  # the original's own call of what it deprecates
@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("form", ["plain", "state", "lengths"])
def test_outputs_states_and_gradients_are_paddles(config: dict[str, Any], form: str) -> None:
    theirs, ours = pair(**{**config, "dropout": 0.0})
    arrays_in, found = given(config), []
    for layer in (theirs, ours):
        layer.train()  # the original's gradient fails in evaluation mode
        inputs = {name: paddle.to_tensor(value, stop_gradient=False) for name, value in arrays_in.items()}
        if form == "plain":
            y, (h, c) = layer(inputs["x"])
            inputs = {"x": inputs["x"]}
        else:
            lengths = paddle.to_tensor([5, 2, 4] if form == "lengths" else [5, 5, 5])
            y, (h, c) = layer(inputs["x"], (inputs["h"], inputs["c"]), lengths if form == "lengths" else None)
        if form == "lengths" and config.get("proj_size"):  # the original's outputs past a length are garbage then
            y = paddle.where((paddle.arange(5)[None, :] < lengths[:, None])[:, :, None], y, paddle.zeros_like(y))
        found.append(([y.numpy(), h.numpy(), c.numpy()], gradients(layer, [y, h, c], inputs)))
    for ours_out, theirs_out in zip(found[1][0], found[0][0], strict=True):
        close(ours_out, theirs_out, 1e-13)
    assert list(found[1][1]) == list(found[0][1])
    for name, grad in found[0][1].items():
        # The original's gradient of this one is wrong with ragged lengths: tests/test_paddle.py.
        if not (form == "lengths" and "cell_bw.weight_hh" in name):
            close(found[1][1][name], grad, 1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_any_other_backend_gives_paddles_numbers(backend: str, config: dict[str, Any]) -> None:
    theirs, _ = pair(**config)
    values = given(config)
    cells = {name: value for name, value in arrays(theirs).items() if ".cell" in name}
    ported = Ported(backend, LSTM, 4, 6, tensors=cells, **config)
    y, (h, c) = ported(values["x"], (values["h"], values["c"]))
    expected, (h_n, c_n) = theirs(
        *map(paddle.to_tensor, [values["x"]]), tuple(map(paddle.to_tensor, list(values.values())[1:]))
    )
    close(y, expected.numpy(), 1e-13)
    close(h, h_n.numpy(), 1e-13)
    close(c, c_n.numpy(), 1e-13)
    assert list(ported.layer.weight_ih_l0.shape) == [24, 4]


@pytest.mark.parametrize("config", [c for c in CONFIGS if "proj_size" not in c], ids=str)
def test_state_dicts_go_both_ways_with_both_sets_of_names(config: dict[str, Any]) -> None:
    theirs, ours = pair(**config)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with paddle_dtype():
        other, back = LSTM(4, 6, seed=9, **config), paddle.nn.LSTM(4, 6, **config)
    back.set_state_dict(ours.state_dict())
    for kept in ("cells", "aliases", "both"):
        state = {k: v for k, v in theirs.state_dict().items() if kept == "both" or (".cell" in k) == (kept == "cells")}
        other = LSTM(4, 6, seed=9, dtype="float64", **config)
        assert other.set_state_dict(state) == ([], [])
        for name, value in theirs.state_dict().items():
            close(other.state_dict()[name].numpy(), value.numpy(), 0.0)


def test_a_projected_layers_state_dict_is_read_by_the_names_that_are_right() -> None:
    theirs, ours = pair(num_layers=2, proj_size=3)
    assert theirs.state_dict()["weight_ih_l1"].shape == [6, 3]  # the original's alias of another tensor
    assert ours.state_dict()["weight_ih_l1"].shape == [24, 3]
    other = LSTM(4, 6, 2, proj_size=3, seed=9, dtype="float64")
    cells = {k: v for k, v in theirs.state_dict().items() if ".cell" in k}
    assert other.set_state_dict(cells) == ([], [])
    x = paddle.to_tensor(given({})["x"])
    close(other(x)[0].numpy(), theirs(x)[0].numpy(), 1e-13)


@pytest.mark.parametrize("backend", ["torch", "jax", "numpy"])
def test_a_whole_state_dict_loads_elsewhere_aliases_and_all(backend: str) -> None:
    theirs, _ = pair(num_layers=2)
    state = arrays(theirs)
    for kept in ("cells", "aliases", "both"):
        some = {k: v for k, v in state.items() if kept == "both" or (".cell" in k) == (kept == "cells")}
        ported = Ported(backend, LSTM, 4, 6, 2, tensors=some)
        close(ported.layer.weights()["weight_hh_l1"], state["1.cell.weight_hh"], 0.0)


@pytest.mark.parametrize("backend", ["paddle", "torch", "numpy", "jax"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("off", [("bias_ih",), ("bias_hh",), ("bias_ih", "bias_hh")], ids="+".join)
def test_biases_off_work_where_the_original_crashes(backend: str, layers: int, off: tuple[str, ...]) -> None:
    lstm = LSTM(4, 6, layers, backend=backend, seed=1, **{f"{role}_attr": False for role in off})
    weights = lstm.weights()
    for role in ("bias_ih", "bias_hh"):
        assert bool(np.any(weights[f"{role}_l{layers - 1}"])) is (role not in off)
    x = numbers(3, 5, 4, dtype="float32")
    expected = unilstm.LSTM(weights, backend="numpy")(x)[0]
    y = lstm(require(backend).tensor(x))[0]
    close(np.asarray(y.tolist()), expected, 1e-6)
    trained = {name for name, p in getattr(lstm, "named_parameters", dict)() if _is_trained(p)}
    assert not any(role in name for name in trained for role in off)


def _is_trained(p: Any) -> bool:
    return p.requires_grad if hasattr(p, "requires_grad") else not p.stop_gradient


def test_an_off_bias_is_zeros_in_the_state_dict_as_there() -> None:
    with paddle_dtype():
        theirs = paddle.nn.LSTM(4, 6, bias_ih_attr=False)
    ours = LSTM(4, 6, bias_ih_attr=False, dtype="float64")
    names = {name for name in theirs.state_dict() if ".cell" in name}
    assert names <= set(ours.state_dict())
    assert ours.bias_ih_l0.stop_gradient
    assert not np.any(ours.bias_ih_l0.numpy())
    ours.set_state_dict({name: theirs.state_dict()[name] for name in names})


def test_jax_does_not_train_what_is_off_or_frozen() -> None:
    require("jax")
    import jax

    lstm = LSTM(4, 6, backend="jax", seed=1, bias_ih_attr=False, weight_hh_attr=ParamAttr(trainable=False))
    x = numbers(3, 5, 4, dtype="float32")
    grads = jax.jit(jax.grad(lambda layer: (layer(x)[0] ** 2).sum()))(lstm).params
    for name, grad in grads.items():
        assert bool(np.any(grad)) is (name not in ("0.cell.bias_ih", "0.cell.weight_hh")), name


def test_param_attrs_are_obeyed_as_there() -> None:
    regularizer = paddle.regularizer.L2Decay(0.1)
    attrs = {
        "weight_ih_attr": paddle.ParamAttr(
            initializer=initializer.Normal(0.0, 0.5), learning_rate=0.25, regularizer=regularizer
        ),
        "weight_hh_attr": initializer.Uniform(-0.3, 0.3),
        "bias_ih_attr": paddle.ParamAttr(trainable=False, need_clip=False),
        "bias_hh_attr": initializer.Constant(2.0),
    }
    theirs, ours = pair(**attrs)
    of_theirs = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        other = of_theirs[name]
        close(p.numpy(), other.numpy(), 0.0)
        assert p.optimize_attr == other.optimize_attr
        assert (p.stop_gradient, p.trainable, p.need_clip) == (other.stop_gradient, other.trainable, other.need_clip)
        assert (p.regularizer is None) == (other.regularizer is None)
    assert LSTM(4, 6, weight_hh_attr="mine").weight_hh_l0.name == "mine"
    assert isinstance(ours.weight_ih_l0.regularizer, paddle.regularizer.L2Decay)


def test_a_name_that_several_would_share_tells_them_apart() -> None:
    ours = LSTM(4, 6, 2, direction="bidirect", weight_ih_attr="shared")
    assert [p.name for n, p in ours.named_parameters() if "weight_ih" in n] == [
        "shared_l0", "shared_l0_reverse", "shared_l1", "shared_l1_reverse",
    ]  # fmt: skip
    optimiser = paddle.optimizer.Adam(0.01, parameters=ours.parameters())
    ours(paddle.to_tensor(numbers(3, 5, 4, dtype="float32")))[0].square().sum().backward()
    optimiser.step()  # keeps its state by the parameter's name


@pytest.mark.parametrize("backend", ["torch", "jax", "numpy"])
def test_param_attrs_on_other_backends(backend: str) -> None:
    lstm = LSTM(
        4, 6, backend=backend, weight_ih_attr=initializer.Constant(0.5), bias_ih_attr=ParamAttr(initializer=np.ones)
    )
    assert np.all(lstm.weights()["weight_ih_l0"] == 0.5)
    assert np.all(lstm.weights()["bias_ih_l0"] == 1.0)
    for attr, field in ((ParamAttr(learning_rate=0.5), "learning_rate"), ("mine", "name")):
        with pytest.raises(unilstm.SpecError, match=f"weight_hh_attr has {field}="):
            LSTM(4, 6, backend=backend, weight_hh_attr=attr)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"direction": "backward"}, "direction='backward'"),
        ({"proj_size": 6}, "proj_size=6 must be smaller than hidden_size=6"),
        ({"weight_ih_attr": 3}, "weight_ih_attr=3 is no ParamAttr"),
        ({"weight_ih_attr": lambda shape: np.ones(3)}, r"gave shape \[3\], but must give \[24, 4\]"),
    ],
    ids=["direction", "proj_size", "attr", "initializer"],
)
def test_what_cannot_be_is_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(unilstm.UnilstmError, match=message):
        LSTM(4, 6, **kwargs)


def test_attributes_are_paddles_and_settled() -> None:
    config = {"num_layers": 2, "time_major": True, "dropout": 0.2, "direction": "bidirect"}
    theirs, ours = pair(**config)
    names = ("input_size", "hidden_size", "num_layers", "time_major", "dropout", "num_directions", "proj_size", "mode")
    for name in (*names, "state_components"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert LSTM(4, 6, name="mine").name == "mine"
    with pytest.raises(AttributeError, match="dropout"):
        ours.dropout = 0.5
    with pytest.warns(UserWarning, match="dropout=0.5 acts between layers"):
        LSTM(4, 6, dropout=0.5)


def test_it_is_a_layer_that_copies_and_becomes_static() -> None:
    ours = LSTM(4, 6, 2, seed=1)
    ours.eval()
    x = paddle.to_tensor(numbers(3, 5, 4, dtype="float32"))
    expected = ours(x)[0].numpy()
    assert isinstance(ours, paddle.nn.Layer)
    assert isinstance(ours, LSTM)
    close(copy.deepcopy(ours)(x)[0].numpy(), expected, 0.0)
    spec = [paddle.static.InputSpec([3, 5, 4], "float32")]
    close(paddle.jit.to_static(ours, input_spec=spec, full_graph=True)(x)[0].numpy(), expected, 1e-6)
    close(unilstm.port(ours, "numpy")(x.numpy())[0], expected, 1e-6)
    ours.to(dtype="float64")
    assert ours(x.astype("float64"))[0].dtype == paddle.float64


def test_training_follows_paddles_generator() -> None:
    ours = LSTM(4, 6, 2, dropout=0.5, seed=1)
    x = paddle.to_tensor(numbers(3, 5, 4, dtype="float32"))
    found = []
    for seed in (1, 1, 2):
        paddle.seed(seed)
        found.append(ours(x)[0].numpy())
    close(found[0], found[1], 0.0)
    assert np.abs(found[0] - found[2]).max() > 1e-3
