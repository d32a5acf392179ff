"""The kernel itself, called from NumPy: the oracle's numbers for odd shapes, strides and lengths, and the same bits
whatever the instruction set. What the frameworks get of it is in the conformance suite, path "kernel"."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conftest
import drive_kernel
import unilstm
from conftest import close, has_compiler, require, require_kernel
from fuzz_kernel import Fuzzed, differences, try_one, usable
from unilstm import LSTMSpec, Weights, masks
from unilstm_kernels import build, job, library
from unilstm_numpy.ops import OPS


def test_it_is_built_from_these_sources_where_there_is_a_compiler() -> None:
    """A stale library would be tested in the place of what the sources say."""
    if not has_compiler():
        pytest.skip("there is no C++ compiler here")
    assert build.current(), "run: python -m unilstm_kernels.build"
    assert not isinstance(library.library(), str)


@pytest.mark.parametrize(("in_ci", "compiler"), [("true", True), ("true", False), ("", True), ("", False)])
def test_a_test_of_the_kernel_is_skipped_without_it_and_fails_in_ci_where_it_could_be_built(
    in_ci: str, compiler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a kernel that is lost takes its tests with it, and all is green."""
    monkeypatch.setattr(library, "_missing", "the kernel was not built here")
    monkeypatch.setattr(conftest, "has_compiler", lambda: compiler)
    monkeypatch.setenv("CI", in_ci)
    outcome = pytest.fail.Exception if in_ci and compiler else pytest.skip.Exception
    with pytest.raises(outcome, match="the kernel was not built here"):
        require_kernel()


def test_both_sides_of_the_abi_list_the_same_arrays() -> None:
    """job.py follows source/job.h by place: names in the same order."""
    text = (build.SOURCE / "job.h").read_text()
    names = text.partition("enum Array {")[2].partition("};")[0]
    listed = [
        part.strip() for line in names.splitlines() if "//" not in line for part in line.split(",") if part.strip()
    ]
    spelled = {"bias_hh": "bias2"}
    wanted = [spelled.get(name, name).replace("_", "") for name in job.ARRAYS]
    assert [name[1:].lower() for name in listed[:-1]] == wanted


