"""The path of compiled steps. Inductor compiles for the CPU, too, which takes seconds a spec: it does for two specs;
of the others the steps run as they were traced. What a CUDA graph does is shown by a stand-in."""

from __future__ import annotations

import types
from typing import Any

import pytest

import unilstm
from conftest import close, numbers, require

require("torch")
import torch  # noqa: E402

from unilstm_torch import fused, graphs, native  # noqa: E402

ZONEOUT = {"zoneout_hidden": 0.2, "zoneout_cell": 0.3}
SPECS: dict[str, dict[str, Any]] = {
    "vanilla": {"num_layers": 2, "direction": "bidirectional", "recurrent_dropout": 0.3},
    "peephole-highway": {"peephole": True, "coupled_gates": True, "highway": True, "cell_clip": 0.5},
    "layer-norm-projected": {"layer_norm": "joint", "proj_size": 3, "direction": "reverse", "bias": "single"},
    "per-gate-norm": {"layer_norm": "per-gate", "gate_clip": 0.4},
    "arrays": {"lanes": 2, "lane_pooling": "attention", "peephole": True, **ZONEOUT},
    "blocks": {"num_blocks": 2, "peephole": True, "learned_state": True},
    "gates-seen-again": {"gate_recurrence": True, "bias": "none"},
    "candidate": {"recurrent_dropout": 0.3, "recurrent_dropout_kind": "candidate"},
}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Steps are traced, but not compiled."""
    fused._compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    monkeypatch.setattr(fused, "uncompilable", lambda kind: None)
    yield
    fused._compiled.cache_clear()


def layer(path: str, **fields: Any) -> Any:
    return unilstm.LSTM(4, 6, backend="torch", path=path, seed=1, dtype="float64", **fields).train()


def tensor(*shape: int, stream: int = 0) -> Any:
    return torch.tensor(numbers(*shape, stream=stream)).requires_grad_()


def outcome(path: str, fields: dict[str, Any], lengths: Any, cells: bool = False) -> list[Any]:
    """y, h, c[, every c], and the gradients of a function of all of them by x and every parameter."""
    one, x = layer(path, **fields), tensor(3, 5, 4)
    masked = any("dropout" in name or "zoneout" in name for name in fields)
    call = {"key": 3} if masked else {}
    y, finals, *more = one(x, lengths=lengths, return_cell_sequence=cells, **call)
    results = [y, *finals, *more]
    total = sum((n + 1) * torch.sin(value).sum() for n, value in enumerate(results))
    grads = torch.autograd.grad(total, [x, *one.parameters()], allow_unused=True)
    return [*results, *(torch.zeros(()) if g is None else g for g in grads)]


def same(fields: dict[str, Any], lengths: Any, cells: bool = False) -> None:
    pairs = zip(*(outcome(path, fields, lengths, cells) for path in ("fused", "composed")), strict=True)
    for got, want in pairs:
        close(got.detach(), want.detach(), 1e-12)


@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", SPECS)
def test_the_traced_steps_compute_the_equations(traced: None, name: str, lengths: Any) -> None:
    """In training: outputs, states, every c, and all gradients."""
    same(SPECS[name], lengths, cells=lengths is not None)


@pytest.mark.skipif(bool(fused.uncompilable("cpu")), reason=str(fused.uncompilable("cpu")))
@pytest.mark.parametrize("name", ["peephole-highway", "arrays"])
def test_the_compiled_steps_compute_the_equations(name: str) -> None:
    same(SPECS[name], [5, 0, 2])


def test_second_derivatives_are_those_of_the_equations(traced: None) -> None:
    found = []
    for path in ("fused", "composed"):
        one, x = layer(path, peephole=True), tensor(2, 3, 4)
        (slope,) = torch.autograd.grad(torch.sin(one(x)[0]).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, *one.parameters()]))
    for got, want in zip(*found, strict=True):
        close(got, want, 1e-12)


def test_a_step_is_compiled_once_for_all_steps_and_calls(traced: None) -> None:
    one = layer("fused", peephole=True)
    for steps in (3, 7):
        one(tensor(2, steps, 4))[0].sum().backward()
    assert fused._compiled.cache_info().misses == 2  # forward and back


def test_what_it_cannot_serve_is_refused(traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x = tensor(2, 3, 4)
    with pytest.raises(unilstm.PathError, match="no cell 'slstm'"):
        layer("fused", cell="slstm").explain()
    with pytest.raises(unilstm.PathError, match="one product for each gate"):
        layer("fused", recurrent_dropout=0.3, recurrent_dropout_kind="per-gate")(x, key=1)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(unilstm.PathError, match="not for torch.bfloat16"):
        layer("fused").float()(x.float())
    monkeypatch.setattr(fused, "uncompilable", lambda kind: "torch.compile needs a C++ compiler")
    with pytest.raises(unilstm.PathError, match="needs a C\\+\\+ compiler"):
        layer("fused").explain()


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_it_runs_by_name_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on CUDA, until it has been run there: what serves everything comes before it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    paths = native.paths(unilstm.LSTMSpec(3, 4, peephole=True), torch.device(kind), "float32")
    assert [p.name for p in paths] == ["kernel", "native", "composed", "fused"]


@pytest.mark.skipif(torch.version.hip is not None, reason="ROCm's LSTM is refused altogether")
def test_native_on_cuda_is_refused_where_cudnn_would_use_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 on a GPU that has it; not for a layer that stands for torch's own, which uses it, too."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    spec, cuda = unilstm.LSTMSpec(4, 6), torch.device("cuda")

    def reason(dtype: Any, **more: Any) -> Any:
        (path,) = (p for p in native.paths(spec, cuda, dtype, **more) if p.name == "native")
        return path.refusal(0, None)

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        assert "would use TF32" in reason("float32")
        assert reason("float64") is None
        assert reason(torch.float32, native_first=True) is None
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert reason("float32") is None


def test_a_recording_gets_new_inputs_and_gives_results_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_FOUND", type(graphs._FOUND)())
    made: list[Any] = []

    def recorder(function: Any) -> Any:
        results = function()

        def replay() -> None:
            for own, new in zip(results, function(), strict=True):
                own.copy_(new)

        made.append(types.SimpleNamespace(results=results, replay=replay))
        return made[-1]

    found = []
    for n in range(4):
        given = (torch.full((2,), float(n)), None)
        found.append(graphs.replayed("key", lambda a, b: (a * 2,), given, recorder)[0])
    assert [f.tolist() for f in found] == [[0.0] * 2, [2.0] * 2, [4.0] * 2, [6.0] * 2]
    assert len(made) == 1
    for n in range(2 * graphs._KEPT):
        graphs.replayed(n, lambda: (), (), recorder)
    assert len(graphs._FOUND) == graphs._KEPT


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SPECS)
def test_a_cuda_layer_computes_what_the_cpu_does(name: str) -> None:
    """Three calls: compiled, recorded, replayed."""
    x, one = tensor(3, 5, 4).detach(), layer("fused", **SPECS[name]).eval()
    expected = layer("composed", **SPECS[name]).eval()(x, lengths=[5, 0, 2])[0].detach()
    one.cuda()
    for _ in range(3):
        y = one(x.cuda(), lengths=[5, 0, 2])[0]
        y.sum().backward()
        close(y.detach().cpu(), expected, 1e-9)
