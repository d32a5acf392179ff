"""Under torch.autocast a layer computes in its dtype, whole, and takes what the layers around it make there."""

from __future__ import annotations

from typing import Any

import pytest

import unilstm
from conftest import close, has_compiler, numbers, require

require("torch")
import torch  # noqa: E402

import unilstm.compat.allennlp  # noqa: E402
import unilstm.compat.torch  # noqa: E402
from unilstm import layer_masks  # noqa: E402

# Without AVX-512 oneDNN has no LSTM in bfloat16, and torch.nn.LSTM fails under autocast.
_OWN_AUTOCAST = torch.ops.mkldnn._is_mkldnn_bf16_supported()
HALF = torch.bfloat16

SPECS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "both directions": {"direction": "bidirectional"},
    "peephole": {"peephole": True},
    "minlstm": {"cell": "minlstm"},
    "slstm": {"cell": "slstm"},
    "learned state": {"learned_state": True},
    "dropout": {"num_layers": 2, "dropout": 0.3},
    "input dropout": {"input_dropout": 0.3},
    "recurrent dropout": {"recurrent_dropout": 0.3},
    "per gate": {"recurrent_dropout": 0.3, "recurrent_dropout_kind": "per-gate"},
    "candidate": {"recurrent_dropout": 0.3, "recurrent_dropout_kind": "candidate"},
    "weight dropout": {"weight_dropout": 0.3},
    "zoneout": {"zoneout_hidden": 0.2, "zoneout_cell": 0.2},
}


def layer(path: str = "auto", dtype: str = "float32", **fields: Any) -> Any:
    return unilstm.LSTM(4, 6, backend="torch", seed=1, path=path, dtype=dtype, **fields)


def tensor(*shape: int, stream: int = 0) -> torch.Tensor:
    return torch.tensor(numbers(*shape, stream=stream, dtype="float32"))


def autocast(dtype: torch.dtype = HALF) -> Any:
    return torch.autocast("cpu", dtype)


@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["whole", "ragged"])
@pytest.mark.parametrize("path", ["auto", "composed"])
@pytest.mark.parametrize("spec", SPECS)
def test_a_call_is_in_autocasts_dtype_whatever_x_and_the_state_are_in(
    spec: str, path: str, lengths: list[int] | None
) -> None:
    """In training, with the masks of a key; x as data is, and as a Linear makes it; the state as a call made it."""
    module, x = layer(path, **SPECS[spec]), tensor(3, 5, 4)
    options: dict[str, Any] = {"lengths": lengths} | ({"key": 3} if layer_masks.names(module.spec) else {})
    want, state = module(x, **options)
    want = module(x, state, **options)[0].detach()
    linear = torch.nn.Linear(4, 4, bias=False)
    torch.nn.init.eye_(linear.weight)
    with autocast():
        _, state = module(x, **options)
        y, finals = module(linear(x), state, **options)
    assert {t.dtype for t in (*state, y, *finals)} == {HALF}
    close(y.detach().float(), want, 0.03)
    assert (y.detach().float() - want).abs().max() > 0
    y.sum().backward()
    assert {p.grad.dtype for p in module.parameters() if p.grad is not None} == {torch.float32}
    assert all(p.grad is not None for name, p in module.named_parameters() if "_0_l" not in name)  # the state was given


@pytest.mark.parametrize("path", ["auto", "native", "composed"])
def test_it_computes_as_torchs_own_does(path: str) -> None:
    """Where torch's own fails, too: it is cast between the choice of an operator and that operator."""
    theirs, x = torch.nn.LSTM(4, 6, batch_first=True), tensor(3, 5, 4)
    module, drop_in = layer(path), unilstm.compat.torch.LSTM(4, 6, batch_first=True)
    for one in (module, drop_in):
        one.load_state_dict(theirs.state_dict())
    linear = torch.nn.Linear(4, 4)
    with autocast():
        for given in (x, linear(x)):
            y, z = module(given)[0], drop_in(given)[0]
            assert y.dtype == z.dtype == HALF
            if _OWN_AUTOCAST:
                expected = theirs(given)[0]
                close(y.detach().float(), expected.detach().float(), 0.0 if path == "native" else 0.02)
                assert torch.equal(z, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_native_serves_on_processors_whose_onednn_has_no_lstm_in_autocasts_dtype(dtype: torch.dtype) -> None:
    module, x = layer("native", num_layers=2), tensor(3, 5, 4)
    with autocast(dtype):
        y = module(x)[0]
    assert y.dtype == dtype
    close(y.detach().float(), module(x)[0].detach(), 0.02)


def test_steps_are_in_autocasts_dtype_and_streams_in_the_layers() -> None:
    module, x = layer().eval(), tensor(3, 4)
    with autocast(), torch.no_grad():
        h, state = module.step(x)
        again, _ = module.step(h.new_ones(3, 4), state)
        y = module.stream(batch_size=3)(x)
    assert h.dtype == again.dtype == HALF
    assert y.dtype == torch.float32
    close(y, module.step(x)[0].detach(), 1e-6)


def test_float64_stays_float64() -> None:
    module, x = layer(dtype="float64"), tensor(3, 5, 4).double()
    with autocast():
        y = module(x)[0]
        with pytest.raises(unilstm.InputError, match="x is bfloat16 but the layer is float64"):
            module(x.to(HALF))
    assert torch.equal(y, module(x)[0])


def test_other_dtypes_are_refused_by_the_layers_own() -> None:
    module, x = layer(input_dropout=0.5), tensor(3, 5, 4)
    state = torch.zeros(1, 3, 6), torch.zeros(1, 3, 6)
    with autocast():
        for given in (x.double(), x.half()):
            with pytest.raises(unilstm.InputError, match=r"x is float\d\d but the layer is float32"):
                module(given)
        with pytest.raises(unilstm.InputError, match="c_0 is float64 but the layer is float32"):
            module(x, (state[0], state[1].double()))
        with pytest.raises(unilstm.InputError, match=r"masks\['input_l0'\] has dtype torch.float32, but must have"):
            module(x, masks={"input_l0": torch.ones(3, 4)})
        assert module(x, masks={"input_l0": torch.ones(3, 4, dtype=HALF)})[0].dtype == HALF
    with pytest.raises(unilstm.InputError, match="x is bfloat16 but the layer is float32"):
        module(x.to(HALF))


def test_a_compiled_layer_and_a_drop_in_class_take_what_a_linear_makes() -> None:
    module, x, linear = layer(), tensor(3, 5, 4), torch.nn.Linear(4, 4)
    compiled = torch.compile(module, backend="inductor" if has_compiler() else "aot_eager", fullgraph=True)
    other = unilstm.compat.allennlp.StackedBidirectionalLstm(4, 6, 2, seed=1)
    packed = torch.nn.utils.rnn.pack_padded_sequence
    with autocast():
        made = linear(x).detach()
        close(compiled(made)[0].detach().float(), module(made)[0].detach().float(), 0.02)
        assert other(packed(linear(x), [5, 4, 2], batch_first=True))[0].data.dtype == HALF
        assert module(packed(x, [5, 4, 2], batch_first=True))[0].data.dtype == HALF


def test_a_layer_without_memory_has_shapes() -> None:
    """On the meta device there is no autocast to ask for."""
    module = unilstm.LSTM(4, 6, backend="torch", device="meta")
    assert module(torch.empty(3, 5, 4, device="meta"))[0].shape == (3, 5, 6)
