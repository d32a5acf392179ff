"""The native path of JAX, cuDNN's LSTM. Without a GPU, jax's own reference of the same call (lstm_ref) stands in:
that shows how weights, lengths and directions are handed over and derivatives put together, not the numbers of cuDNN.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import pytest

import unilstm
from conftest import close, numbers, require

require("jax")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax.experimental import rnn  # noqa: E402
from jax.interpreters import mlir  # noqa: E402

from unilstm_jax import cudnn  # noqa: E402

_HAS_CUDNN = cudnn.missing() is None


def _reference(x: Any, h_0: Any, c_0: Any, weights: Any, lengths: Any, **sizes: Any) -> Any:
    sizes = {name: value for name, value in sizes.items() if name != "precision"}
    names = ("input_size", "hidden_size", "num_layers", "bidirectional")
    parts = rnn.unpack_lstm_weights(weights, *(sizes[name] for name in names))
    return rnn.lstm_ref(x, h_0, c_0, *parts, lengths, *sizes.values())


def _forward(*given: Any, precision: Any, **sizes: Any) -> Any:
    assert rnn._lstm_cudnn_allow_tf32(precision) is False
    y, h, c = _reference(*given, **sizes)
    return (y, h, c), (*given, y, jnp.zeros(7))


def _backward(*given: Any) -> Any:
    *sizes, precision, kept, cotangents = given
    assert rnn._lstm_cudnn_allow_tf32(precision) is False
    names = ("input_size", "hidden_size", "num_layers", "dropout", "bidirectional")
    run = functools.partial(_reference, **dict(zip(names, sizes, strict=True)))
    _, pull = jax.vjp(lambda *a: run(*a, kept[4]), *kept[:4])
    return (*pull(cotangents), None)


@pytest.fixture
def in_place_of_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn, "missing", lambda: None)
    monkeypatch.setattr(cudnn, "_PLATFORM", "cpu")
    monkeypatch.setattr(rnn, "lstm_fwd", _forward)
    monkeypatch.setattr(rnn, "lstm_bwd", _backward)


def layer(path: str, **fields: Any) -> Any:
    return unilstm.LSTM(4, 6, backend="jax", path=path, seed=1, dtype="float32", **fields)


def array(*shape: int, stream: int = 0) -> Any:
    return jnp.asarray(numbers(*shape, stream=stream, dtype="float32"))


@pytest.mark.parametrize(
    ("fields", "lengths"),
    [({"direction": "bidirectional"}, [5, 0, 2]), ({"bias": "single"}, None), ({"bias": "none"}, [1, 5, 4])],
    ids=str,
)
def test_what_is_handed_to_cudnn_computes_the_equations(in_place_of_cudnn: None, fields: Any, lengths: Any) -> None:
    """Outputs, final states and all gradients, with an initial state and NaN in the padding."""
    x, count = array(3, 5, 4), 1 + ("direction" in fields)
    if lengths:
        x = jnp.where((jnp.arange(5) < jnp.asarray(lengths)[:, None])[..., None], x, jnp.nan)
    state = array(count, 3, 6, stream=1), array(count, 3, 6, stream=2)
    found = []
    for path in ("native", "composed"):

        def total(one: Any, x: Any, state: Any) -> Any:
            y, finals = one(x, state, lengths=lengths)
            return sum((jnp.sin(value) * (n + 1)).sum() for n, value in enumerate((y, *finals))), (y, finals)

        found.append(jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(layer(path, **fields), x, state))
    for got, want in zip(*(jax.tree.leaves(one) for one in found), strict=True):
        close(got, want, 2e-5)


def test_it_stays_differentiable_every_way_and_batched(in_place_of_cudnn: None) -> None:
    """Forward mode over reverse, and vmap, which jax.experimental.rnn.lstm itself does not have."""
    x, v = array(2, 3, 4), array(2, 3, 4, stream=1)
    found = []
    for path in ("native", "composed"):
        run = functools.partial(lambda one, x: jnp.square(one(x, lengths=[3, 2])[0]).sum(), layer(path))
        found.append(jax.jit(lambda x, v, run=run: (*jax.jvp(jax.grad(run), (x,), (v,)), jax.vmap(run)(v[None])))(x, v))
    for got, want in zip(*found, strict=True):
        close(got, want, 2e-5)


def test_compiled_for_cuda_it_is_cudnns_call_and_elsewhere_the_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    """By jax's own lowering. What it asks cuDNN, sizes and a descriptor, is stubbed: that needs the library."""
    monkeypatch.setattr(cudnn, "missing", lambda: None)
    sizes = lambda *a: (64, 32)  # noqa: E731
    monkeypatch.setattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes", sizes, raising=False)
    asked: list[Any] = []
    stub = types.SimpleNamespace(build_rnn_descriptor=lambda *a: (asked.append(a), b"")[1])
    lowerings = ((rnn.rnn_fwd_p, rnn.gpu_rnn._rnn_fwd_lowering), (rnn.rnn_bwd_p, rnn.gpu_rnn._rnn_bwd_lowering))
    for primitive, lowering in lowerings:
        mlir.register_lowering(primitive, functools.partial(lowering, stub, "cu"), platform="cuda")
    traced = jax.jit(jax.grad(lambda one, x: one(x)[0].sum())).trace(layer("native"), array(3, 5, 4))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "@cudnn_rnn_ffi" in text
    assert "@cudnn_rnn_bwd_ffi" in text
    assert {one[7] for one in asked} == {False}  # no TF32
    assert {one[:5] for one in asked} == {(4, 6, 1, 3, 5)}
    assert "cudnn" not in traced.lower(lowering_platforms=("cpu",)).as_text()


@pytest.mark.parametrize(
    ("fields", "call", "words"),
    [
        ({"peephole": True}, {}, "cuDNN has no peephole of this kind"),
        ({"proj_size": 3}, {}, "has no projection"),
        ({"input_dropout": 0.5}, {"key": 1}, "no recurrent dropout, nor one mask"),
        ({}, {"return_cell_sequence": True}, "does not return c of every step"),
    ],
)
def test_what_cudnn_cannot_serve_is_refused(
    monkeypatch: pytest.MonkeyPatch, fields: Any, call: Any, words: str
) -> None:
    monkeypatch.setattr(cudnn, "missing", lambda: None)
    with pytest.raises(unilstm.PathError, match=words):
        layer("native", **fields)(array(3, 5, 4), **call)


def test_float64_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn, "missing", lambda: None)
    with require("jax").scope("float64"), pytest.raises(unilstm.PathError, match="computes in float32 alone"):
        unilstm.LSTM(4, 6, backend="jax", path="native", dtype="float64")(jnp.asarray(numbers(3, 5, 4)))


@pytest.mark.skipif(_HAS_CUDNN, reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(unilstm.PathError, match="cuDNN runs on an NVIDIA GPU, not on cpu"):
        layer("native").explain()
    assert "native" not in require("jax").paths()


@pytest.mark.gpu
@pytest.mark.skipif(not _HAS_CUDNN, reason="needs JAX with cuDNN")
@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["full", "ragged"])
def test_cudnn_computes_the_equations(lengths: Any) -> None:
    x, found = array(3, 5, 4), []
    with jax.default_matmul_precision("highest"):
        for path in ("native", "composed"):
            one = layer(path, num_layers=2, direction="bidirectional")
            run = jax.jit(jax.value_and_grad(lambda one, x: jnp.sin(one(x, lengths=lengths)[0]).sum(), (0, 1)))
            found.append(run(one, x))
    for got, want in zip(*(jax.tree.leaves(one) for one in found), strict=True):
        close(got, want, 2e-5)
