"""The kernel itself, called from NumPy: the oracle's numbers for odd shapes, strides and lengths, and the same bits
whatever the instruction set. What the frameworks get of it is in the conformance suite, path "kernel"."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import close, require_kernel
from unilstm import LSTMSpec, Weights, masks
from unilstm_conformance import oracle
from unilstm_conformance.tolerances import gradient_units, output_units
from unilstm_conformance.variants import ACTIVATIONS
from unilstm_kernels import build, job, library
from unilstm_numpy.ops import OPS


def test_it_is_built_from_these_sources_where_there_is_a_compiler() -> None:
    """A stale library would be tested in the place of what the sources say."""
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        pytest.skip("there is no C++ compiler here")
    assert build.current(), "run: python -m unilstm_kernels.build"
    assert not isinstance(library.library(), str)


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


# Sizes around the widths of vectors (2 to 16) and panels (4 to 32), and rows around the blocks of 6.
SIZES = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 40]


def drawn_spec(draw: Any) -> LSTMSpec:
    """Any spec of one layer that the kernel serves."""
    hidden = int(draw.choice(SIZES[1:]))
    fields: dict[str, Any] = {"bias": str(draw.choice(["double", "single", "none"])), "highway": draw.random() < 0.3}
    gates = tuple(g for g in ("input", "forget", "output") if draw.random() < 0.85)
    fields |= {"gates": gates} if draw.random() < 0.7 else {"coupled_gates": True}
    fields["peephole"] = draw.random() < 0.5 and bool(fields.get("gates", True))
    for field, chance in (("gate_clip", 0.6), ("cell_clip", 0.3)):
        fields[field] = chance if draw.random() < 0.3 else 0.0
    if draw.random() < 0.4:
        fields |= {"proj_size": int(draw.integers(1, hidden)), "proj_clip": 0.2 if draw.random() < 0.5 else 0.0}
    if draw.random() < 0.4:
        for place in ("gate", "cell", "output"):
            fields[f"{place}_activation"] = ACTIVATIONS[int(draw.integers(len(ACTIVATIONS)))]
    if draw.random() < 0.5:
        fields |= drawn_beyond(draw, hidden, fields)
    direction = str(draw.choice(["forward", "reverse", "bidirectional"]))
    return LSTMSpec(int(draw.choice(SIZES)), hidden, direction=direction, batch_first=draw.random() < 0.5, **fields)


def drawn_beyond(draw: Any, hidden: int, fields: dict[str, Any]) -> dict[str, Any]:
    """What makes a step treat a row as a whole, as far as it goes with these fields."""
    found: dict[str, Any] = {"zoneout_hidden": 0.3, "zoneout_cell": 0.4} if draw.random() < 0.3 else {}
    gated = bool(fields.get("gates", True))
    # Two numbers, normalised, are 1 and -1: their gradients cancel but for ε, and no bound on roundings holds for them.
    normed = hidden >= 5 and draw.random() < 0.5
    if normed:
        found["layer_norm"] = str(draw.choice(["joint", "normalized-state", "per-gate"]))
    if gated and draw.random() < 0.3:
        return found | {"gate_recurrence": True}
    blocks = [k for k in range(5 if normed else 1, hidden + 1) if hidden % k == 0]
    if gated and draw.random() < 0.5:
        found["num_blocks"] = int(draw.choice(blocks))
    if draw.random() < 0.5:
        poolings = ["sum"] + ["argmax"] * ("output" in fields.get("gates", ["output"]))
        if not fields.get("coupled_gates") and len(fields.get("gates", "ifo")) == 3:
            poolings += ["attention", "attention-max"]
        found |= {"lanes": int(draw.integers(2, 5)), "lane_pooling": str(draw.choice(poolings))}
    return found


class Fuzzed:
    """One spec, batch and state, from a seed; x with strides of its own."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.spec = spec = drawn_spec(draw)
        self.dtype = str(draw.choice(["float32", "float64"]))
        self.weights = Weights.initial(spec, seed).astype(self.dtype)
        self.rows, self.steps = int(draw.integers(1, 9)), int(draw.integers(1, 6))
        lead = (self.rows, self.steps) if spec.batch_first else (self.steps, self.rows)
        self.x = self.strided(draw, draw.standard_normal((*lead, spec.input_size)).astype(self.dtype))
        count = spec.num_directions
        self.h = draw.standard_normal((count, self.rows, spec.state_size)).astype(self.dtype)
        slots = (spec.slots,) if spec.slots > 1 else ()
        self.c = draw.standard_normal((count, self.rows, *slots, spec.hidden_size)).astype(self.dtype)
        self.lengths = draw.integers(0, self.steps + 1, self.rows) if draw.random() < 0.6 else None
        shapes = {"y": (*lead, spec.output_size), "h_n": self.h.shape, "c_n": self.c.shape}
        self.probes = {name: draw.standard_normal(shape).astype(self.dtype) for name, shape in shapes.items()}

    @staticmethod
    def strided(draw: Any, x: Any) -> Any:
        """The same numbers, otherwise in memory."""
        how = int(draw.integers(4))
        if how == 1:
            return np.asfortranarray(x)
        if how == 2:
            return np.ascontiguousarray(x[::-1])[::-1]
        return np.repeat(x, 2, axis=1)[:, ::2] if how == 3 else x

    def run(self, rows: slice = slice(None)) -> tuple[dict[str, Any], dict[str, Any]]:
        """Outputs and gradients of those rows, by name."""
        layer = unilstm.LSTM(self.weights, backend="numpy", path="kernel")
        axis = (rows,) if self.spec.batch_first else (slice(None), rows)
        lengths = None if self.lengths is None else self.lengths[rows]
        (y, (h, c)), pull = layer.vjp(self.x[axis], (self.h[:, rows], self.c[:, rows]), lengths=lengths)
        probes = self.probes
        gradients = pull(probes["y"][axis], (probes["h_n"][:, rows], probes["c_n"][:, rows]))
        return {"y": y, "h_n": h, "c_n": c}, gradients


