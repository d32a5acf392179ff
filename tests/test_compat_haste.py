"""compat.haste beside what haste computed, in evaluation and in training with its masks: outputs, states, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unilstm
from compat_cases import Golden, Ported, arrays, torch_gradients
from conftest import BACKENDS, close, numbers, require
from unilstm.compat.haste import LSTM, LayerNormLSTM

require("torch")
import torch  # noqa: E402

CASES = ["layer_norm", "layer_norm_zoneout_eval", "layer_norm_zoneout_train", "zoneout_eval", "zoneout_train"]


def made_of(g: Golden) -> tuple[type, dict[str, Any]]:
    config = {name: value for name, value in g.config.items() if name != "layer_norm"}
    return (LayerNormLSTM if g.config["layer_norm"] else LSTM), config


def masks_of(g: Golden) -> dict[str, Any] | None:
    return {"zoneout_hidden_l0": g.inputs["zoneout_mask"]} if "zoneout_mask" in g.inputs else None


@pytest.mark.parametrize("case", CASES)
def test_outputs_states_and_gradients_are_hastes(case: str) -> None:
    g = Golden(f"haste/{case}")
    cls, config = made_of(g)
    module = cls(**config, dtype="float64")
    module.load_state_dict({name: torch.tensor(value) for name, value in g.weights.items()})
    masks = masks_of(g)
    module.train(masks is not None)
    masks = None if masks is None else {name: torch.tensor(mask) for name, mask in masks.items()}
    inputs = {name: torch.tensor(g.inputs[name]).requires_grad_() for name in ("x", "h_0", "c_0")}
    y, (h, c) = module(inputs["x"], (inputs["h_0"], inputs["c_0"]), masks=masks)
    for got, name in ((y, "y"), (h, "h_n"), (c, "c_n")):
        close(got.detach(), g.outputs[name], 1e-12)
    found = torch_gradients(module, [y, c], inputs, [g.inputs["p_y"], g.inputs["p_c_n"]])
    assert set(g.grads) <= set(found)
    for name, grad in g.grads.items():
        close(found[name], grad, 1e-11)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_backend_gives_hastes_numbers(backend: str, case: str) -> None:
    g = Golden(f"haste/{case}")
    cls, config = made_of(g)
    ported = Ported(backend, cls, tensors=g.weights, **config)
    masks = masks_of(g)
    if masks is not None and hasattr(ported.layer, "train"):
        ported.layer.train()
    masks = None if masks is None else {name: ported.tensor(mask) for name, mask in masks.items()}
    y, (h, c) = ported(g.inputs["x"], (g.inputs["h_0"], g.inputs["c_0"]), masks=masks)
    for got, name in ((y, "y"), (h, "h_n"), (c, "c_n")):
        close(got, g.outputs[name], 1e-12)


def test_the_documented_example_but_for_cuda() -> None:
    norm_lstm_layer = LayerNormLSTM(input_size=128, hidden_size=256, zoneout=0.1, dropout=0.05)
    x = torch.rand([25, 5, 128])
    y, state = norm_lstm_layer(x)
    assert y.shape == (25, 5, 256)
    assert [s.shape for s in state] == [(1, 5, 256), (1, 5, 256)]
    again, _ = norm_lstm_layer(x)
    assert not torch.equal(y, again)  # it drops, because a module trains unless told otherwise
    names = ["kernel", "recurrent_kernel", "bias", "gamma", "gamma_h", "beta_h"]
    assert list(norm_lstm_layer.state_dict()) == names
    assert isinstance(norm_lstm_layer, torch.nn.Module)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_lengths_and_every_steps_state(backend: str, batch_first: bool) -> None:
    home = LSTM(4, 6, batch_first=batch_first, zoneout=0.2, seed=1, dtype="float64")
    x = numbers(3, 5, 4) if batch_first else numbers(5, 3, 4)
    final = Ported(backend, LSTM, 4, 6, tensors=arrays(home), batch_first=batch_first, zoneout=0.2)
    every = Ported(
        backend, LSTM, 4, 6, tensors=arrays(home), batch_first=batch_first, zoneout=0.2, return_state_sequence=True
    )
    lengths = [2, 5, 0]
    y, (h, c) = final(x, None, lengths)
    y_all, (h_all, c_all) = every(x)
    assert c_all.shape == (1, *y_all.shape)
    close(h_all[0], y_all, 0.0)
    for row, length in enumerate(lengths):
        at = (0, row, length - 1) if batch_first else (0, length - 1, row)
        close(h[0, row], h_all[at] if length else np.zeros(6), 1e-14)
        close(c[0, row], c_all[at] if length else np.zeros(6), 1e-14)
        past = y[row, length:] if batch_first else y[length:, row]
        assert not np.any(past)


def test_native_weights_go_both_ways() -> None:
    native = torch.nn.LSTM(4, 6)
    lstm = LSTM(4, 6)
    lstm.from_native_weights(native.weight_ih_l0, native.weight_hh_l0, native.bias_ih_l0, native.bias_hh_l0)
    x = torch.tensor(numbers(5, 3, 4, dtype="float32"))
    close(lstm(x)[0].detach(), native(x)[0].detach(), 1e-6)
    back = lstm.to_native_weights()
    assert torch.equal(back[0], native.weight_ih_l0)
    close(back[2] + back[3], (native.bias_ih_l0 + native.bias_hh_l0).detach(), 1e-7)
    assert torch.equal(back[2], back[3])


def test_initial_values_are_hastes_in_kind() -> None:
    lstm = LayerNormLSTM(4, 6, forget_bias=2.0, seed=1)
    for gate in range(4):
        block = lstm.recurrent_kernel.detach()[:, 6 * gate : 6 * gate + 6].double()
        close(block @ block.T, np.eye(6), 1e-6)
    assert lstm.bias.tolist() == [0.0] * 12 + [2.0] * 6 + [0.0] * 6
    assert lstm.kernel.abs().max() <= (6 / 10) ** 0.5
    assert lstm.gamma.tolist() == [[1.0] * 24] * 2
    assert (lstm.gamma_h.tolist(), lstm.beta_h.tolist()) == ([1.0] * 6, [0.0] * 6)
    before = lstm.kernel.detach().clone()
    lstm.reset_parameters()
    assert not torch.equal(lstm.kernel, before)


def test_dropout_drops_entries_of_the_recurrent_kernel_in_training_only() -> None:
    lstm = LSTM(4, 6, dropout=0.5, seed=1, dtype="float64")
    x = torch.tensor(numbers(5, 3, 4))
    mask = torch.tensor(np.where(numbers(24, 6, stream=3) > 0, 2.0, 0.0))
    y, _ = lstm(x, masks={"weight_l0": mask})
    dropped = lstm.weights()
    arrays_of = {**dropped, "weight_hh_l0": dropped["weight_hh_l0"] * mask.numpy()}
    plain = unilstm.Weights(dropped.spec.replace(weight_dropout=0.0), arrays_of)
    close(y.detach(), unilstm.LSTM(plain, backend="numpy")(x.numpy())[0], 1e-13)
    lstm.eval()
    assert torch.equal(lstm(x)[0], lstm(x)[0])


def test_attributes_and_refusals() -> None:
    lstm = LSTM(4, 6, True, 0.5, 0.25, 0.125, True)
    got = (lstm.input_size, lstm.hidden_size, lstm.batch_first, lstm.forget_bias, lstm.dropout, lstm.zoneout)
    assert (*got, lstm.return_state_sequence) == (4, 6, True, 0.5, 0.25, 0.125, True)
    with pytest.raises(unilstm.SpecError, match=r"zoneout_hidden=1\.0"):
        LSTM(4, 6, zoneout=1.0)
