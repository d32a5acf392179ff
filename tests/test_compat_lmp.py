"""compat.lmp beside what the language-model-playground computed: layers and language models, losses and gradients."""

from __future__ import annotations

import argparse
import copy
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import unilstm
from compat_cases import Golden, Ported, arrays, torch_gradients
from conftest import BACKENDS, close, numbers, require
from unilstm.compat import lmp

require("torch")
import torch  # noqa: E402

YEARS = (1997, 2000, 2002)


def layer_class(year: int) -> Any:
    return getattr(lmp, f"LSTM{year}Layer")


def model_class(year: int) -> Any:
    return getattr(lmp, f"LSTM{year}")


def model_config(g: Golden) -> dict[str, Any]:
    kept = {name: value for name, value in g.config.items() if name not in ("vocab_size", "pad_id")}
    return {**kept, "tknzr": SimpleNamespace(vocab_size=g.config["vocab_size"])}


@pytest.mark.parametrize("year", YEARS)
def test_a_layers_outputs_and_gradients_are_lmps(year: int) -> None:
    g = Golden(f"lmp/layer_{year}")
    layer = layer_class(year)(**g.config, dtype="float64")
    assert set(layer.state_dict()) == set(g.weights)
    layer.load_state_dict({name: torch.tensor(value) for name, value in g.weights.items()})
    inputs = {name: torch.tensor(g.inputs[name]).requires_grad_() for name in ("x", "h_0", "c_0")}
    c_all, h_all = layer(inputs["x"], c_0=inputs["c_0"], h_0=inputs["h_0"])
    close(h_all.detach(), g.outputs["y"], 1e-12)
    close(c_all.detach(), g.outputs["c_all"], 1e-12)
    found = torch_gradients(layer, [h_all, c_all], inputs, [g.inputs["p_y"], g.inputs["p_c_all"]])
    assert set(g.grads) <= set(found)
    for name, grad in g.grads.items():
        close(found[name], grad, 1e-11)


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_on_any_backend_gives_lmps_numbers(backend: str, year: int) -> None:
    g = Golden(f"lmp/layer_{year}")
    ported = Ported(backend, layer_class(year), tensors=g.weights, **g.config)
    c_all, h_all = ported(g.inputs["x"], g.inputs["c_0"], g.inputs["h_0"])
    close(h_all, g.outputs["y"], 1e-12)
    close(c_all, g.outputs["c_all"], 1e-12)
    zeros = ported(g.inputs["x"], np.zeros((1, 2, 3)), np.zeros((3, 6)))  # one c_0 for all rows, as the buffer is
    for got, want in zip(ported(g.inputs["x"]), zeros, strict=True):
        close(got, want, 0.0)


@pytest.mark.parametrize("year", YEARS)
def test_a_models_logits_loss_probabilities_states_and_gradients_are_lmps(year: int) -> None:
    g = Golden(f"lmp/language_model_{year}")
    model = model_class(year)(**model_config(g), dtype="float64")
    assert set(model.state_dict()) == set(g.weights)
    model.load_state_dict({name: torch.tensor(value) for name, value in g.weights.items()})
    model.eval()
    tokens, targets = (torch.tensor(g.inputs[name]) for name in ("tokens", "targets"))
    logits, (c, h) = model(tokens)
    close(logits.detach(), g.outputs["logits"], 1e-12)
    close(torch.stack(c), g.outputs["c_n"], 1e-12)
    close(torch.stack(h), g.outputs["h_n"], 1e-12)
    assert not any(state.requires_grad for state in (*c, *h))
    loss, _ = model.cal_loss(tokens, targets)
    close(loss.detach(), g.outputs["loss"], 1e-12)
    prob, _ = model.pred(tokens)
    close(prob, g.outputs["prob"], 1e-12)
    assert not prob.requires_grad
    found = torch_gradients(model, [loss], {}, [1.0])
    assert set(g.grads) <= set(found)
    for name, grad in g.grads.items():
        close(found[name], grad, 1e-11)


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_on_any_backend_gives_lmps_numbers_and_carries_its_states(backend: str, year: int) -> None:
    g = Golden(f"lmp/language_model_{year}")
    ported = Ported(backend, model_class(year), tensors=g.weights, **model_config(g))
    tokens = g.inputs["tokens"]
    logits, (c, h) = ported(tokens)
    close(logits, g.outputs["logits"], 1e-12)
    close(np.stack(c), g.outputs["c_n"], 1e-12)
    close(np.stack(h), g.outputs["h_n"], 1e-12)
    loss, _ = ported(tokens, g.inputs["targets"], method="cal_loss")
    close(loss, g.outputs["loss"], 1e-12)
    close(ported(tokens, method="pred")[0], g.outputs["prob"], 1e-12)
    with ported.scope():
        first, carried = ported.layer(ported.tensor(tokens[:, :2]))
        second, _ = ported.layer(ported.tensor(tokens[:, 2:]), carried)
        parts = [ported.backend.array(part) for part in (first, second)]
    close(np.concatenate(parts, axis=1), g.outputs["logits"], 1e-12)


