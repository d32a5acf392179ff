"""Layers of a stack in one call of the kernel: what they are one by one, to the last bit, however many threads go
through them side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import APART, AT_ONCE, SHARING, close, has_compiler, require, require_kernel
from test_kernel_accuracy import kept
from test_kernel_threads import helped
from unilstm import LSTMSpec, Weights
from unilstm_conformance.execution import Target, call, differentiate
from unilstm_conformance.problems import Problem
from unilstm_kernels import library

VARIANTS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "peephole-projected": {"peephole": True, "proj_size": 5, "proj_clip": 0.1},
    "coupled-reverse": {"coupled_gates": True, "direction": "reverse"},
    "highway": {"highway": True},
    "layer-norm": {"layer_norm": "per-gate"},
    "lanes": {"lanes": 2, "lane_pooling": "attention"},
    "slstm": {"cell": "slstm"},
    "minlstm": {"cell": "minlstm"},
}
LAYERS, STEPS, ROWS = 4, 23, 3


def target_of(backend: str) -> Target:
    require_kernel()
    return Target(backend, require(backend), "kernel")


def problem(fields: dict[str, Any], lengths: bool, dtype: str = "float32") -> Problem:
    spec, draw = LSTMSpec(7, 10, num_layers=LAYERS, **fields), np.random.default_rng(0)
    weights = Weights.initial(spec, 1, dtype=dtype)
    given = ((ROWS, STEPS, 7), (LAYERS, ROWS, spec.state_size), (LAYERS, ROWS, *spec.cell_shape))
    x, h, c = (draw.standard_normal(shape).astype(dtype) for shape in given)
    of = ((ROWS, STEPS, spec.state_size), h.shape, c.shape)
    of_y, of_h, of_c = (draw.standard_normal(shape).astype(dtype) for shape in of)
    if spec.cell == "slstm":
        c[:, :, 1] = np.abs(c[:, :, 1])  # n is a sum of exponentials
    ragged = np.array([STEPS, 9, 0]) if lengths else None
    return Problem(weights, x, h, c, ragged, probes={"y": of_y, "h_n": of_h, "c_n": of_c})


def alone(p: Problem, k: int, x: Any, of_y: Any) -> Problem:
    """Layer k by itself."""
    spec, own = p.weights.spec, f"_l{k}"
    inputs = spec.layer_input_size(k)
    weights = {name.replace(own, "_l0"): array for name, array in p.weights.items() if name.endswith(own)}
    at = slice(k, k + 1)
    probes = {"y": of_y, "h_n": p.probes["h_n"][at], "c_n": p.probes["c_n"][at]}
    one = Weights(spec.replace(num_layers=1, input_size=inputs), weights)
    assert p.h_0 is not None
    assert p.c_0 is not None
    return replace(p, weights=one, x=x, h_0=p.h_0[at], c_0=p.c_0[at], probes=probes)


def one_by_one(target: Target, p: Problem) -> dict[str, Any]:
    """Outputs and gradients of the layers, each in a call of its own."""
    xs, found = [p.x], {}
    for k in range(LAYERS):
        xs.append(call(target, alone(p, k, xs[-1], p.probes["y"])).y)
    of_y, states = p.probes["y"], []
    for k in reversed(range(LAYERS)):
        run, gradients = differentiate(target, alone(p, k, xs[k], of_y))
        of_y = gradients.pop("x")
        states.append((run.h_n, run.c_n, gradients.pop("h_0"), gradients.pop("c_0")))
        found |= {name.replace("_l0", f"_l{k}"): value for name, value in gradients.items()}
    names = ("h_n", "c_n", "of h_0", "of c_0")
    joined = {name: np.concatenate(parts[::-1]) for name, parts in zip(names, zip(*states, strict=True), strict=True)}
    return {"y": xs[-1], "of x": of_y, **joined, **found}


def at_once(target: Target, p: Problem) -> dict[str, Any]:
    run, gradients = differentiate(target, p)
    assert run.y.tobytes() == call(target, p).y.tobytes()
    states = {f"of {name}": gradients.pop(name) for name in ("x", "h_0", "c_0")}
    return {"y": run.y, "h_n": run.h_n, "c_n": run.c_n, **states, **gradients}


@pytest.mark.parametrize("always", [SHARING, APART, AT_ONCE], indirect=True)
@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_at_once_are_what_they_are_one_by_one(
    variant: str, lengths: bool, always: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, p = target_of("numpy"), problem(VARIANTS[variant], lengths, "float64" if lengths else "float32")
    monkeypatch.setenv("UNILSTM_NUM_THREADS", "1")
    want = one_by_one(target, p)
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("UNILSTM_NUM_THREADS", threads)
        got = at_once(target, p)
        assert sorted(got) == sorted(want)
        assert [name for name in want if got[name].tobytes() != want[name].tobytes()] == []


@pytest.mark.parametrize("always", [AT_ONCE], indirect=True)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backend", ["torch", "paddle", "jax"])
def test_a_stack_has_one_set_of_bits_in_all_frameworks(
    backend: str, variant: str, always: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNILSTM_NUM_THREADS", "2")
    p = problem(VARIANTS[variant], True)
    want, got = at_once(target_of("numpy"), p), at_once(target_of(backend), p)
    assert sorted(got) == sorted(want)
    assert [name for name in want if got[name].tobytes() != want[name].tobytes()] == []


def test_helpers_go_through_the_layers_of_a_stack_that_one_row_alone_gives_them_nothing_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step of one row and few units is not worth sharing; the layers are."""
    require_kernel()
    found, x = library.library(), np.zeros((1, 200, 32), "float32")
    monkeypatch.setenv("UNILSTM_NUM_THREADS", "2")
    alone, stack = (unilstm.LSTM(32, 48, num_layers=n, backend="numpy", path="kernel", seed=0) for n in (1, 2))
    assert helped(found, lambda: stack(x))
    assert not isinstance(found, str)
    before = found.unilstm_helped()
    for _ in range(20):
        alone(x)
    assert found.unilstm_helped() == before


