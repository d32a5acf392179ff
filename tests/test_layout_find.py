"""Every LSTM among other tensors is found, under its layout and prefix, and nothing that is not one."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layout_cases import stored
from layout_equations import FIXTURES
from unilstm import LSTMSpec, Weights, layouts
from unilstm.layouts import find

pytestmark = pytest.mark.filterwarnings("error")

Shapes = dict[str, tuple[int, ...]]


def shapes(layout: str, prefix: str = "", **fields: Any) -> Shapes:
    spec = LSTMSpec(4, 6, **{"bias": layouts.get(layout).bias} | fields)
    arrays = Weights.initial(spec, 0, init="keras").to_layout(layout, prefix=prefix)
    return {name: array.shape for name, array in arrays.items()}


def places(mapping: Shapes) -> list[tuple[str, str]]:
    return [(f.layout, f.prefix) for f in find(mapping)]


def test_in_a_state_dict() -> None:
    lstm = shapes("torch", "model.lstm.", num_layers=2, direction="bidirectional")
    mapping = {"emb.weight": (9, 4)} | lstm | {"fc.weight": (2, 12), "fc.bias": (2,)}
    (found,) = find(mapping)
    assert (found.layout, found.prefix, found.names, found.uncertain) == ("torch", "model.lstm.", tuple(lstm), None)


def test_several_in_the_order_of_the_mapping() -> None:
    mapping = shapes("paddle", "dec.") | shapes("torch", "enc.a.") | shapes("keras", "lstm_1/") | shapes("torch")
    assert places(mapping) == [("paddle", "dec."), ("torch", "enc.a."), ("keras", "lstm_1/"), ("torch", "")]


@pytest.mark.parametrize("gates", [1, 3])
@pytest.mark.parametrize("hidden", [1, 3, 4, 6, 12])
def test_gru_and_rnn_are_none(gates: int, hidden: int) -> None:
    rows, size = gates * hidden, 4
    torch: Shapes = {"weight_ih_l0": (rows, size), "weight_hh_l0": (rows, hidden), "bias_ih_l0": (rows,)}
    torch |= {"bias_hh_l0": (rows,)}
    cell = {name.removesuffix("_l0"): shape for name, shape in torch.items()}
    keras: Shapes = {"kernel": (size, rows), "recurrent_kernel": (hidden, rows), "bias": (rows,)}
    onnx: Shapes = {"W": (1, rows, size), "R": (1, rows, hidden), "B": (1, 2 * rows)}
    equinox: Shapes = {"weight_ih": (rows, size), "weight_hh": (rows, hidden), "bias": (rows,), "bias_n": (hidden,)}
    optimized: Shapes = {"dense_i/kernel": (size, rows), "dense_h/kernel": (hidden, rows)}
    for mapping in (torch, cell, keras, onnx, equinox, optimized):
        assert find(mapping) == []
        assert find({f"a.{name}": shape for name, shape in mapping.items()}) == []
    assert find({f"0.cell.{name}": shape for name, shape in cell.items()} | torch) == []


def test_other_tensors_are_none() -> None:
    mapping: Shapes = {"dense/kernel": (4, 24), "dense/bias": (24,), "mlp/linear/w": (10, 24), "mlp/linear/b": (24,)}
    mapping |= {"conv_lstm/kernel": (3, 3, 4, 24), "conv_lstm/recurrent_kernel": (3, 3, 6, 24), "weights": (288,)}
    mapping |= {"W": (24, 4), "B": (48,), "weight_ih_l0": (24, 4), "weight_hh": (24, 6), "": (1,), "/": ()}
    assert find(mapping) == []


def test_torch_cell_and_equinox_are_told_apart_by_their_biases() -> None:
    assert places(shapes("equinox", "a.")) == [("equinox", "a.")]
    cell: Shapes = {"weight_ih": (24, 4), "weight_hh": (24, 6), "bias_ih": (24,), "bias_hh": (24,)}
    assert [(f.layout, f.uncertain) for f in find(cell)] == [("torch", None)]
    (found,) = find({"weight_ih": (24, 4), "weight_hh": (24, 6)})
    assert found.layout == "torch"
    assert found.uncertain is not None
    assert "layout='torch' or layout='equinox' settles it" in found.uncertain


def test_paddle_is_known_by_its_cells() -> None:
    both = shapes("paddle", "rnn.", num_layers=2, direction="bidirectional")
    cells = {name: shape for name, shape in both.items() if "cell" in name}
    aliases = {name: shape for name, shape in both.items() if "cell" not in name}
    assert places(both) == places(cells) == [("paddle", "rnn.")]
    assert places(aliases) == [("torch", "rnn.")]  # the same names, and the same arrays
    assert places(shapes("paddle", "p.", num_layers=3, proj_size=2)) == [("paddle", "p.")]


def test_flax_cells_are_told_apart() -> None:
    mapping = shapes("flax", "a/", direction="bidirectional") | shapes("nnx", "b.") | shapes("flax", "c/params/")
    mapping |= {"d.cell.dense_i.kernel": (4, 24), "d.cell.dense_h.kernel": (6, 24), "d.cell.dense_h.bias": (24,)}
    assert places(mapping) == [("flax", "a/"), ("nnx", "b."), ("flax", "c/params/"), ("nnx", "d.")]


def test_haiku_modules_under_one_parent() -> None:
    mapping: Shapes = {}
    for name in ("lstm", "lstm_1"):
        mapping |= {f"net/~/{name}/linear/w": (10, 24), f"net/~/{name}/linear/b": (24,)}
    assert places(mapping) == [("haiku", "net/~/lstm/"), ("haiku", "net/~/lstm_1/")]


def test_keras_names_that_were_generated() -> None:
    mapping: Shapes = {}
    for layer, size in (("forward_lstm_7", 4), ("backward_lstm_7", 4)):
        cell = f"functional/bidirectional_2/{layer}/lstm_cell_9/"
        mapping |= {f"{cell}kernel": (size, 24), f"{cell}recurrent_kernel": (6, 24), f"{cell}bias": (24,)}
    assert places(mapping) == [("keras", "functional/bidirectional_2/")]


@pytest.mark.parametrize("highway", [False, True])
@pytest.mark.parametrize("bias", ["double", "single"])
def test_allennlp_with_and_without_highway(highway: bool, bias: str) -> None:
    stack = shapes("allennlp", "srl.", num_layers=3, direction="alternating", highway=highway, bias=bias)
    mapping = {"srl.embedding.weight": (9, 4)} | stack | {"srl.layer_3.weight": (9, 6)}
    (found,) = find(mapping)
    assert (found.layout, found.prefix, found.names, found.uncertain) == ("allennlp", "srl.", tuple(stack), None)
    old = {name.replace(".cell.", "."): shape for name, shape in stack.items()}  # before AllenNLP 1.0
    assert "srl.layer_0.input_linearity.weight" in old
    (found,) = find(old)
    assert (found.prefix, found.names, found.uncertain) == ("srl.", tuple(old), None)
    alone = shapes("allennlp", "backward_layer_0.", direction="reverse", highway=highway, bias=bias)
    assert places(alone) == [("allennlp", "backward_layer_0.")]


def test_allennlp_incomplete() -> None:
    """That layers have a bias of the input, and one lacks it, is said."""
    mapping = shapes("allennlp", "srl.", num_layers=2, direction="alternating", highway=True)
    del mapping["srl.layer_1.cell.input_linearity.bias"]
    (found,) = find(mapping)
    assert found.names == tuple(mapping)
    assert found.uncertain is not None
    assert "'layer_1.cell.input_linearity.bias' is missing" in found.uncertain


def test_a_stack_of_lmp_in_its_language_model() -> None:
    for fields in ({"gates": ("input", "output")}, {}, {"peephole": True}):
        stack = shapes("lmp", "stack_rnn.", num_layers=2, num_blocks=2, **fields)
        mapping = {"emb.weight": (11, 7)} | stack | {"fc_h2e.0.weight": (7, 6)}
        (found,) = find(mapping)
        assert (found.layout, found.prefix, found.names, found.uncertain) == ("lmp", "stack_rnn.", tuple(stack), None)


def test_what_arrays_do_not_tell_is_asked_for() -> None:
    (found,) = find(shapes("arraylstm", "rnn.", lanes=3))
    assert (found.layout, found.prefix) == ("arraylstm", "rnn.")
    assert found.uncertain == (
        "cell is not told by the arrays of layout 'arraylstm'. Give cell=: 'ArrayLSTM' or 'StochasticArrayLSTM'. "
        "(config={'cell': …} with layout='arraylstm')"
    )
    for fields in ({}, {"lanes": 3, "lane_pooling": "attention"}):
        (found,) = find(shapes("arraylstm", "rnn.", **fields))
        assert (found.layout, found.prefix, found.uncertain) == ("arraylstm", "rnn.", None)


def test_haste_has_the_names_of_keras_but_for_its_norms() -> None:
    (found,) = find(shapes("haste", "rnn."))
    assert "these names and shapes fit the layouts keras and haste alike" in str(found.uncertain)
    assert find(shapes("keras", "rnn/"))[0].uncertain is None
    (found,) = find(shapes("haste", "rnn.", layer_norm="joint"))
    assert (found.layout, found.uncertain) == ("haste", None)


def as_shapes(mapping: dict[str, Any], prefix: str = "") -> Shapes:
    return {prefix + name: array.shape for name, array in mapping.items()}


PLAIN = {name: as_shapes(stored(name)) for name in layouts.names()}
FOUND: dict[str, tuple[str, str, str]] = {
    "custom-lstms/script_lnlstm": ("", "rnn.", "rnn."),
    "mxnet/bidirectional": ("", "lstm0_", "lstm0_"),
    "tensorflow/LSTMCell": ("", "rnn/multi_rnn_cell/", "rnn/multi_rnn_cell/"),
    "tensorflow/LSTMCell-everything": ("", "rnn/", "rnn/"),
    "tensorflow/LayerNormBasicLSTMCell": ("", "rnn/", "rnn/"),
    "addons-peephole/both": ("", "bidirectional/", "bidirectional/"),
    "addons-layer-norm/eps": ("layer_norm_lstm_cell/", "rnn/layer_norm_lstm_cell/", "rnn/"),
    "awd/WeightDrop": ("", "0.", "0."),
    "awd/fastai": ("", "0.", "0."),
    "mlx/LSTM": ("", "encoder.", "encoder."),
    "keras-cudnn/both": ("", "bidirectional_1/", "bidirectional_1/"),
    "allennlp-projection/forward": ("", "_elmo_lstm.", "_elmo_lstm."),
    "elmo/backward": ("", "", ""),
    "allennlp/BiAugmentedLstm-highway": ("", "rnn.", "rnn."),
    "allennlp/StackedBidirectionalLstm-plain-": ("", "rnn.", "rnn."),
}


@pytest.mark.parametrize("name", FOUND)
def test_an_lstm_under_the_names_that_its_system_gives(name: str) -> None:
    cut, prefix, found_prefix = FOUND[name]
    f = FIXTURES[name]()
    mapping = as_shapes({n.removeprefix(cut): a for n, a in f.weights.items()}, prefix)
    (found,) = find({"encoder/kernel": (8, 24), "encoder/bias": (24,)} | mapping)
    assert (found.layout, found.prefix, found.names) == (f.layout, found_prefix, tuple(mapping))
    assert found.uncertain is None


def test_both_directions_of_elmo() -> None:
    mapping = as_shapes(FIXTURES["elmo/forward"]().weights) | as_shapes(FIXTURES["elmo/backward"]().weights)
    assert [(f.layout, f.prefix, len(f.names)) for f in find(mapping)] == [("elmo", "", 6), ("elmo", "", 6)]


def test_a_dense_layer_beside_an_lstm_is_none() -> None:
    mapping = {"my_lstm/dense/kernel": (20, 24), "my_lstm/dense/bias": (24,), "my_lstm/lstm_cell/weights": (10, 24)}
    assert find(mapping) == []


def test_layers_that_do_not_follow_each_other_are_no_stack() -> None:
    stack = shapes("keras", "m/", num_layers=2)
    assert places(stack) == [("keras", "m/")]
    apart = shapes("keras", "m/layer_0/") | shapes("keras", "m/layer_1/")  # 6 units, then 4 inputs
    assert places(apart) == [("keras", "m/layer_0/"), ("keras", "m/layer_1/")]


def test_a_broken_lstm_is_reported_with_what_is_wrong() -> None:
    mapping = shapes("torch", "lstm.", num_layers=2)
    del mapping["lstm.weight_hh_l1"]
    (found,) = find(mapping)
    assert found.prefix == "lstm."
    assert found.uncertain is not None
    assert "'weight_hh_l1' is missing" in found.uncertain


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_whatever_is_there_is_found_or_not_but_never_fails(data: st.DataObject) -> None:
    """Tensors of any systems, some missing, some misshapen, under one prefix."""
    names = data.draw(st.lists(st.sampled_from(layouts.names()), min_size=1, max_size=2))
    mapping: Shapes = {}
    for name in names:
        mapping |= PLAIN[name]
    kept = data.draw(st.lists(st.sampled_from(sorted(mapping)), unique=True, max_size=len(mapping)))
    sizes = st.lists(st.integers(0, 24), max_size=4).map(tuple)
    changed = {name: data.draw(sizes) for name in kept if data.draw(st.integers(0, 4)) == 0}
    mapping = {name: shape for name, shape in mapping.items() if name in kept} | changed
    for found in find(mapping):
        assert set(found.names) <= set(mapping)


def test_finding_is_quick() -> None:
    """20,000 tensors take well under a second, and a hostile name no longer than any other."""
    mapping: Shapes = {f"encoder.layers.{n}.self_attn.in_proj_weight_{n}": (24, 4) for n in range(20_000)}
    mapping |= {"cell" * 500_000 + "kernel": (4, 24), "cell" * 120 + "kernel": (4, 24), "cell/" * 100 + "bias": (24,)}
    start = time.perf_counter()
    assert places(mapping | shapes("torch", "lstm.")) == [("torch", "lstm.")]
    assert time.perf_counter() - start < 10  # seconds: on any machine, however busy
