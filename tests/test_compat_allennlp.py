"""compat.allennlp beside what AllenNLP computed: outputs, states, gradients; both directions beside single layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unilstm
from compat_cases import Golden, Ported, arrays, torch_gradients
from conftest import BACKENDS, close, numbers, require
from unilstm.compat.allennlp import AugmentedLstm, BiAugmentedLstm, StackedAlternatingLstm, StackedBidirectionalLstm

require("torch")
import torch  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence  # noqa: E402

KINDS = ("highway", "no_highway", "no_input_bias", "recurrent_dropout")
CASES = [f"allennlp/{kind}{lengths}" for kind in KINDS for lengths in ("", "_lengths")]


def module(g: Golden, **kwargs: Any) -> Any:
    made = StackedAlternatingLstm(**g.config, dtype="float64", **kwargs)
    made.load_state_dict({name: torch.tensor(value) for name, value in g.weights.items()})
    return made


def masks_of(g: Golden) -> dict[str, Any] | None:
    if "recurrent_mask" not in g.inputs:
        return None
    return {f"recurrent_l{k}": mask for k, mask in enumerate(g.inputs["recurrent_mask"])}


@pytest.mark.parametrize("case", CASES)
def test_packed_outputs_states_and_gradients_are_allennlps(case: str) -> None:
    g = Golden(case)
    lstm = module(g)
    inputs = {name: torch.tensor(g.inputs[name]).requires_grad_() for name in ("x", "h_0", "c_0")}
    packed = pack_padded_sequence(inputs["x"], torch.tensor(g.inputs["lengths"]), batch_first=True)
    masks = masks_of(g)
    lstm.train(masks is not None)
    masks = None if masks is None else {name: torch.tensor(mask) for name, mask in masks.items()}
    y, (h, c) = lstm(packed, (inputs["h_0"], inputs["c_0"]), masks=masks)
    assert isinstance(y, PackedSequence)
    padded, _ = pad_packed_sequence(y, batch_first=True)
    for got, name in ((padded, "y"), (h, "h_n"), (c, "c_n")):
        close(got.detach(), g.outputs[name], 1e-12)
    found = torch_gradients(lstm, [padded], inputs, [g.inputs["p_y"]])
    compared = 0
    for name, grad in g.grads.items():
        if "lengths" in case and name in ("h_0", "c_0"):
            continue  # AllenNLP detaches the initial states of rows whose turn comes later
        close(found[name], grad, 1e-11)
        compared += 1
    assert compared >= 1 + len(g.weights)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_padded_outputs_are_allennlps_on_every_backend(backend: str, case: str) -> None:
    g = Golden(case)
    ported = Ported(backend, StackedAlternatingLstm, tensors=g.weights, **g.config)
    masks = masks_of(g)
    if masks is not None and hasattr(ported.layer, "train"):
        ported.layer.train()
    masks = None if masks is None else {name: ported.tensor(mask) for name, mask in masks.items()}
    state = (g.inputs["h_0"], g.inputs["c_0"])
    y, (h, c) = ported(g.inputs["x"], state, lengths=[int(n) for n in g.inputs["lengths"]], masks=masks)
    for got, name in ((y, "y"), (h, "h_n"), (c, "c_n")):
        close(got, g.outputs[name], 1e-12)


def test_the_documented_constructor_call_and_shapes() -> None:
    lstm = StackedAlternatingLstm(
        input_size=3,
        hidden_size=7,
        num_layers=3,
        recurrent_dropout_probability=0.0,
        use_highway=True,
        use_input_projection_bias=True,
    )
    inputs = pack_padded_sequence(torch.rand([4, 5, 3]), torch.tensor([5, 4, 2, 1]), batch_first=True)
    output_sequence, final_states = lstm(inputs)
    assert pad_packed_sequence(output_sequence, batch_first=True)[0].shape == (4, 5, 7)
    assert [tuple(state.shape) for state in final_states] == [(3, 4, 7), (3, 4, 7)]
    again, _ = lstm(inputs, final_states)
    assert isinstance(again, PackedSequence)
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, len(lstm.lstm_layers)) == (3, 7, 3, 3)
    assert isinstance(lstm.layer_0.cell.input_linearity, torch.nn.Linear)
    with pytest.raises(unilstm.InputError, match=r"h_0 has shape \[1, 4, 7\], but must have \[3, 4, 7\]"):
        lstm(inputs, (final_states[0][:1], final_states[1][:1]))


def test_gradients_flow_through_the_final_states_of_short_rows() -> None:
    lstm = StackedAlternatingLstm(4, 6, 2, seed=1)
    x = torch.tensor(numbers(3, 5, 4, dtype="float32")).requires_grad_()
    _, (h, _) = lstm(pack_padded_sequence(x, [5, 2, 1], batch_first=True))
    (grad,) = torch.autograd.grad(h[0, 2].sum(), [x])  # the row of length 1
    assert grad[2, 0].abs().max() > 1e-3
    assert grad[2, 1:].abs().max() == 0


def test_rows_in_any_order_and_empty_ones() -> None:
    lstm = StackedAlternatingLstm(4, 6, 3, seed=1)
    x = torch.tensor(numbers(3, 5, 4, dtype="float32"))
    y, (h, _) = lstm(pack_padded_sequence(x, [2, 5, 1], batch_first=True, enforce_sorted=False))
    padded, _ = pad_packed_sequence(y, batch_first=True)
    for row, length in enumerate((2, 5, 1)):
        alone, (h_alone, _) = lstm(x[row : row + 1, :length])
        close(padded[row : row + 1, :length].detach(), alone.detach(), 1e-6)
        close(h[:, row : row + 1].detach(), h_alone.detach(), 1e-6)
    assert lstm(x, lengths=[0, 5, 1])[1][0][:, 0].abs().max() == 0


@pytest.mark.parametrize("go_forward", [True, False])
def test_one_layer_is_one_of_the_stack(go_forward: bool) -> None:
    g = Golden("allennlp/highway_lengths")
    k = 0 if go_forward else 1
    x = torch.tensor(g.inputs["x"] if go_forward else numbers(3, 5, 6))
    names = {name.removeprefix(f"layer_{k}."): torch.tensor(value) for name, value in g.weights.items()}
    own = {name: value for name, value in names.items() if name.startswith("cell.")}
    layer = AugmentedLstm(x.shape[2], 6, go_forward=go_forward, dtype="float64")
    layer.load_state_dict(own)
    before = {name.replace("cell.", ""): value for name, value in own.items()}  # as before AllenNLP 1.0
    layer.load_state_dict(before)
    state = torch.tensor(g.inputs["h_0"][:1]), torch.tensor(g.inputs["c_0"][:1])
    y, (h, _) = layer(pack_padded_sequence(x, [5, 3, 1], batch_first=True), state)
    expected = unilstm.Weights.from_layout("allennlp", own, go_forward=go_forward)
    y_ref, (h_ref, _) = unilstm.LSTM(expected, backend="numpy")(
        x.numpy(), tuple(s.numpy() for s in state), lengths=[5, 3, 1]
    )
    close(pad_packed_sequence(y, batch_first=True)[0].detach(), y_ref, 1e-13)
    close(h.detach(), h_ref, 1e-13)
    assert (layer.embed_dim, layer.lstm_dim, layer.go_forward, layer.use_highway) == (x.shape[2], 6, go_forward, True)


class _Composed:
    """Two directions a layer, out of single layers that the golden files have checked: the independent reference."""

    def __init__(self, whole: Any, names: tuple[str, str], bias: bool, highway: bool) -> None:
        state, self.layers = whole.state_dict(), []
        for k in range(whole.num_layers):
            pair = []
            for name, go_forward in zip(names, (True, False), strict=True):
                prefix = name.format(k=k)
                own = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
                size = own["cell.input_linearity.weight"].shape[1]
                layer = AugmentedLstm(size, 6, go_forward, 0.0, highway, bias, dtype="float64")
                layer.load_state_dict(own)
                pair.append(layer)
            self.layers.append(pair)

    def __call__(self, x: Any, lengths: Any, state: Any, between: Any = None) -> Any:
        """state: for each layer a pair of (h, c). between: the mask on the input of every layer but the first."""
        finals: list[Any] = []
        for k, pair in enumerate(self.layers):
            if k and between is not None:
                x = x * between[:, None]
            outs = []
            for layer, given in zip(pair, state[k], strict=True):
                y, (h, c) = layer(x, given, lengths=lengths)
                outs.append(y)
                finals.append((h, c))
            x = torch.cat(outs, -1)
        return x, tuple(torch.cat(part) for part in zip(*finals, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("highway", [True, False])
def test_bi_augmented_is_its_layers_side_by_side(backend: str, highway: bool) -> None:
    config = {"num_layers": 2, "bias": highway, "bidirectional": True, "use_highway": highway}
    whole = BiAugmentedLstm(4, 6, **config, seed=2, dtype="float64")
    reference = _Composed(whole, ("forward_layers.{k}.", "backward_layers.{k}."), highway, highway)
    x, lengths = numbers(3, 5, 4), [2, 5, 3]
    h, c = numbers(2, 3, 12, stream=1), numbers(2, 3, 12, stream=2)
    parts = [[tuple(torch.tensor(s[k : k + 1, :, 6 * d : 6 * d + 6]) for s in (h, c)) for d in (0, 1)] for k in (0, 1)]
    y_ref, (h_ref, c_ref) = reference(torch.tensor(x), lengths, parts)
    ported = Ported(backend, BiAugmentedLstm, 4, 6, **config, tensors=arrays(whole))
    y, (h_n, c_n) = ported(x, (h, c), lengths=lengths)
    for got, want in ((y, y_ref), (h_n, h_ref), (c_n, c_ref)):
        close(got, want.detach(), 1e-13)
    assert ported.layer.representation_dim == 12
    assert list(ported.layer.forward_layers[1].cell.input_linearity.weight.shape) == [36 if highway else 24, 12]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wide", [False, True], ids=["one state for both", "a state each"])
def test_stacked_bidirectional_is_its_layers_side_by_side_with_one_mask_between(backend: str, wide: bool) -> None:
    config = {"num_layers": 2, "layer_dropout_probability": 0.5}
    whole = StackedBidirectionalLstm(4, 6, **config, seed=2, dtype="float64")
    reference = _Composed(whole, ("forward_layer_{k}.", "backward_layer_{k}."), False, True)
    x, lengths, between = numbers(3, 5, 4), [2, 5, 3], np.where(numbers(3, 12, stream=5) > 0, 2.0, 0.0)
    size = 12 if wide else 6
    h, c = numbers(2, 3, size, stream=1), numbers(2, 3, size, stream=2)

    def half(s: Any, k: int, d: int) -> Any:
        return torch.tensor(s[k : k + 1, :, 6 * d * wide : 6 * d * wide + 6])

    parts = [[(half(h, k, d), half(c, k, d)) for d in (0, 1)] for k in (0, 1)]
    ported = Ported(backend, StackedBidirectionalLstm, 4, 6, **config, tensors=arrays(whole))
    if hasattr(ported.layer, "train"):
        ported.layer.train()
    y_ref, (h_ref, c_ref) = reference(torch.tensor(x), lengths, parts, torch.tensor(between))
    masks = {"input_l1": ported.tensor(between)}
    y, (h_n, c_n) = ported(x, (h, c), lengths=lengths, masks=masks)
    for got, want in ((y, y_ref), (h_n, h_ref), (c_n, c_ref)):
        close(got, want.detach(), 1e-13)


def test_layer_dropout_spares_the_input_and_is_one_mask_for_all_steps_and_both_directions() -> None:
    lstm = StackedBidirectionalLstm(4, 6, 2, 0.0, 0.5, seed=2)
    masks = lstm._masks(7, None, torch.zeros(3, 5, 4), True)
    like = torch.zeros(1)
    assert torch.equal(masks.get("input_l0", (3, 4), 0.5, like), torch.ones(3, 4))
    mask = masks.get("input_l1", (3, 12), 0.5, like)
    assert torch.equal(mask, masks.get("input_l1_reverse", (3, 12), 0.5, like))
    assert set(mask.flatten().tolist()) == {0.0, 2.0}
    lstm.eval()
    x = torch.tensor(numbers(3, 5, 4, dtype="float32"))
    assert torch.equal(lstm(x)[0], lstm(x)[0])


def test_padding_value_fills_padded_outputs() -> None:
    lstm = BiAugmentedLstm(4, 6, padding_value=-7.0, seed=1)
    x = torch.tensor(numbers(2, 4, 4, dtype="float32"))
    y, _ = lstm(x, lengths=[2, 4])
    assert torch.all(y[0, 2:] == -7.0)
    assert torch.all(y[1].abs() < 7.0)


def test_initial_values_are_allennlps_in_kind() -> None:
    lstm = StackedAlternatingLstm(4, 6, 1, seed=1)
    weight = lstm.layer_0.cell.state_linearity.weight.detach().double()
    for gate in range(5):
        block = weight[6 * gate : 6 * gate + 6]
        close(block @ block.T, np.eye(6), 1e-6)
    assert lstm.layer_0.cell.state_linearity.bias.tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 18
    assert lstm.layer_0.cell.input_linearity.bias.abs().max() <= 0.5


def test_it_compiles_as_one_graph() -> None:
    lstm = StackedAlternatingLstm(4, 6, 2, seed=1)
    x = torch.tensor(numbers(3, 5, 4, dtype="float32"))
    close(torch.compile(lstm, backend="eager", fullgraph=True)(x)[0].detach(), lstm(x)[0].detach(), 1e-6)
