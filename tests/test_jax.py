"""The JAX layer is a pytree: jit, grad, vmap, scan over step, every derivative."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

import unilstm
from conftest import close, numbers, require, require_kernel

require("jax")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax import export  # noqa: E402
from jax.test_util import check_grads  # noqa: E402


@pytest.fixture(autouse=True)
def double() -> Any:
    with require("jax").scope("float64"):
        yield


def layer(**fields: Any) -> Any:
    return unilstm.LSTM(4, 6, backend="jax", seed=1, dtype="float64", **fields)


def array(*shape: int, stream: int = 0) -> Any:
    return jnp.asarray(numbers(*shape, stream=stream))


EVERYTHING: dict[str, Any] = {
    "peephole": True, "proj_size": 3, "proj_clip": 0.15, "cell_clip": 0.5, "direction": "bidirectional",
}  # fmt: skip


@pytest.mark.parametrize("fields", [{}, EVERYTHING], ids=["vanilla", "everything"])
def test_jit_takes_the_layer_as_an_argument(fields: dict[str, Any]) -> None:
    one, x = layer(**fields), array(3, 5, 4)
    run = jax.jit(lambda layer, x, lengths: layer(x, lengths=lengths))
    for lengths in ([5, 0, 2], [1, 1, 1]):
        y, (h, c) = run(one, x, jnp.asarray(lengths))
        expected, (h_n, c_n) = one(x, lengths=lengths)
        close(y, expected)
        close(h, h_n)
        close(c, c_n)
    assert run._cache_size() == 1


def test_grad_gives_a_layer_of_gradients_that_updates_it() -> None:
    one, x = layer(num_layers=2), array(3, 5, 4)

    @jax.jit
    def loss(layer: Any) -> Any:
        return jnp.square(layer(x)[0] - 0.1).mean()

    first = loss(one)
    for _ in range(20):
        one = jax.tree.map(lambda p, g: p - 0.5 * g, one, jax.grad(loss)(one))
    assert loss(one) < 0.8 * first
    assert isinstance(one, type(layer()))


@pytest.mark.parametrize("fields", [{}, EVERYTHING], ids=["vanilla", "everything"])
def test_derivatives_of_both_modes_and_second_order(fields: dict[str, Any]) -> None:
    one, x = layer(**fields), array(2, 3, 4)
    run = jax.jit(lambda layer, x: layer(x, lengths=[3, 2])[0])
    check_grads(run, (one, x), order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4)


def test_vmap_over_inputs_and_over_layers() -> None:
    one, x = layer(peephole=True), array(2, 3, 5, 4)
    close(jax.vmap(lambda x: one(x)[0])(x), jnp.stack([one(part)[0] for part in x]))
    other = unilstm.LSTM(4, 6, peephole=True, backend="jax", seed=2, dtype="float64")
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, other)
    together = jax.vmap(lambda layer, x: layer(x)[0])(both, x)
    close(together, jnp.stack([one(x[0])[0], other(x[1])[0]]))
    gradients = jax.vmap(jax.grad(lambda x: one(x[None])[0].sum()))(x[0])
    close(gradients, jax.grad(lambda x: one(x)[0].sum())(x[0]))


def test_scan_over_step_is_the_whole() -> None:
    one, x = layer(num_layers=2, peephole=True), array(3, 5, 4)
    zeros = jnp.zeros((2, 3, 6))
    finals, y = jax.lax.scan(lambda s, x: one.step(x, s)[::-1], (zeros, zeros), x.swapaxes(0, 1))
    expected, (h_n, c_n) = one(x)
    close(y.swapaxes(0, 1), expected)
    close(finals[0], h_n)
    close(finals[1], c_n)


@pytest.mark.parametrize("key", [jax.random.key(3), jax.random.PRNGKey(3), 3], ids=["key", "words", "int"])
def test_a_key_may_be_jaxs_own_and_works_under_jit(key: Any) -> None:
    one, x = layer(num_layers=2, dropout=0.5), array(3, 5, 4)
    dropped = one(x, key=key)[0]
    close(jax.jit(lambda k: one(x, key=k)[0])(key if not isinstance(key, int) else jnp.array([3, 0])), dropped)
    assert jnp.abs(dropped - one(x)[0]).max() > 1e-3


def test_it_is_a_pytree_with_named_leaves_and_copies() -> None:
    one = layer()
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(one)]
    assert paths == [f"['{name}']" for name in one.params]
    x = array(3, 5, 4)
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), jax.device_put(one)):
        close(other(x)[0], one(x)[0], 0.0)
    jax.eval_shape(lambda layer: layer(x), one)


def test_numpy_arrays_are_taken_as_jax_takes_them() -> None:
    one = layer()
    close(one(numbers(3, 5, 4))[0], one(array(3, 5, 4))[0], 0.0)


@pytest.mark.parametrize("path", ["auto", "composed"])
@pytest.mark.parametrize("fields", [{}, EVERYTHING, {"layer_norm": "joint"}, {"cell": "minlstm"}], ids=str)
def test_it_is_exported_with_a_symbolic_batch(fields: dict[str, Any], path: str) -> None:
    one = layer(path=path, **fields)
    rows, steps = export.symbolic_shape("b, t")
    for shape in ((rows, 5, 4), (rows, steps, 4)):
        given = jax.ShapeDtypeStruct(shape, jnp.float64)
        written = export.export(jax.jit(lambda x: one(x)[0]))(given).serialize(vjp_order=1)
        run = export.deserialize(written).call
        for size in (2, 9):
            x = array(size, 5, 4)
            close(run(x), one(x)[0])
            close(jax.grad(lambda x, run=run: run(x).sum())(x), jax.grad(lambda x: one(x)[0].sum())(x))


def test_a_program_of_fixed_sizes_has_the_kernel_in_it_only_if_told_so() -> None:
    require_kernel()
    x = array(3, 5, 4)
    for path, checks in (("composed", ()), ("auto", (export.DisabledSafetyCheck.custom_call("unilstm_direction"),))):
        one = layer(path=path)
        run = jax.jit(lambda x, one=one: one(x)[0])
        close(export.deserialize(export.export(run, disabled_checks=checks)(x).serialize()).call(x), one(x)[0])
    with pytest.raises(ValueError, match="no compatibility guarantees"):
        export.export(run)(x)


def test_it_shards_over_a_mesh() -> None:
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, whole = jax.sharding.PartitionSpec("batch"), jax.sharding.PartitionSpec()
    one, x = layer(), array(2, 5, 4)
    placed = jax.device_put(x, jax.sharding.NamedSharding(mesh, rows))
    close(jax.jit(lambda layer, x: layer(x)[0])(one, placed), one(x)[0])
    run = jax.shard_map(lambda layer, x: layer(x)[0], mesh=mesh, in_specs=(whole, rows), out_specs=rows)
    close(run(one, x), one(x)[0])


ON_TWO_DEVICES = """
import jax, numpy as np, unilstm
from jax.sharding import AxisType, PartitionSpec as P

mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
x, lengths = np.random.default_rng(0).standard_normal((4, 7, 5)).astype("float32"), np.array([7, 0, 3, 1])

def loss(layer, x, lengths):
    y, (h, c) = layer(x, lengths=lengths)
    return (y**2).sum() + jax.numpy.sin(h).sum() + (c**3).sum()

def spread(*given):
    return jax.lax.psum(loss(*given), "batch")

for fields in ({"num_layers": 2}, {"direction": "bidirectional"}):
    for path in ("auto", "composed"):
        layer = unilstm.LSTM(5, 6, backend="jax", seed=1, path=path, **fields)
        everywhere = jax.shard_map(spread, mesh=mesh, in_specs=(P(), P("batch"), P("batch")), out_specs=P())
        got = jax.jit(jax.value_and_grad(everywhere, (0, 1)))(layer, x, lengths)
        want = jax.value_and_grad(loss, (0, 1))(layer, x, lengths)
        worst = jax.tree.map(lambda a, b: float(abs(a - b).max()), got, want)
        assert max(jax.tree.leaves(worst)) < 1e-5, (fields, path, worst)
"""


def test_gradients_of_weights_are_summed_over_the_devices_of_a_mesh() -> None:
    """In a process of its own, which has two."""
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES], env=os.environ | devices, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