@pytest.mark.parametrize("backend", ["torch", "paddle"])
def test_below_the_last_layer_that_needs_it_nothing_is_differentiated(backend: str) -> None:
    """Frozen layers at the bottom get no gradient, and the others theirs."""
    require(backend)
    require_kernel()
    p = problem({}, False)
    whole, frozen = (unilstm.LSTM(p.weights, backend=backend) for _ in range(2))
    for name, parameter in frozen.named_parameters():
        if name.endswith(("_l0", "_l1")):
            parameter.requires_grad = False
            parameter.stop_gradient = True
    tensor = require(backend).tensor
    for layer in (whole, frozen):
        layer(tensor(p.x))[0].sum().backward()
    of_whole = dict(whole.named_parameters())
    for name, parameter in frozen.named_parameters():
        if name.endswith(("_l0", "_l1")):
            assert parameter.grad is None
        else:
            assert np.array_equal(parameter.grad.numpy(), of_whole[name].grad.numpy()), name


def test_torch_keeps_nothing_of_the_layers_below_the_last_that_needs_it() -> None:
    """No more than of the upper ones by themselves: what they need, and their input."""
    require_kernel()
    require("torch")
    import torch

    p = problem({}, False)
    frozen = unilstm.LSTM(p.weights, backend="torch")
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad = name.endswith(("_l2", "_l3"))
    x, between = torch.tensor(p.x), torch.ones(ROWS, STEPS, p.weights.spec.hidden_size)
    upper = [unilstm.LSTM(alone(p, k, p.x, p.probes["y"]).weights, backend="torch") for k in (2, 3)]
    needed = sum(kept(lambda one=one: one(between), [between, *one.parameters()]) for one in upper)
    assert needed > 0
    assert kept(lambda: frozen(x), [x, *frozen.parameters()]) <= needed + between.nbytes


@pytest.mark.parametrize("backend", ["numpy", "torch", "paddle"])
def test_a_stack_is_one_call_of_the_library_each_way(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, p = target_of(backend), problem({}, True)
    found: Any = library.library()
    run, calls = found.unilstm_run, []

    def counted(jobs: Any, count: int, backward: int) -> Any:
        calls.append((count, bool(backward)))
        return run(jobs, count, backward)

    monkeypatch.setattr(found, "unilstm_run", counted)
    call(target, p)
    assert calls == [(LAYERS, False)]
    calls.clear()
    differentiate(target, p)
    assert calls == [(LAYERS, False), (LAYERS, True)]


def test_a_stack_is_one_call_of_xlas_each_way() -> None:
    require_kernel()
    require("jax")
    import jax

    p = problem({}, True)
    layer = unilstm.LSTM(p.weights, backend="jax", path="kernel")

    def loss(layer: Any) -> Any:
        return layer(p.x, lengths=p.lengths)[0].sum()

    assert str(jax.make_jaxpr(loss)(layer)).count("ffi_call[") == 1
    assert str(jax.make_jaxpr(jax.grad(loss))(layer)).count("ffi_call[") == 2


def test_jax_differentiates_by_the_upper_layers_alone() -> None:
    require_kernel()
    require("jax")
    import jax

    p = problem({}, False)
    layer = unilstm.LSTM(p.weights, backend="jax")

    def loss(params: Any) -> Any:
        names = layer.params  # the leaves of the layer's tree are these, in this order
        leaves = [params.get(name, value) for name, value in names.items()]
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(layer), leaves)(p.x)[0].sum()

    want = jax.grad(loss)(dict(layer.params))
    got = jax.grad(loss)({name: a for name, a in layer.params.items() if name.endswith("_l3")})
    assert all(np.array_equal(value, want[name]) for name, value in got.items())