@pytest.mark.parametrize("year", YEARS)
def test_the_documented_command_line_arguments(year: int) -> None:
    cls = model_class(year)
    parser = argparse.ArgumentParser()
    cls.add_CLI_args(parser)
    given = {"d_blk": 64, "d_emb": 100, "init_ib": -0.1, "init_lower": -0.01, "init_ob": -0.1, "init_upper": 0.01}
    given |= {"label_smoothing": 0.1, "n_blk": 8, "n_lyr": 2, "p_emb": 0.5, "p_hid": 0.1}
    given |= {} if year == 1997 else {"init_fb": 0.1}
    args = parser.parse_args([word for name, value in given.items() for word in (f"--{name}", str(value))])
    for name, value in given.items():
        assert type(getattr(args, name)) is type(value)
        assert math.isclose(getattr(args, name), value)
    model = cls(tknzr=SimpleNamespace(vocab_size=20), batch_size=32, **vars(args))  # a whole configuration
    for name, value in given.items():
        assert getattr(model, name) == value
    assert (model.d_hid, model.model_name) == (512, f"LSTM-{year}")
    assert isinstance(model, torch.nn.Module)
    assert isinstance(model.emb, torch.nn.Embedding)
    defaults = vars(parser.parse_args([]))
    assert defaults["d_blk"] == 1
    assert ("init_fb" in defaults) is (year != 1997)


@pytest.mark.parametrize("year", YEARS)
def test_params_init_draws_what_each_parameter_is_due(year: int) -> None:
    bounds = {"init_lower": -0.2, "init_upper": 0.3, "init_ib": -2.0, "init_ob": -3.0}
    bounds |= {} if year == 1997 else {"init_fb": 4.0}
    layer = layer_class(year)(d_blk=2, n_blk=50, in_feat=40, **bounds)
    model = model_class(year)(d_blk=2, n_blk=50, d_emb=9, tknzr=SimpleNamespace(vocab_size=30), **bounds)
    for module in (layer, model):
        module.params_init()
        for name, p in module.named_parameters():
            low, high = -0.2, 0.3
            for gate, (low_b, high_b) in {"ig": (-2.0, 0.0), "og": (-3.0, 0.0), "fg": (0.0, 4.0)}.items():
                if name.endswith(f"fc_x2{gate}.bias"):
                    low, high = low_b, high_b
            assert low <= p.min() < p.max() <= high, name
            if p.numel() > 40:
                assert p.min() < low + 0.2 * (high - low), name
                assert p.max() > high - 0.2 * (high - low), name
        assert all(not buffer.any() for buffer in module.buffers())
    one, other = (copy.deepcopy(layer) for _ in range(2))
    one.params_init(seed=5)
    other.params_init(seed=5)
    assert torch.equal(one.fc_x2ig.weight, other.fc_x2ig.weight)


def test_a_model_obeys_init_ib_where_lmps_drops_it() -> None:
    model = lmp.LSTM2002(n_blk=9, tknzr=SimpleNamespace(vocab_size=5), init_ib=-7.0)
    model.params_init()
    assert getattr(model.stack_rnn, "0").fc_x2ig.bias.min() < -2.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_drops_by_one_key_alike(backend: str) -> None:
    config = {"d_blk": 3, "n_blk": 2, "n_lyr": 2, "d_emb": 5, "p_emb": 0.3, "p_hid": 0.4}
    config |= {"tknzr": SimpleNamespace(vocab_size=11)}
    home = lmp.LSTM2002(**config, seed=1, dtype="float64")
    ported = Ported(backend, lmp.LSTM2002, tensors=arrays(home), **config)
    if hasattr(ported.layer, "train"):
        ported.layer.train()
    tokens = np.arange(15).reshape(3, 5) % 11
    expected, _ = home(torch.tensor(tokens), key=7)
    close(ported(tokens, key=7)[0], expected.detach(), 1e-12)
    still, _ = home.eval()(torch.tensor(tokens))
    assert (expected - still).abs().max() > 1e-2
    home.train()
    close(home.pred(torch.tensor(tokens))[0], torch.softmax(still, -1).detach(), 1e-12)
    assert home.training


