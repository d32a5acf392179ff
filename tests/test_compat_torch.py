"""compat.torch.LSTM beside torch.nn.LSTM: documented examples, outputs, states, gradients, state_dict, attributes."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import unilstm
from compat_cases import Ported, arrays, torch_dtype, torch_gradients
from conftest import close, numbers, require
from unilstm.compat.torch import LSTM

require("torch")
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402

CONFIGS: list[dict[str, Any]] = [
    {},
    {"num_layers": 3, "batch_first": True},
    {"num_layers": 2, "bidirectional": True, "dropout": 0.3},
    {"num_layers": 2, "proj_size": 3, "bias": False},
    {"bidirectional": True, "proj_size": 2, "batch_first": True},
]


def pair(**config: Any) -> tuple[Any, Any]:
    """The original and the drop-in, made after the same torch.manual_seed; float64, evaluating."""
    made = []
    for cls in (nn.LSTM, LSTM):
        torch.manual_seed(3)
        made.append(cls(4, 6, dtype=torch.float64, **config).eval())
    return made[0], made[1]


def tensors(config: dict[str, Any], rows: int = 3, steps: int = 5) -> dict[str, Any]:
    """x and a state for a config."""
    lead = config.get("num_layers", 1) * (2 if config.get("bidirectional") else 1)
    shape = (rows, steps, 4) if config.get("batch_first") else (steps, rows, 4)
    sizes = {"x": shape, "h_0": (lead, rows, config.get("proj_size") or 6), "c_0": (lead, rows, 6)}
    return {
        name: torch.tensor(numbers(*size, stream=n)).requires_grad_() for n, (name, size) in enumerate(sizes.items())
    }


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("form", ["plain", "state", "unbatched", "packed", "packed unsorted"])
def test_outputs_states_and_gradients_are_torchs(config: dict[str, Any], form: str) -> None:
    theirs, ours = pair(**config)
    given = tensors(config)
    found = []
    for module in (theirs, ours):
        x, hx = given["x"], (given["h_0"], given["c_0"])
        if form == "unbatched":
            x, hx = x[0] if config.get("batch_first") else x[:, 0], (hx[0][:, 0], hx[1][:, 0])
        if form.startswith("packed"):
            lengths = [5, 3, 1] if form == "packed" else [3, 5, 1]
            first = config.get("batch_first", False)
            x = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=form == "packed")
        y, (h, c) = module(x) if form == "plain" else module(x, hx)
        flat = [y.data if isinstance(y, PackedSequence) else y, h, c]
        weights = [numbers(*out.shape, stream=9) for out in flat]
        used = {"x": given["x"]} if form == "plain" else given
        found.append(([out.detach() for out in flat], torch_gradients(module, flat, used, weights), y))
    for ours_out, theirs_out in zip(found[1][0], found[0][0], strict=True):
        close(ours_out, theirs_out, 1e-14)
    assert list(found[1][1]) == list(found[0][1])
    for name, grad in found[0][1].items():
        close(found[1][1][name], grad, 1e-13)
    if form.startswith("packed"):
        for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            wanted, got = getattr(found[0][2], field), getattr(found[1][2], field)
            assert (wanted is None and got is None) or torch.equal(wanted, got)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("backend", ["numpy", "paddle", "jax"])
def test_any_other_backend_gives_torchs_numbers(backend: str, config: dict[str, Any]) -> None:
    theirs, _ = pair(**config)
    given = {name: value.detach().numpy() for name, value in tensors(config).items()}
    ported = Ported(backend, LSTM, 4, 6, tensors=arrays(theirs), **config)
    y, (h, c) = ported(given["x"], (given["h_0"], given["c_0"]))
    expected, (h_n, c_n) = theirs(*(torch.tensor(given["x"]), (torch.tensor(given["h_0"]), torch.tensor(given["c_0"]))))
    close(y, expected.detach(), 1e-13)
    close(h, h_n.detach(), 1e-13)
    close(c, c_n.detach(), 1e-13)
    assert (ported.layer.hidden_size, ported.layer.bidirectional) == (6, config.get("bidirectional", False))


def test_gradients_on_jax_are_torchs() -> None:
    require("jax")
    import jax

    config = CONFIGS[2]
    theirs, _ = pair(**config)
    given = tensors(config)
    ported = Ported("jax", LSTM, 4, 6, tensors=arrays(theirs), **config)
    with ported.scope():
        x = ported.tensor(given["x"].detach().numpy())
        grads = jax.jit(jax.grad(lambda layer: (layer(x)[0] ** 2).sum()))(ported.layer)
        found = grads.state_dict()
    (theirs(given["x"])[0] ** 2).sum().backward()
    for name, p in theirs.named_parameters():
        close(found[name], p.grad, 1e-13)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_state_dicts_go_both_ways(config: dict[str, Any]) -> None:
    theirs, ours = pair(**config)
    other = LSTM(4, 6, seed=5, dtype=torch.float64, **config)
    assert list(other.state_dict()) == list(theirs.state_dict())
    other.load_state_dict(theirs.state_dict())
    nn.LSTM(4, 6, dtype=torch.float64, **config).load_state_dict(ours.state_dict())
    x = tensors(config)["x"]
    close(other.eval()(x)[0].detach(), theirs(x)[0].detach(), 1e-14)
    with pytest.raises(RuntimeError, match="weight_hh_l0"):
        other.load_state_dict({k: v for k, v in theirs.state_dict().items() if k != "weight_hh_l0"})


def test_attributes_are_torchs_and_settled() -> None:
    config = {"num_layers": 2, "bias": False, "batch_first": True, "bidirectional": True, "proj_size": 3}
    theirs, ours = pair(dropout=0.2, **config)
    for name in ("input_size", "hidden_size", "dropout", "mode", *config):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert [[w.shape for w in ws] for ws in ours.all_weights] == [[w.shape for w in ws] for ws in theirs.all_weights]
    assert ours.weight_hr_l1_reverse.shape == theirs.weight_hr_l1_reverse.shape
    ours.flatten_parameters()
    with pytest.raises(AttributeError, match="dropout"):
        ours.dropout = 0.5
    before = ours.weight_ih_l0.detach().clone()
    torch.manual_seed(8)
    theirs.reset_parameters()
    torch.manual_seed(8)
    ours.reset_parameters()
    assert not torch.equal(ours.weight_ih_l0, before)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert repr(ours).startswith("LSTM(input_size=4, hidden_size=6, num_layers=2, bias=False")


def test_dropout_in_one_layer_warns_as_torch_does() -> None:
    with pytest.warns(UserWarning, match="dropout"):
        nn.LSTM(4, 6, dropout=0.5)
    with pytest.warns(UserWarning, match=r"dropout=0.5 acts between layers, but num_layers=1"):
        lstm = LSTM(4, 6, dropout=0.5)
    assert lstm.dropout == 0.5


def test_dropout_follows_torchs_generator_and_a_key_gives_its_masks_everywhere() -> None:
    lstm = LSTM(4, 6, 2, dropout=0.5, seed=1, dtype=torch.float64)
    x = torch.tensor(numbers(5, 3, 4))
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(lstm(x)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    ported = Ported("numpy", LSTM, 4, 6, 2, dropout=0.5, tensors=arrays(lstm))
    close(lstm(x, key=7)[0].detach(), ported(x.numpy(), key=7)[0], 1e-13)


def test_a_seed_gives_the_same_weights_on_every_backend() -> None:
    found = [LSTM(4, 6, seed=3, backend=backend).weights() for backend in ("numpy", "torch", "jax", "paddle")]
    for weights in found[1:]:
        assert weights == found[0]


def test_it_is_a_module_that_copies_pickles_moves_and_ports() -> None:
    lstm = LSTM(4, 6, 2, batch_first=True, seed=1)
    x = torch.tensor(numbers(3, 5, 4, dtype="float32"))
    expected = lstm(x)[0].detach()
    assert isinstance(lstm, nn.Module)
    assert isinstance(lstm, LSTM)
    file = io.BytesIO()
    torch.save(lstm, file)
    file.seek(0)
    again = [copy.deepcopy(lstm), pickle.loads(pickle.dumps(lstm)), torch.load(file, weights_only=False), type(lstm)]
    again[3] = again[3](4, 6, 2, batch_first=True, seed=1)
    for other in again:
        assert type(other) is type(lstm)
        assert torch.equal(other(x)[0], expected)
    moved = copy.deepcopy(lstm).to(torch.float64)
    close(moved(x.double())[0].detach(), expected, 1e-6)
    assert LSTM(4, 6, dtype=torch.bfloat16)(x.to(torch.bfloat16).transpose(0, 1))[0].dtype == torch.bfloat16
    close(unilstm.port(lstm, "numpy")(x.numpy())[0], expected, 1e-6)


def test_a_subclass_runs_on_any_backend() -> None:
    class Last(LSTM):
        def __init__(self, size: int, **kwargs: Any) -> None:
            super().__init__(size, size, batch_first=True, **kwargs)

        def forward(self, x: Any) -> Any:
            return super().forward(x)[0][:, -1]

    x = numbers(3, 5, 4, dtype="float32")
    lasts = [Last(4, seed=1, backend=backend) for backend in ("torch", "numpy", "jax", "paddle")]
    found = [np.asarray(last(require(last.backend).tensor(x)).tolist()) for last in lasts]
    for other in found[1:]:
        close(other, found[0], 1e-6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"proj_size": 6}, "proj_size=6 must be smaller than hidden_size=6"),
        ({"num_layers": 0}, "num_layers"),
        ({"path": "quick"}, "path='quick' is unknown"),
        ({"backend": "mxnet"}, "backend='mxnet' is unknown"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_cannot_be_is_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(unilstm.UnilstmError, match=message):
        LSTM(4, 6, **kwargs)


def test_a_state_for_other_layers_is_refused_as_torch_refuses_it() -> None:
    theirs, ours = pair()
    x, state = torch.zeros(5, 3, 4, dtype=torch.float64), torch.zeros(2, 3, 6, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="Expected hidden"):
        theirs(x, (state, state))
    with pytest.raises(unilstm.InputError, match=r"h_0 has shape \[2, 3, 6\], but must have \[1, 3, 6\]"):
        ours(x, (state, state))


def test_the_default_dtype_is_torchs() -> None:
    with torch_dtype("float64"):
        assert LSTM(4, 6).weight_ih_l0.dtype == torch.float64
    assert LSTM(4, 6).weight_ih_l0.dtype == torch.float32
    assert len(list(itertools.islice(LSTM(4, 6).parameters(), 9))) == 4
