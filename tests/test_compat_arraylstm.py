"""compat.arraylstm beside array-lstm itself: outputs, states, gradients, initial weights; and cells of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import unilstm
from compat_cases import Golden, Ported, arrays, original, torch_dtype, torch_gradients
from conftest import BACKENDS, close, numbers, require
from unilstm.compat import arraylstm

require("torch")
import torch  # noqa: E402

PACKAGE = original("arrayLSTM")
THEIRS = {
    "LSTM": PACKAGE.LSTM,
    "ArrayLSTM": PACKAGE.ArrayLSTM,
    "StochasticArrayLSTM": original("arrayLSTM.extensions.stochastic").StochasticArrayLSTM,
    "AttentionArrayLSTM": original("arrayLSTM.extensions.attention").AttentionArrayLSTM,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("ArrayLSTM", {"k": 3}),
    ("ArrayLSTM", {"k": 1}),
    ("StochasticArrayLSTM", {"k": 3}),
    ("StochasticArrayLSTM", {"k": 1}),
    ("AttentionArrayLSTM", {"k": 3}),
    ("AttentionArrayLSTM", {"k": 2, "max_pooling": True}),
]
GOLDEN = {
    "lstm": ("LSTM", {}),
    "array": ("ArrayLSTM", {}),
    "stochastic": ("StochasticArrayLSTM", {}),
    "attention": ("AttentionArrayLSTM", {}),
    "attention_max": ("AttentionArrayLSTM", {}),
}


def case_id(case: Any) -> str:
    return f"{case[0]}-{case[1]}"


def pair(case: tuple[str, dict[str, Any]]) -> tuple[Any, Any]:
    """The original and the drop-in, made after the same torch.manual_seed."""
    name, config = case
    made = []
    for cls in (THEIRS[name], getattr(arraylstm, name)):
        torch.manual_seed(3)
        made.append(cls(4, 6, **config))
    return made[0], made[1]


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_outputs_states_gradients_and_initial_weights_are_array_lstms(case: Any, given: bool) -> None:
    found = []
    with torch_dtype():
        theirs, ours = pair(case)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
        for module in (theirs, ours):
            x = torch.tensor(numbers(3, 5, 4)).requires_grad_()
            h = torch.tensor(numbers(1, 3, 6, stream=1)).requires_grad_()
            c = torch.tensor(numbers(case[1].get("k", 1), 3, 6, stream=2)).requires_grad_()
            # The original writes into c, which a leaf that wants a gradient forbids.
            y, (h_n, c_n) = module(x, (h, c.clone())) if given else module(x)
            flat = [y, h_n, c_n]
            inputs = {"x": x, "h": h, "c": c} if given else {"x": x}
            grads = torch_gradients(module, flat, inputs, [numbers(*out.shape, stream=9) for out in flat])
            found.append(([out.detach() for out in flat], grads))
    for ours_out, theirs_out in zip(found[1][0], found[0][0], strict=True):
        close(ours_out, theirs_out, 1e-14)
    assert list(found[1][1]) == list(found[0][1])
    for name, grad in found[0][1].items():
        close(found[1][1][name], grad, 1e-13)


@pytest.mark.parametrize("case", CASES, ids=case_id)
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_backend_gives_array_lstms_numbers(backend: str, case: Any) -> None:
    with torch_dtype():
        theirs, _ = pair(case)
        x, h, c = numbers(3, 5, 4), numbers(1, 3, 6, stream=1), numbers(case[1].get("k", 1), 3, 6, stream=2)
        y_ref, (h_ref, c_ref) = theirs(torch.tensor(x), (torch.tensor(h), torch.tensor(c)))
    ported = Ported(backend, getattr(arraylstm, case[0]), 4, 6, tensors=arrays(theirs), **case[1])
    y, (h_n, c_n) = ported(x, (h, c))
    for got, want in ((y, y_ref), (h_n, h_ref), (c_n, c_ref)):
        close(got, want.detach(), 1e-13)
    step = ported(x[:, 0], h, c, method="forward_cell")
    with torch_dtype():
        expected = theirs.forward_cell(*map(torch.tensor, (x[:, 0], h, c)))
    for got, want in zip(step, expected, strict=True):
        close(got, want.detach(), 1e-13)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_vectors_are_met_gradients_included(name: str) -> None:
    g = Golden(f"arraylstm/{name}")
    cls = getattr(arraylstm, GOLDEN[name][0])
    config = {**g.config} if GOLDEN[name][0] != "LSTM" else {k: g.config[k] for k in ("input_size", "hidden_size")}
    module = cls(**config, dtype="float64")
    module.load_state_dict({k: torch.tensor(v) for k, v in g.weights.items()})
    x = torch.tensor(g.inputs["x"]).requires_grad_()
    y, (h, c) = module(x)
    for got, want in ((y, "y"), (h, "h_n"), (c, "c_n")):
        close(got.detach(), g.outputs[want], 1e-12)
    found = torch_gradients(module, [y], {"x": x}, [g.inputs["p_y"]])
    assert set(g.grads) <= set(found)
    for key, grad in g.grads.items():
        close(found[key], grad, 1e-11)


def test_the_documented_attributes_and_calls() -> None:
    lstm = arraylstm.LSTM(input_size=10, hidden_size=20)
    outputs, (hidden, state) = lstm(torch.rand(3, 7, 10), hidden=None)
    assert (outputs.shape, hidden.shape, state.shape) == ((3, 7, 20), (1, 3, 20), (1, 3, 20))
    assert isinstance(lstm, torch.nn.Module)
    assert isinstance(lstm.i2h, torch.nn.Linear)
    assert (lstm.i2h.in_features, lstm.i2h.out_features, lstm.h2h.in_features) == (10, 80, 20)
    array = arraylstm.AttentionArrayLSTM(input_size=10, hidden_size=20, k=4, max_pooling=True)
    assert (array.input_size, array.hidden_size, array.k, array.max_pooling) == (10, 20, 4, True)
    assert isinstance(array, arraylstm.ArrayLSTM)
    assert array.i2a.out_features == 80
    hidden, state = array.initHidden(torch.rand(3, 7, 10))
    assert (hidden.shape, state.shape) == ((1, 3, 20), (4, 3, 20))


def test_the_callers_state_stays_as_it_was() -> None:
    with torch_dtype():
        theirs, ours = pair(("ArrayLSTM", {"k": 3}))
        x, h, c = (torch.tensor(numbers(*s)) for s in ((3, 5, 4), (1, 3, 6), (3, 3, 6)))
        before = c.clone()
        with torch.no_grad():
            ours(x, (h, c))
            assert torch.equal(c, before)
            theirs(x, (h, c))
    assert not torch.equal(c, before)  # the defect that is not inherited; if this fails, array-lstm has mended it


class Coupled(arraylstm.LSTM):
    """A cell whose input gate is what the forget gate leaves. Of operators and ops, so that it runs everywhere."""

    def forward_cell(self, x: Any, hidden: Any, state: Any) -> Any:
        f, _, o, g = self.ops.split(self.i2h(x) + self.h2h(hidden[0]), 4)
        f = self.ops.sigmoid(f)
        c = f * state[0] + (1.0 - f) * self.ops.tanh(g)
        h = self.ops.sigmoid(o) * self.ops.tanh(c)
        return self.ops.stack([h]), self.ops.stack([c])


class InPlace(arraylstm.ArrayLSTM):
    """A user's cell in the style of array-lstm's own, which changes its states in place."""

    def forward_cell(self, x: Any, hidden: Any, state: Any) -> Any:
        linear = (self.i2h(x) + self.h2h(hidden[0])).view(x.shape[0], self.k, -1)
        total = torch.zeros_like(hidden)
        for k, part in enumerate(torch.unbind(linear, dim=1)):
            f, i, o, g = part.chunk(4, dim=1)
            state[k] = state[k].clone() * f.sigmoid() + i.sigmoid() * g.tanh()
            total += o.sigmoid() * state[k].tanh()
        return total, state


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cell_of_ones_own_runs_on_every_backend(backend: str) -> None:
    x, h, c = numbers(3, 5, 4), numbers(1, 3, 6, stream=1), numbers(1, 3, 6, stream=2)
    home = Coupled(4, 6, seed=1, dtype="float64")
    ported = Ported(backend, Coupled, 4, 6, tensors=arrays(home))
    y, (h_n, c_n) = ported(x, (h, c))
    expected = _coupled(home, x, h[0], c[0])
    close(y, expected[0], 1e-13)
    close(h_n[0], expected[1], 1e-13)
    close(c_n[0], expected[2], 1e-13)
    assert isinstance(ported.layer, Coupled)


def _coupled(lstm: Any, x: Any, h: Any, c: Any) -> Any:
    """The same cell, written once more for NumPy."""
    w = {name: value.detach().numpy() for name, value in lstm.named_parameters()}
    outs = []
    for t in range(x.shape[1]):
        z = x[:, t] @ w["i2h.weight"].T + w["i2h.bias"] + h @ w["h2h.weight"].T + w["h2h.bias"]
        f, _, o, g = np.split(z, 4, axis=1)
        f = 1 / (1 + np.exp(-f))
        c = f * c + (1 - f) * np.tanh(g)
        h = np.tanh(c) / (1 + np.exp(-o))
        outs.append(h)
    return np.stack(outs, 1), h, c


def test_a_cell_of_ones_own_trains_on_jax() -> None:
    require("jax")
    import jax

    lstm = Coupled(4, 6, seed=1, backend="jax")
    x = numbers(3, 5, 4, dtype="float32")
    grads = jax.jit(jax.grad(lambda layer: (layer(x)[0] ** 2).sum()))(lstm)
    home = Coupled(4, 6, seed=1)
    (home(torch.tensor(x))[0] ** 2).sum().backward()
    for name, p in home.named_parameters():
        close(grads.params[name], p.grad, 1e-5)


def test_a_cell_in_the_originals_style_computes_trains_and_leaves_the_callers_state() -> None:
    ours = InPlace(4, 6, 3, seed=1)
    plain = arraylstm.ArrayLSTM(4, 6, 3, seed=1)
    x = torch.tensor(numbers(3, 5, 4, dtype="float32"))
    state = plain(x)[1]
    before = state[1].detach().clone()
    found = []
    for module in (ours, plain):
        y, (h, c) = module(x, tuple(s.detach() for s in state))
        found.append((y, h, c, torch.autograd.grad(y.square().sum(), list(module.parameters()))))
    for got, want in zip(found[0][:3], found[1][:3], strict=True):
        close(got.detach(), want.detach(), 1e-6)
    for got, want in zip(found[0][3], found[1][3], strict=True):
        close(got, want, 1e-5)
    assert torch.equal(state[1].detach(), before)


def test_what_cannot_be_is_refused() -> None:
    class Pooled(arraylstm.ArrayLSTM):
        def update_hidden(self, outputs: Any, states: Any) -> Any:
            return outputs

    with pytest.raises(unilstm.SpecError, match="overrides update_hidden, which nothing calls here"):
        Pooled(4, 6, 3)
    with pytest.raises(unilstm.UnilstmError, match="lane"):
        arraylstm.AttentionArrayLSTM(4, 6, 1)
    with pytest.raises(unilstm.InputError, match="an overridden forward_cell sees every step"):
        Coupled(4, 6)(torch.zeros(1, 2, 4), lengths=[1])
    lstm = arraylstm.ArrayLSTM(4, 6, 3)
    with pytest.raises(unilstm.InputError, match=r"the state has shape \[2, 1, 6\], but must have \[3, batch"):
        lstm(torch.zeros(1, 2, 4), (torch.zeros(1, 1, 6), torch.zeros(2, 1, 6)))
