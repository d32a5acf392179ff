"""The torch layer is a real torch.nn.Module: compile, export, vmap, training, copies, packed sequences, derivatives."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import close, has_compiler, numbers, require, require_kernel

require("torch")
import torch  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

from unilstm_torch import streaming  # noqa: E402


def layer(path: str = "auto", dtype: str = "float64", **fields: Any) -> Any:
    return unilstm.LSTM(4, 6, backend="torch", seed=1, path=path, dtype=dtype, **fields)


def tensor(*shape: int, stream: int = 0, dtype: str = "float64") -> torch.Tensor:
    return torch.tensor(numbers(*shape, stream=stream, dtype=dtype))


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"proj_size": 3}, {"bias": False}], ids=str)
def test_state_dict_loads_both_ways(options: dict[str, Any]) -> None:
    theirs = torch.nn.LSTM(4, 6, 2, batch_first=True, dtype=torch.float64, **options)
    ours = unilstm.port(theirs, "torch", path="native")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    fresh = layer(
        "native", num_layers=2, direction="bidirectional" if options.pop("bidirectional", 0) else "forward", **options
    )
    fresh.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(fresh.state_dict())
    x = tensor(3, 5, 4)
    for one in (ours, fresh):
        y, (h, c) = one(x)
        expected, (h_n, c_n) = theirs(x)
        close(y.detach(), expected.detach(), 0.0)
        close(h.detach(), h_n.detach(), 0.0)
        close(c.detach(), c_n.detach(), 0.0)


@pytest.mark.parametrize("change", ["missing", "extra", "misshapen"])
def test_a_state_dict_that_does_not_fit_is_refused_by_name(change: str) -> None:
    state = torch.nn.LSTM(4, 6, dtype=torch.float64).state_dict()
    if change == "missing":
        del state["bias_hh_l0"]
    else:
        state["bias_hh_l1" if change == "extra" else "bias_hh_l0"] = torch.zeros(23, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="bias_hh_l"):
        layer().load_state_dict(state)
    with pytest.raises(unilstm.LayoutError, match="_l[01]"):
        unilstm.Weights.from_layout("torch", state)


@pytest.mark.parametrize("kind", ["standard", "peephole"])
def test_compiles_as_one_graph(kind: str) -> None:
    module = layer(dtype="float32", peephole=kind == "peephole")
    x, lengths = tensor(3, 5, 4, dtype="float32"), torch.tensor([5, 0, 2])
    compiled = torch.compile(module, backend="inductor" if has_compiler() else "aot_eager", fullgraph=True)
    for kwargs in ({}, {"lengths": lengths}):
        got, expected = compiled(x, **kwargs)[0], module(x, **kwargs)[0]  # compiled before anything has run eagerly
        close(got.detach(), expected.detach(), 1e-6)
    compiled(x)[0].sum().backward()
    assert module.weight_hh_l0.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["standard", "peephole"])
def test_exports_with_a_dynamic_batch(kind: str) -> None:
    module = layer(dtype="float32", peephole=kind == "peephole").eval()
    x = tensor(3, 5, 4, dtype="float32")
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    other = tensor(7, 5, 4, dtype="float32")
    close(program.module()(other)[0].detach(), module(other)[0].detach(), 1e-6)


@pytest.mark.parametrize("fields", [{}, {"peephole": True, "proj_size": 3, "proj_clip": 0.2}], ids=str)
def test_vmap_over_the_composed_path(fields: dict[str, Any]) -> None:
    module = layer(path="composed", **fields)
    x = tensor(2, 3, 5, 4)
    mapped = torch.func.vmap(lambda one: module(one)[0])(x)
    close(mapped.detach(), torch.stack([module(one)[0] for one in x]).detach())


def test_per_sample_gradients_through_vmap() -> None:
    module, x = layer(path="composed", peephole=True), tensor(3, 5, 4)
    params = dict(module.named_parameters())

    def loss(p: Any, one: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, p, (one,))[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(params, x)
    for row in range(3):
        alone = torch.autograd.grad(loss(params, x[row]), list(params.values()))
        for name, gradient in zip(params, alone, strict=True):
            close(found[name][row].detach(), gradient.detach())


@pytest.mark.parametrize("fields", [{}, {"peephole": True}], ids=str)
def test_trains_with_a_data_loader_and_an_optimiser(fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(32, 8, 4), torch.randn(32, 6))
    module = layer(dtype="float32", num_layers=2, dropout=0.1, **fields)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        for x, target in torch.utils.data.DataLoader(data, batch_size=16, shuffle=True):
            loss = torch.nn.functional.mse_loss(module(x)[1][0][-1], target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


def test_copies_and_pickles() -> None:
    module = layer(peephole=True)
    x = tensor(3, 5, 4)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    others = copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(buffer, weights_only=False)
    for other in others:
        close(other(x)[0].detach(), module(x)[0].detach(), 0.0)
        assert other.spec == module.spec
        assert other.weight_hh_l0 is not module.weight_hh_l0


@pytest.mark.parametrize("fields", [{}, {"direction": "bidirectional", "num_layers": 2}, {"peephole": True}], ids=str)
@pytest.mark.parametrize("batch_first", [True, False])
def test_packed_sequence_in_and_out(fields: dict[str, Any], batch_first: bool) -> None:
    module, x, lengths = layer(batch_first=batch_first, **fields), tensor(3, 5, 4), torch.tensor([2, 5, 3])
    x = x if batch_first else x.transpose(0, 1)
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    y, (h, c) = module(packed)
    expected, (h_n, c_n) = module(x, lengths=lengths)
    assert torch.equal(y.batch_sizes, packed.batch_sizes)
    assert torch.equal(y.sorted_indices, packed.sorted_indices)
    close(pad_packed_sequence(y, batch_first=batch_first)[0].detach(), expected.detach(), 0.0)
    close(h.detach(), h_n.detach(), 0.0)
    close(c.detach(), c_n.detach(), 0.0)


def test_packed_sequence_in_sorted_order_keeps_it() -> None:
    packed = pack_padded_sequence(tensor(3, 5, 4), torch.tensor([5, 3, 2]), batch_first=True)
    y, _ = layer()(packed)
    assert y.sorted_indices is None
    with pytest.raises(unilstm.InputError, match="lengths were given beside a PackedSequence"):
        layer()(packed, lengths=[5, 3, 2])


EVERYTHING: dict[str, Any] = {
    "peephole": True, "proj_size": 3, "proj_clip": 0.15, "cell_clip": 0.5, "direction": "bidirectional",
}  # fmt: skip


@pytest.mark.parametrize("path", ["composed", "kernel"])
def test_second_derivatives_agree_with_differences_of_the_first(path: str) -> None:
    if path == "kernel":
        require_kernel()
    module, lengths = layer(path=path, **EVERYTHING), [4, 2]

    def run(x: Any, w: Any, r: Any) -> Any:
        values = {"weight_hh_l0": w, "weight_hr_l0_reverse": r}
        return torch.func.functional_call(module, values, (x,), {"lengths": lengths})[0]

    x = tensor(2, 4, 4).requires_grad_()
    inputs = (x, module.weight_hh_l0.detach().requires_grad_(), module.weight_hr_l0_reverse.detach().requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_forward_mode_agrees_with_reverse_mode() -> None:
    module, x, v = layer(path="composed", **EVERYTHING), tensor(2, 4, 4), tensor(2, 4, 4, stream=1)
    _, tangent = torch.func.jvp(lambda x: module(x)[0], (x,), (v,))
    with torch.autograd.forward_ad.dual_level():
        dual = module(torch.autograd.forward_ad.make_dual(x, v))[0]
        close(torch.autograd.forward_ad.unpack_dual(dual).tangent.detach(), tangent.detach())
    probe = tensor(2, 4, 6, stream=2)
    (gradient,) = torch.autograd.grad((module(x.requires_grad_())[0] * probe).sum(), x)
    close((gradient * v).sum().item(), (tangent * probe).sum().item())


def test_half_and_double_move_the_whole_layer() -> None:
    module, x = layer(dtype="float32"), tensor(3, 5, 4)
    assert module.double()(x)[0].dtype == torch.float64
    with pytest.raises(unilstm.InputError, match="x is float32 but the layer is float64"):
        module(x.float())
    assert module.to(torch.bfloat16)(x.bfloat16())[0].dtype == torch.bfloat16


def test_frozen_parameters_get_no_gradient_and_the_others_do() -> None:
    module = layer(path="composed", peephole=True)
    module.weight_hh_l0.requires_grad_(False)
    module(tensor(3, 5, 4))[0].sum().backward()
    assert module.weight_hh_l0.grad is None
    assert module.weight_ch_l0.grad.abs().max() > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("path", ["native", "composed"])
def test_a_cuda_layer_computes_what_the_cpu_does(path: str) -> None:
    module, x, lengths = layer(path=path, num_layers=2, direction="bidirectional"), tensor(3, 5, 4), [5, 0, 2]
    expected = module(x, lengths=lengths)[0].detach()
    close(module.cuda()(x.cuda(), lengths=lengths)[0].detach().cpu(), expected, 1e-9)


def test_an_lstm_cell_ports_as_one_layer() -> None:
    cell = torch.nn.LSTMCell(4, 6, dtype=torch.float64)
    x = tensor(3, 4)
    h, c = cell(x)
    y, (h_n, c_n) = unilstm.port(cell, "torch").step(x)
    close(y.detach(), h.detach(), 1e-15)
    close(h_n[0].detach(), h.detach(), 1e-15)
    close(c_n[0].detach(), c.detach(), 1e-15)


def test_what_is_no_lstm_is_not_ported() -> None:
    with pytest.raises(unilstm.PortError, match=r"cannot port a torch.nn.modules.rnn.GRU. Give a unilstm layer"):
        unilstm.port(torch.nn.GRU(4, 6), "jax")
    with pytest.raises(unilstm.PortError, match="cannot port a builtins.int"):
        unilstm.port(3, "numpy")


def test_a_tensor_that_needs_no_gradient_records_none() -> None:
    module = layer(path="composed").requires_grad_(False)
    assert module(tensor(3, 5, 4))[0].grad_fn is None
    assert isinstance(np.asarray(module(tensor(3, 5, 4))[0]), np.ndarray)


@pytest.mark.parametrize("fields", [{"num_layers": 2, "peephole": True}, {"proj_size": 3}], ids=str)
def test_a_step_without_autograd_gives_the_bits_of_the_call(fields: dict[str, Any]) -> None:
    """It goes straight into the kernel (streaming.py), in every layer; what is not plain takes the call's way."""
    require_kernel()
    module, x = layer("kernel", **fields), tensor(3, 4)
    state = module.step(x)[1]
    y, (h, c) = module.step(x, state)  # recorded by autograd
    with torch.no_grad():
        assert streaming.step(module, x, state) is not None
        found, (h_n, c_n) = module.step(x, state)
        assert all(torch.equal(a, b) for a, b in ((found, y), (h_n, h), (c_n, c)))
        assert streaming.step(module, x, None) is None
        assert torch.equal(module.step(x)[0], module.step(x, tuple(torch.zeros_like(s) for s in state))[0])
        with pytest.raises(unilstm.InputError, match="h_0 has shape"):
            module.step(x, (state[0][:, :2], state[1]))
        with torch.autocast("cpu"):
            assert streaming.step(module, x, state) is None
        with forward_ad.dual_level():
            assert streaming.step(module, forward_ad.make_dual(x, x), state) is None
