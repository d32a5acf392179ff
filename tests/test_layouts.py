"""Layouts give back what they were given, bit for bit, or say by name what they cannot hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import unilstm
from layout_cases import directions, own_fields, usual
from unilstm import LossyConversion, LSTMSpec, SpecError, UnsupportedByLayout, Weights, layouts
from unilstm.layouts.losses import LOSSES, hold
from unilstm.parameters import parameters

pytestmark = pytest.mark.filterwarnings("error")

Mapping = dict[str, Any]
NAMES = layouts.names()
NEEDED = [("elmo", "residual"), ("allennlp-projection", "residual")]  # refused although it is as usual, of a stack


def drawn(spec: LSTMSpec, seed: int = 0, dtype: str = "float32") -> Weights:
    """Weights with every bit pattern that makes trouble: signed zeros, subnormals, infinities, not-a-number."""
    rng = np.random.default_rng(seed)
    odd = [0.0, -0.0, 1.0, -1.0, 1e-40, np.inf, -np.inf, np.nan]
    arrays = {}
    for name, p in parameters(spec).items():
        values = rng.standard_normal(p.shape)
        arrays[name] = np.where(rng.random(p.shape) < 0.1, rng.choice(odd, p.shape), values).astype(dtype)
    return Weights(spec, arrays)


def plain(spec: LSTMSpec) -> Weights:
    return Weights.initial(spec, 0)


# Round trips.

ACTIVATIONS: list[Any] = ["tanh", "sigmoid", "relu", "affine", "softsign", "elu", "softplus", ("leaky_relu", 0.2)]
ACTIVATIONS += [("hard_sigmoid", 1 / 6, 0.5), ("hard_sigmoid", 0.2, 0.5)]
ACTIVATIONS += [("scaled_tanh", 1.7159, 2 / 3), ("thresholded_relu", 0.3)]
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "num_layers": st.integers(1, 3),
    "direction": st.sampled_from(["forward", "reverse", "bidirectional", "bidirectional", "alternating"]),
    "merge": st.sampled_from(["concat", "sum", "mul", "average"]),
    "batch_first": st.booleans(),
    "bias": st.sampled_from(["double", "single", "none"]),
    "proj_size": st.integers(0, 3),
    "coupled_gates": st.booleans(),
    "peephole": st.booleans(),
    "gate_activation": st.sampled_from(ACTIVATIONS),
    "cell_activation": st.sampled_from(ACTIVATIONS),
    "output_activation": st.sampled_from(ACTIVATIONS),
    "gate_clip": st.sampled_from([0.0, 0.3, 50.0]),
    "cell_clip": st.sampled_from([0.0, 3.0]),
    "proj_clip": st.sampled_from([0.0, 2.0]),
    "learned_state": st.booleans(),
    "dropout": st.sampled_from([0.0, 0.25]),
    "gates": st.lists(st.sampled_from(["input", "forget", "output"]), unique=True),
    "highway": st.booleans(),
    "residual": st.booleans(),
    "num_blocks": st.integers(0, 3),
    "lanes": st.integers(1, 3),
    "lane_pooling": st.sampled_from(["sum", "argmax", "attention", "attention-max"]),
    "layer_norm": st.sampled_from(["none", "joint", "per-gate", "normalized-state"]),
    "layer_norm_eps": st.sampled_from([1e-5, 1e-3]),
    "gate_recurrence": st.booleans(),
    "input_dropout": st.sampled_from([0.0, 0.2]),
    "recurrent_dropout": st.sampled_from([0.0, 0.4]),
    "recurrent_dropout_kind": st.sampled_from(["state", "per-gate", "candidate"]),
    "weight_dropout": st.sampled_from([0.0, 0.3]),
    "zoneout_hidden": st.sampled_from([0.0, 0.1]),
    "zoneout_cell": st.sampled_from([0.0, 0.5]),
    "cell": st.sampled_from(["lstm", "slstm", "minlstm"]),
    "num_heads": st.integers(1, 2),
    "exponential_forget": st.booleans(),
}


def test_every_field_is_drawn() -> None:
    assert FIELDS.keys() | {"input_size", "hidden_size"} == {f.name for f in dataclasses.fields(LSTMSpec)}


@st.composite
def specs(draw: st.DrawFn, name: str) -> LSTMSpec:
    """Any spec, most with few fields beside those that the layout holds."""
    chosen = draw(st.lists(st.sampled_from(own_fields(name)), max_size=5, unique=True))
    chosen += draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=2, unique=True)) * draw(st.booleans())
    units = draw(st.integers(1, 5))
    fields = usual(name) | {"bias": draw(FIELDS["bias"])} | {field: draw(FIELDS[field]) for field in chosen}
    if fields.get("cell_activation") and draw(st.booleans()):
        fields["output_activation"] = fields["cell_activation"]
    sizes = {"input_size": draw(st.integers(1, 5)), "hidden_size": units * (fields.get("num_blocks") or 1)}
    try:
        return LSTMSpec(**sizes, **fields)
    except SpecError:
        return LSTMSpec(4, 6, **usual(name))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=100)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["float16", "float32", "float64"]))
def test_round_trip_is_exact_or_refused_by_name(name: str, data: st.DataObject, seed: int, dtype: str) -> None:
    spec = data.draw(specs(name))
    with np.errstate(all="ignore"):
        weights = drawn(spec, seed, dtype)
        try:
            mapping = weights.to_layout(name, prefix="rnn.")
        except UnsupportedByLayout as problem:
            event("unsupported")
            field = str(problem).split("=")[0]
            plainest = getattr(LSTMSpec(6, 6, **usual(name)), field)
            if getattr(spec, field) == plainest and (name, field) not in NEEDED:
                raise AssertionError(f"{field} is as usual, but refused") from problem
            return
        except LossyConversion as problem:
            event("lossy")
            message = str(problem)
            lost = tuple(loss for loss in LOSSES if f"{loss} (" in message)
            assert lost
            losses = hold(layouts.get(name), spec).losses
            assert set(lost) - {"forget-offset"} == set(losses)
            assert all(f"{loss} ({what}" in message for loss, what in losses.items())
            mapping = weights.to_layout(name, prefix="rnn.", allow=lost)
            weights = Weights.from_layout(name, mapping, prefix="rnn.", **weights.layout_config(name))
            assert weights.spec == hold(layouts.get(name), spec).spec
            left = ("forget-offset", "fixed-state")  # what is left is held exactly
            mapping = weights.to_layout(name, prefix="rnn.", allow=left)
        if any(form.forget_offset for form in layouts.get(name).forms) and not exact_offset(weights):
            event("inexact")
            return
        event("exact")
        assert Weights.from_layout(name, mapping, prefix="rnn.", **weights.layout_config(name)) == weights
        assert all(array.dtype == dtype for array in mapping.values())


def exact_offset(weights: Weights) -> bool:
    one = np.dtype(weights.dtype).type(1)
    biases = [a.reshape(4, -1)[1] for name, a in weights.items() if name.startswith("bias")]
    return all(((b - one) + one).tobytes() == b.tobytes() for b in biases)


STACKS = [(name, count, way) for name in NAMES for count in (1, 3) for way in directions(name, count)]


@pytest.mark.parametrize(("name", "num_layers", "direction"), STACKS)
def test_every_layout_holds_its_stacks_and_directions(name: str, num_layers: int, direction: str) -> None:
    fields = usual(name, num_layers) | {"direction": direction}
    # Keras's initial forget biases haiku's offset leaves exact.
    weights = Weights.initial(LSTMSpec(3, 4, **fields), 1, init="keras", dtype="float64")
    mapping = weights.to_layout(name, prefix="model/encoder.")
    assert Weights.from_layout(name, mapping, prefix="model/encoder.", **weights.layout_config(name)) == weights
    if name != "jax-cudnn":
        shapes = {"model/embedding": (10, 3)} | {k: a.shape for k, a in mapping.items()}
        (found,) = layouts.find(shapes)
        assert found.layout == name or f"layout={name!r} settles it" in str(found.uncertain)
        assert found.names == tuple(mapping)
        assert "model/encoder." in found.prefix
        assert Weights.from_layout(name, mapping, prefix=found.prefix, **weights.layout_config(name)) == weights


def test_chain_through_five_systems() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True).double()
    start = Weights.from_layout("torch", lstm.state_dict(), batch_first=True)
    weights = start
    for name, allow in [
        ("torch", ()),
        ("paddle", ()),
        ("jax-cudnn", ()),
        ("keras", "merge-biases"),
        ("onnx", "split-bias"),
        ("torch", ()),
    ]:
        mapping = weights.to_layout(name, allow=allow)
        weights = Weights.from_layout(name, mapping, **weights.layout_config(name))
        if name == "jax-cudnn":
            assert weights == start
    for name in start:
        if name.startswith("weight"):
            assert weights[name].tobytes() == start[name].tobytes()
    x = np.random.default_rng(0).standard_normal((3, 5, 4))
    expected, _ = lstm(torch.tensor(x))
    lstm.load_state_dict({name: torch.tensor(array) for name, array in weights.to_layout("torch").items()})
    assert np.abs((lstm(torch.tensor(x))[0] - expected).detach().numpy()).max() <= 2**-50
    y, _ = unilstm.LSTM(weights)(x)
    assert np.abs(y - expected.detach().numpy()).max() <= 2**-48


# The tables themselves.


def test_a_spec_is_read_from_shapes() -> None:
    shapes = {"weight_ih_l0": (24, 4), "weight_hh_l0": (24, 3), "weight_hr_l0": (3, 6)}
    spec = layouts.get("torch").spec({"batch_first": True}, shapes)
    assert spec == LSTMSpec(4, 6, proj_size=3, bias="none")


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_those_of_the_table(name: str) -> None:
    """No field of a spec is covered but by an argument, and every layout says where it is from."""
    layout = layouts.get(name)
    assert layout.name == name
    assert layout.source
    assert layout.notes
    accepted = {argument for entry in layout.arguments for argument in entry.names}
    for direction in directions(name, 1):
        spec = LSTMSpec(4, 6, direction=direction, batch_first=False, **usual(name))
        assert layout.config(spec).keys() <= accepted
    known = {field.name for field in dataclasses.fields(LSTMSpec)} | {"form", "forget_offset", "added"}
    assert {field for entry in layout.arguments for field in entry.fields} <= known


def test_what_is_written_is_the_callers_own() -> None:
    weights = plain(LSTMSpec(4, 6))
    mapping = weights.to_layout("torch")
    mapping["weight_ih_l0"][:] = 0
    assert weights == plain(LSTMSpec(4, 6))
    before = {name: array.copy() for name, array in mapping.items()}
    again = Weights.from_layout("torch", mapping)
    mapping["weight_hh_l0"][:] = 0
    assert np.array_equal(again["weight_hh_l0"], before["weight_hh_l0"])


def test_numbers_of_another_byte_order() -> None:
    weights = plain(LSTMSpec(4, 6, batch_first=False))
    swapped = {name: array.astype(">f4") for name, array in weights.to_layout("torch").items()}
    assert Weights.from_layout("torch", swapped) == weights


# The systems' own objects.

OWN: list[Mapping] = [
    {},
    {"num_layers": 3},
    {"direction": "bidirectional"},
    {"num_layers": 2, "direction": "bidirectional"},
    {"num_layers": 2, "proj_size": 3},
    {"num_layers": 2, "direction": "bidirectional", "proj_size": 2},
]


@pytest.mark.parametrize("fields", OWN, ids=str)
def test_state_dict_is_that_of_torch(fields: Mapping) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed", exc_type=ImportError)
    weights = plain(LSTMSpec(4, 6, **fields))
    lstm = torch.nn.LSTM(**weights.layout_config("torch"))
    own = weights.to_layout("torch")
    assert [(k, tuple(v.shape)) for k, v in lstm.state_dict().items()] == [(k, a.shape) for k, a in own.items()]
    assert Weights.from_layout("torch", dict(lstm.named_parameters()), batch_first=True).spec == weights.spec


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("fields", OWN, ids=str)
def test_state_dict_is_that_of_paddle(fields: Mapping) -> None:
    """With a projection, too, where Paddle's aliases point at the wrong tensors."""
    paddle = pytest.importorskip("paddle", reason="paddle is not installed", exc_type=ImportError)
    weights = plain(LSTMSpec(4, 6, **fields))
    lstm = paddle.nn.LSTM(**weights.layout_config("paddle"))
    own = weights.to_layout("paddle")
    assert [(k, tuple(v.shape)) for k, v in lstm.state_dict().items()] == [(k, a.shape) for k, a in own.items()]
    assert Weights.from_layout("paddle", lstm.state_dict()).spec == weights.spec
    missing, unexpected = lstm.set_state_dict({name: paddle.to_tensor(array) for name, array in own.items()})
    assert (missing, unexpected) == ([], [])
    assert Weights.from_layout("paddle", lstm.state_dict()) == weights
    x = np.random.default_rng(0).standard_normal((3, 5, 4)).astype("float32")
    assert np.abs(unilstm.LSTM(weights)(x)[0] - lstm(paddle.to_tensor(x))[0].numpy()).max() <= 1e-6


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("off", [{"bias_ih_attr": False}, {"bias_hh_attr": False}], ids=str)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_paddle_with_one_bias_off(off: Mapping, num_layers: int) -> None:
    """Its cells hold zeros for that bias, and its aliases point at the wrong tensors."""
    paddle = pytest.importorskip("paddle", reason="paddle is not installed", exc_type=ImportError)
    state = paddle.nn.LSTM(4, 6, num_layers=num_layers, **off).state_dict()
    weights = Weights.from_layout("paddle", state)
    assert weights.spec == LSTMSpec(4, 6, num_layers=num_layers)
    zeros = "bias_ih" if "bias_ih_attr" in off else "bias_hh"
    assert all(array.any() != name.startswith(zeros) for name, array in weights.items())