@pytest.mark.parametrize("compiler", ["/nonexistent", "false"])
def test_a_compiler_that_is_not_there_or_fails_is_named(compiler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(build.Unbuildable, match=compiler):
        build.build(force=True)


def test_without_the_library_other_paths_run_and_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_missing", f"the kernel was not built here; {library.HOW}")
    layer = unilstm.LSTM(4, 6, backend="numpy", seed=0)
    assert "layer 0: composed (not kernel: the kernel was not built here; install a C++17" in str(layer.explain())
    layer(np.zeros((1, 2, 4), "float32"))
    with pytest.raises(unilstm.PathError, match="differentiates through the kernel only"):
        layer.vjp(np.zeros((1, 2, 4), "float32"))


@pytest.mark.parametrize("seed", range(120))
def test_fuzzed_specs_shapes_strides_and_lengths_agree_with_the_oracle(seed: int) -> None:
    require_kernel()
    case = Fuzzed(seed)
    assert not case.misfits(*case.run()), str(case)


def test_fuzzed_larger_sizes_masks_and_threads_agree_with_the_oracle() -> None:
    """A few of `make fuzz-kernel`, which has masks of training, several threads and instruction sets, too."""
    require_kernel()
    assert [failure for seed in range(10) for failure in try_one(seed)] == []


@pytest.fixture
def usable_sets() -> Iterator[list[str]]:
    """The instruction sets that can run here; the one in use is put back."""
    require_kernel()
    before = library.instruction_set()
    yield usable()
    library.use_instruction_set(before)


def test_every_instruction_set_gives_the_same_bits(usable_sets: list[str]) -> None:
    for seed in range(40):
        case, first = Fuzzed(seed), None
        for name in usable_sets:
            library.use_instruction_set(name)
            result = case.run()
            first = first or result
            assert not differences(result, first), f"{name} and {usable_sets[0]}: {case.spec!r} {case.dtype}"


@pytest.mark.parametrize("seed", range(40))
def test_a_row_has_the_same_bits_alone_and_within_its_batch(seed: int) -> None:
    require_kernel()
    case = Fuzzed(seed)
    (outputs, gradients), last = case.run(), slice(case.rows - 1, case.rows)
    alone, of_alone = case.run(last)
    axis = (last,) if case.spec.batch_first else (slice(None), last)
    assert np.ascontiguousarray(outputs["y"][axis]).tobytes() == np.ascontiguousarray(alone["y"]).tobytes()
    assert np.ascontiguousarray(gradients["x"][axis]).tobytes() == np.ascontiguousarray(of_alone["x"]).tobytes()
    for name in ("h_n", "c_n"):
        assert np.ascontiguousarray(outputs[name][:, last]).tobytes() == alone[name].tobytes()


def test_the_built_library_gives_the_bits_of_every_compiler_and_instruction_set(tmp_path: Path) -> None:
    """A thousand jobs of the kernel's driver have the digest that g++, clang++, x86-64 and aarch64 all give."""
    require_kernel()
    try:
        compiler = build.compiler()
    except build.Unbuildable as why:
        pytest.skip(str(why))
    program = str(tmp_path / "driver")
    command = [compiler, "-std=c++17", "-O1", f"-I{build.SOURCE}", str(drive_kernel.DRIVER), str(build.LIBRARY)]
    subprocess.run([*command, "-pthread", "-o", program], check=True)
    done = subprocess.run([program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == drive_kernel.DIGEST, "see drive_kernel.DIGEST where the bits were meant to change"


class WithoutDraw:
    """NumPy's operations, but for the kernel's way to draw a mask."""

    words, full, where, reshape = OPS.words, OPS.full, OPS.where, OPS.reshape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_mask_that_the_kernel_draws_is_the_generators(usable_sets: list[str], dtype: str) -> None:
    """Beside full vectors and in them, at each instruction set, for words of every size."""
    like = np.zeros(1, dtype)
    for name in usable_sets:
        library.use_instruction_set(name)
        for n, shape in enumerate([(1,), (3, 5), (4, 2, 16), (131,), (0, 2)]):
            key, stream, p = OPS.key((2**64 - 1) // (n + 1), like), n << 24 | n, (0.05, 0.5, 0.999)[n % 3]
            drawn = masks.keep_mask(OPS, key, stream, shape, p, like)
            want = masks.keep_mask(WithoutDraw, key, stream, shape, p, like)
            assert (drawn.dtype, drawn.shape) == (dtype, shape)
            assert drawn.tobytes() == want.tobytes(), f"{name}, {shape}, p={p}"


def test_large_sizes_go_through_every_block_of_the_sums() -> None:
    """Sums over k have blocks of 64 and 256, x is projected 512 rows at once, products take 48 rows at once, and the
    gradients of 4 steps, each of 53 rows, go to the weights and to x at once."""
    require_kernel()
    spec = LSTMSpec(70, 150, proj_size=130, highway=True)
    layers = [
        unilstm.LSTM(spec, backend="numpy", path=path, seed=3, dtype="float64") for path in ("kernel", "composed")
    ]
    x = np.random.default_rng(0).standard_normal((53, 21, 70))
    lengths = np.arange(53) % 22
    (y, (h, c)), pull = layers[0].vjp(x, lengths=lengths)
    want, (h_n, c_n) = layers[1](x, lengths=lengths)
    for got, expected in ((y, want), (h, h_n), (c, c_n)):
        close(got, expected, 1e-13)
    gradients, step = pull(np.ones_like(y)), 1e-5
    for name in ("weight_ih_l0", "weight_hh_l0", "weight_hr_l0", "weight_xh_l0", "bias_ih_l0"):
        direction = np.random.default_rng(1).standard_normal(gradients[name].shape)
        sums = []
        for sign in (1, -1):
            moved = dict(layers[0].weights()) | {name: layers[0].weights()[name] + sign * step * direction}
            moved_layer = unilstm.LSTM(Weights(spec, moved), backend="numpy", path="kernel")
            sums.append(float(moved_layer(x, lengths=lengths)[0].sum()))
        numeric, exact = (sums[0] - sums[1]) / (2 * step), float((gradients[name] * direction).sum())
        assert abs(numeric - exact) <= 1e-6 * max(1.0, abs(exact)), name


def test_many_units_have_the_same_bits_by_every_instruction_set_and_shared_or_not(
    usable_sets: list[str], always: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are registers for it, and enough units are left to share, the way back takes two blocks of them at
    once: here nine, the last of them not full, alone, and one by one where two threads share them."""
    layer = unilstm.LSTM(LSTMSpec(70, 270, peephole=True), backend="numpy", path="kernel", seed=0)
    draw, results = np.random.default_rng(0), {}
    x, d_y = (draw.standard_normal((5, 3, width)).astype("float32") for width in (70, 270))
    for name in usable_sets:
        library.use_instruction_set(name)
        for threads in "12":
            monkeypatch.setenv("UNILSTM_NUM_THREADS", threads)
            (y, (h, c)), pull = layer.vjp(x, lengths=[3, 1, 2, 3, 0])
            gradients = pull(d_y, (h, c))
            arrays = [y, h, c, *(gradients[key] for key in sorted(gradients))]
            results[name, threads] = [a.tobytes() for a in arrays]
    first = next(iter(results.values()))
    assert [key for key, one in results.items() if one != first] == []


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("name", ["numpy", "torch", "paddle"])
def test_the_gradient_of_y_may_lie_in_memory_in_any_way(name: str, direction: str) -> None:
    """In the batch's order or time's, features apart, one number for all: the gradients have the same bits."""
    require_kernel()
    backend = require(name)
    spec = LSTMSpec(3, 40, direction=direction, batch_first=False)
    layer = unilstm.LSTM(spec, backend=name, path="kernel", seed=0)
    x, d_y = (np.random.default_rng(0).standard_normal((6, 5, n)).astype("float32") for n in (3, spec.output_size))
    memory = {
        "time": d_y,
        "batch": d_y.swapaxes(0, 1).copy().swapaxes(0, 1),
        "features": d_y.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        "part of more": np.pad(d_y, ((1, 1), (2, 0), (3, 4)))[1:-1, 2:, 3:-4],
    }
    found = {how: _gradients(name, backend, layer, x, laid) for how, laid in memory.items()}
    assert all(each == found["time"] for each in found.values())
    of_rows = np.broadcast_to(d_y[:, :1], d_y.shape)  # one row's for all
    assert _gradients(name, backend, layer, x, of_rows) == _gradients(name, backend, layer, x, of_rows.copy())


def _gradients(name: str, backend: Any, layer: Any, x: Any, d_y: Any) -> list[bytes]:
    """Of the parameters and x. d_y in a framework's memory as it is here."""
    if name == "numpy":
        return [gradient.tobytes() for gradient in layer.vjp(x)[1](d_y).values()]
    whole = d_y if d_y.base is None else d_y.base
    tensor = backend.tensor(whole)
    strides, offset = [s // 4 for s in d_y.strides], (d_y.ctypes.data - whole.ctypes.data) // 4
    tensor = tensor.as_strided(list(d_y.shape), strides, offset * (4 if name == "paddle" else 1))  # there of bytes
    x = backend.tensor(x)
    if name == "torch":
        import torch

        tensors = [x.requires_grad_(), *layer.parameters()]
        return [gradient.numpy().tobytes() for gradient in torch.autograd.grad(layer(x)[0], tensors, tensor)]
    import paddle

    x.stop_gradient = False
    tensors = [x, *layer.parameters()]
    found = paddle.grad([layer(x)[0]], tensors, [tensor])
    return [gradient.numpy().tobytes() for gradient in found]


def test_no_step_or_no_row_is_refused_by_the_library_too() -> None:
    """Which layers are not asked for; but the library trusts its callers with nothing that it would divide by."""
    require_kernel()
    for shape in ((0, 2, 3), (2, 0, 3)):
        with pytest.raises(ValueError, match="takes at least one step and one row"):
            job.run(
                job.equations(LSTMSpec(3, 4)),
                shape,
                False,
                [job.Direction(False, (6, 3), {})],
                id,
                backward=False,
                threads=1,
            )