def unfit(name: str, got: Any, want: Any, units: float, dtype: str) -> str | None:
    bound = units * float(np.finfo(dtype).eps) * float(np.abs(want).max(initial=0.0))
    error = float(np.abs(np.asarray(got, "float64") - want).max(initial=0.0))
    return None if error <= bound else f"{name}: error {error:.3g}, bound {bound:.3g}"


@pytest.mark.parametrize("seed", range(120))
def test_fuzzed_specs_shapes_strides_and_lengths_agree_with_the_oracle(seed: int) -> None:
    require_kernel()
    case = Fuzzed(seed)
    outputs, gradients = case.run()
    want = oracle.run(case.spec, case.weights, case.x, case.h, case.c, case.lengths, probes=case.probes)
    amplified = max(1.0, want.amplification)
    units = output_units(case.spec, case.steps) * amplified
    found = [unfit(name, outputs[name], getattr(want, name), units, case.dtype) for name in outputs]
    units = gradient_units(case.spec, case.steps, case.rows, amplified)
    found += [unfit(f"gradient of {n}", gradients[n], v, units, case.dtype) for n, v in want.gradients.items()]
    assert not [one for one in found if one], (
        f"{case.spec!r} {case.dtype} {case.x.shape} lengths {case.lengths}: {found}"
    )


@pytest.fixture
def usable_sets() -> Iterator[list[str]]:
    """The instruction sets that can run here; the one in use is put back."""
    require_kernel()
    before, found = library.instruction_set(), []
    for name in ("v2", "v3", "v4", "neon"):
        try:
            library.use_instruction_set(name)
        except ValueError:
            continue
        found.append(name)
    yield found
    library.use_instruction_set(before)


def differences(one: Any, other: Any) -> list[str]:
    return [name for a, b in zip(one, other, strict=True) for name in a if a[name].tobytes() != b[name].tobytes()]


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
    """Sums over k have blocks of 64 and 256, x is projected 512 rows at once, products take 48 rows at once."""
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