def test_a_model_of_one_layer_has_lmps_names_and_loads_as_a_model() -> None:
    model = lmp.LSTM2000(d_blk=3, n_blk=2, d_emb=5, tknzr=SimpleNamespace(vocab_size=11), seed=1)
    names = list(model.state_dict())
    assert names[0] == "emb.weight"
    assert names[-1] == "fc_h2e.0.bias"
    assert "stack_rnn.0.fc_x2ig.weight" in names
    from unilstm.models import LanguageModel, ModelWeights

    same = LanguageModel(ModelWeights.from_layout("lmp", arrays(model)), backend="torch").eval()
    assert set(same.weights().to_layout("lmp")) == set(names)
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    close(same(tokens)[0].detach(), model.eval()(tokens)[0].detach(), 1e-6)


def test_a_model_trains_on_jax() -> None:
    require("jax")
    import jax

    config = {"d_blk": 2, "n_blk": 2, "d_emb": 3, "tknzr": SimpleNamespace(vocab_size=6)}
    home = lmp.LSTM2002(**config, seed=1)
    away = lmp.LSTM2002(**config, backend="jax", seed=1)
    tokens = np.array([[1, 2, 3, 4]])
    grads = jax.jit(jax.grad(lambda m: m.cal_loss(tokens[:, :-1], tokens[:, 1:])[0]))(away).params
    loss, _ = home.cal_loss(torch.tensor(tokens[:, :-1]), torch.tensor(tokens[:, 1:]))
    loss.backward()
    for name, p in home.named_parameters():
        close(grads[name], p.grad, 1e-6)
    assert not np.any(grads["stack_rnn.0.h_0"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lmp.LSTM1997(tknzr=SimpleNamespace(vocab_size=2)), "padding_idx=2"),
        (lambda: lmp.LSTM1997(tknzr=SimpleNamespace(vocab_size=9), init_lower=1.0), r"init_lower=1\.0 must be below"),
        (lambda: lmp.LSTM1997(tknzr=SimpleNamespace(vocab_size=9), p_emb=1.0), r"p_emb=1\.0"),
        (lambda: lmp.LSTM1997Layer(n_blk=0), "num_blocks|hidden_size"),
        (lambda: lmp.LSTM1997Layer()(torch.zeros(2, 1)), r"x has shape \[2, 1\], but must be \[B, S, in_feat\]"),
        (
            lambda: lmp.LSTM1997Layer()(torch.zeros(2, 3, 1), c_0=torch.zeros(2, 5)),
            r"c_0 has shape \[2, 5\], but must have \[2, 1, 1\]",
        ),
        (
            lambda: lmp.LSTM1997(tknzr=SimpleNamespace(vocab_size=9), n_lyr=2)(torch.zeros(1, 1).long(), ([], [])),
            r"batch_prev_states must be \(c, h\), a list of 2 tensors each",
        ),
    ],
    ids=["vocabulary", "bounds", "dropout", "blocks", "x", "c_0", "states"],
)
def test_what_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(unilstm.UnilstmError, match=message):
        make()


def test_a_layers_arguments_are_its_attributes() -> None:
    layer = lmp.LSTM2002Layer(d_blk=3, in_feat=4, n_blk=2, init_fb=0.5, anything="else")
    got = (layer.d_blk, layer.in_feat, layer.n_blk, layer.d_hid, layer.init_fb, layer.init_ib, layer.init_ob)
    assert got == (3, 4, 2, 6, 0.5, -1.0, -1.0)
    assert isinstance(layer, lmp.LSTM2000Layer)
    assert isinstance(layer.fc_x2fg, torch.nn.Linear)
    assert (layer.pc_c2ig.shape, layer.c_0.shape, layer.h_0.shape) == ((1, 2, 3), (1, 2, 3), (1, 6))
    assert not layer.pc_c2ig.any()  # until params_init()
    other = lmp.LSTM2002Layer(d_blk=3, in_feat=4, n_blk=2)
    moved = dict(layer.state_dict(), h_0=torch.ones(1, 6))
    other.load_state_dict(moved)
    x = torch.tensor(numbers(2, 3, 4, dtype="float32"))
    close(other(x)[1].detach(), layer(x, h_0=torch.ones(2, 6))[1].detach(), 0.0)  # a loaded buffer counts