def test_second_derivatives_of_a_stack_are_those_of_the_equations() -> None:
    """torch: the way back of the way back. JAX: of every kind."""
    require_kernel()
    require("torch")
    import torch

    p = problem({"peephole": True}, True, "float64")
    found = []
    for path in ("kernel", "composed"):
        layer = unilstm.LSTM(p.weights, backend="torch", path=path)
        x = torch.tensor(p.x, requires_grad=True)
        y, (_, c) = layer(x, lengths=torch.tensor(p.lengths))
        (of_x,) = torch.autograd.grad((y * y).sum() + c.sum(), x, create_graph=True)
        found.append([t.numpy() for t in torch.autograd.grad((of_x * of_x).sum(), [x, *layer.parameters()])])
    for got, want in zip(*found, strict=True):
        close(got, want)


def test_jax_derives_a_stack_in_every_way() -> None:
    require_kernel()
    require("jax")
    import jax
    import jax.numpy as jnp

    p = problem({"peephole": True}, False)
    found = []
    for path in ("kernel", "composed"):
        layer = unilstm.LSTM(p.weights, backend="jax", path=path)
        x = jnp.asarray(p.x)

        def loss(x: Any, layer: Any = layer) -> Any:
            y, (h, _) = layer(x)
            return (y * y).sum() + h.sum()

        forward = jax.jvp(loss, (x,), (jnp.ones_like(x),))[1]
        second = jax.jvp(jax.grad(loss), (x,), (jnp.ones_like(x),))[1]
        batched = jax.vmap(jax.grad(loss))(x[None] * jnp.array([1.0, 0.5])[:, None, None, None])
        found.append([forward, second, batched])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("variant", ["vanilla", "layer-norm"])
def test_torch_compiles_a_stack_into_one_call_of_the_same_bits(variant: str) -> None:
    require_kernel()
    require("torch")
    import torch

    p, found = problem(VARIANTS[variant], True), []
    for compiled in (False, True):
        layer = unilstm.LSTM(p.weights, backend="torch", path="kernel")
        backend = "inductor" if has_compiler() else "aot_eager"
        run = torch.compile(layer, backend=backend, fullgraph=True) if compiled else layer
        x = torch.tensor(p.x, requires_grad=True)
        y, (h, c) = run(x, lengths=torch.tensor(p.lengths))
        ((y * torch.tensor(p.probes["y"])).sum() + h.sum() + c.sum()).backward()
        found.append([t.detach().numpy().tobytes() for t in (y, h, c, x.grad, *(w.grad for w in layer.parameters()))])
    assert found[1] == found[0]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_the_operator_keeps_torchs_rules(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No result is another's memory, shapes without values are those with, and the way back is compiled, too."""
    require_kernel()
    require("torch")
    import torch

    from unilstm_torch import kernel

    operator, given = kernel._OPERATOR, []
    layers = 3 if direction == "forward" else 1
    layer = unilstm.LSTM(4, 5, num_layers=layers, direction=direction, backend="torch", path="kernel", seed=0)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(kernel, "_OPERATOR", lambda *args: given.append(args) or operator(*args))
    layer(torch.randn(2, 6, 4))
    monkeypatch.undo()
    assert len(given) == 1
    assert set(torch.library.opcheck(operator, given[0]).values()) == {"SUCCESS"}


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_torch_exports_a_stack_as_one_operator_and_both_directions_as_one_a_layer(direction: str) -> None:
    require_kernel()
    require("torch")
    import torch

    layer = unilstm.LSTM(7, 10, num_layers=3, direction=direction, backend="torch", seed=0).eval()
    x = torch.randn(2, 5, 7)
    program = torch.export.export(layer, (x,))
    calls = [node for node in program.graph.nodes if str(node.target).startswith("unilstm.lstm_jobs")]
    assert len(calls) == (1 if direction == "forward" else 3)
    assert torch.equal(program.module()(x)[0], layer(x)[0])
