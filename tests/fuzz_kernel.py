"""Drawn specs, shapes, strides, lengths, masks, threads and instruction sets through the kernel.

Each gives the oracle's numbers, and the same bits with one thread and with several, at one instruction set and another.

    python tests/fuzz_kernel.py --count 5000 [--seed 0] [--jobs 2]

What fails can be run again: python tests/fuzz_kernel.py --one SEED. Some ten of them, and smaller ones, run with the
other tests (test_kernel.py).
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import numpy as np

import unilstm
from unilstm import LSTMSpec, Weights
from unilstm_conformance import oracle
from unilstm_conformance.against_oracle import GROWTH
from unilstm_conformance.oracle_shapes import Sizes
from unilstm_conformance.problems import NOISE
from unilstm_conformance.tape import noise
from unilstm_conformance.tolerances import gradient_units, output_units
from unilstm_conformance.variants import ACTIVATIONS
from unilstm_kernels import library

# Sizes around the widths of vectors (2 to 16) and panels (4 to 32), and rows around the blocks of 6.
SIZES = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 40]
UNBOUNDED = ("relu", "affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "elu", "softplus")


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


def drawn_other(draw: Any) -> LSTMSpec:
    """The same of the sLSTM or the minLSTM."""
    bias = str(draw.choice(["double", "single", "none"]))
    direction = str(draw.choice(["forward", "reverse", "bidirectional"]))
    fields: dict[str, Any] = {"bias": bias, "direction": direction, "batch_first": draw.random() < 0.5}
    fields |= {"zoneout_hidden": 0.3, "zoneout_cell": 0.4} if draw.random() < 0.3 else {}
    inputs, hidden = int(draw.choice(SIZES)), int(draw.choice(SIZES))
    if draw.random() < 0.4:
        activation = ACTIVATIONS[int(draw.integers(len(ACTIVATIONS)))] if draw.random() < 0.4 else "tanh"
        return LSTMSpec(inputs, hidden, cell="minlstm", cell_activation=activation, **fields)
    heads = int(draw.integers(1, 5))
    exponential = draw.random() < 0.5
    return LSTMSpec(inputs, hidden * heads, cell="slstm", num_heads=heads, exponential_forget=exponential, **fields)


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


def drawn_dropout(draw: Any, cell: str) -> dict[str, Any]:
    """What a call in training drops."""
    places = ("input",) if cell == "minlstm" else ("input", "recurrent", "weight")
    found = {f"{place}_dropout": 0.5 for place in places if draw.random() < 0.5}
    kinds = ["state", "per-gate", "candidate"] if cell == "lstm" else ["state"]
    return found | ({"recurrent_dropout_kind": str(draw.choice(kinds))} if "recurrent_dropout" in found else {})


class Fuzzed:
    """One spec, batch and state, from a seed; x with strides of its own. large: larger ones, and masks of training."""

    def __init__(self, seed: int, *, large: bool = False) -> None:
        draw = np.random.default_rng(seed)
        self.spec = spec = drawn_other(draw) if seed % 5 == 4 else drawn_spec(draw)
        most_rows, most_steps = 9, 6
        if large:
            self.spec = spec = self._larger(draw, spec)
            most_rows, most_steps = [(40, 4), (3, 30), (9, 6), (300, 6)][int(draw.integers(4))]
            if spec.gate_activation.name in UNBOUNDED:  # c grows from step to step, and would overflow
                most_steps = min(most_steps, 6)
        self.dtype = str(draw.choice(["float32", "float64"]))
        self.weights = Weights.initial(spec, seed).astype(self.dtype)
        self.rows, self.steps = int(draw.integers(1, most_rows + 1)), int(draw.integers(1, most_steps + 1))
        lead = (self.rows, self.steps) if spec.batch_first else (self.steps, self.rows)
        x = draw.standard_normal((*lead, spec.input_size))
        if large:
            # Weights are as large as few units let them be: many inputs would saturate all gates, and no relative bound
            # holds for slopes s(1-s) there.
            x *= min(1.0, spec.hidden_size / spec.input_size) ** 0.5
        self.x = self.strided(draw, x.astype(self.dtype), 6 if large else 4)
        count = spec.num_layers * spec.num_directions
        self.h = draw.standard_normal((count, self.rows, spec.state_size)).astype(self.dtype)
        slots = (spec.slots,) if spec.slots > 1 else ()
        self.c = draw.standard_normal((count, self.rows, *slots, spec.hidden_size)).astype(self.dtype)
        if spec.cell == "slstm":  # its normaliser is a sum of exponentials; every other row has none yet
            self.c[:, :, 1] = np.abs(self.c[:, :, 1]) + 0.5
            self.c[:, ::2, 1] = 0.0
        self.lengths = draw.integers(0, self.steps + 1, self.rows) if draw.random() < 0.6 else None
        shapes = {"y": (*lead, spec.output_size), "h_n": self.h.shape, "c_n": self.c.shape}
        self.probes = {name: draw.standard_normal(shape).astype(self.dtype) for name, shape in shapes.items()}
        self.masks = self._masks(draw) if large and draw.random() < 0.5 else None

    @staticmethod
    def _larger(draw: Any, spec: LSTMSpec) -> LSTMSpec:
        """More inputs or units in every other spec, around the blocks of the sums; dropout in every other one; and some
        of them two or three layers deep."""
        fields: dict[str, Any] = drawn_dropout(draw, spec.cell) if draw.random() < 0.5 else {}
        if draw.random() < 0.5:
            fields["input_size"] = int(draw.choice([1, 62, 64, 65, 100, 128, 130, 257, 300]))
        if draw.random() < 0.4 and not spec.num_blocks and spec.lanes == spec.num_heads == 1:
            fields["hidden_size"] = int(draw.choice([48, 63, 64, 65, 96, 127, 128, 130]))
        if draw.random() < 0.3:
            fields["num_layers"] = int(draw.integers(2, 4))
        return spec.replace(**fields)

    @staticmethod
    def strided(draw: Any, x: Any, ways: int = 4) -> Any:
        """The same numbers, otherwise in memory; or, in the last two ways, those of one row or step everywhere."""
        how = int(draw.integers(ways))
        if how == 1:
            return np.asfortranarray(x)
        if how == 2:
            return np.ascontiguousarray(x[::-1])[::-1]
        if how == 3:
            return np.repeat(x, 2, axis=1)[:, ::2]
        return x if how == 0 else np.broadcast_to(x[:1] if how == 4 else x[:, :1], x.shape)

    def _masks(self, draw: Any) -> dict[str, Any]:
        """All that the spec has, half of them 0."""
        sizes = Sizes(self.spec, self.x.shape)
        shapes = sizes.mask_shapes({name: array.shape for name, array in self.weights.items()})
        kept = {name: 1.0 if name.startswith("zoneout") else 2.0 for name in shapes}
        return {name: (draw.integers(0, 2, s) * kept[name]).astype(self.dtype) for name, s in shapes.items()}

    def run(self, rows: slice = slice(None)) -> tuple[dict[str, Any], dict[str, Any]]:
        """Outputs and gradients of those rows, by name; of all where there are masks."""
        layer = unilstm.LSTM(self.weights, backend="numpy", path="kernel")
        axis = (rows,) if self.spec.batch_first else (slice(None), rows)
        lengths = None if self.lengths is None else self.lengths[rows]
        state = self.h[:, rows], self.c[:, rows]
        (y, (h, c)), pull = layer.vjp(self.x[axis], state, lengths=lengths, masks=self.masks)
        probes = self.probes
        gradients = pull(probes["y"][axis], (probes["h_n"][:, rows], probes["c_n"][:, rows]))
        return {"y": y, "h_n": h, "c_n": c}, gradients

    def widened(self) -> Fuzzed:
        """The same case, the same numbers, in float64."""
        other = copy.copy(self)
        other.dtype, other.weights = "float64", self.weights.astype("float64")
        other.x, other.h, other.c = (a.astype("float64") for a in (self.x, self.h, self.c))
        other.probes = {name: a.astype("float64") for name, a in self.probes.items()}
        other.masks = self.masks and {name: a.astype("float64") for name, a in self.masks.items()}
        return other

    def _oracle(self) -> oracle.Result:
        call = self.spec, self.weights, self.x, self.h, self.c, self.lengths
        return oracle.run(*call, masks=self.masks, probes=self.probes)

    def misfits(self, outputs: dict[str, Any], gradients: dict[str, Any], *, grown: bool = False) -> list[str]:
        """What is beyond the bounds of tolerances.py. grown: and beyond how errors grow in this very case."""
        want = self._oracle()
        amplified = max(1.0, want.amplification)
        units = dict.fromkeys(outputs, output_units(self.spec, self.steps) * amplified)
        units |= dict.fromkeys(want.gradients, gradient_units(self.spec, self.steps, self.rows, amplified))
        got, wanted = outputs | gradients, {n: getattr(want, n) for n in outputs} | want.gradients
        moves = self._moves(wanted) if grown else {}
        eps = float(np.finfo(self.dtype).eps)
        found = []
        for name, value in wanted.items():
            bound = eps * max(units[name] * float(np.abs(value).max(initial=0.0)), moves.get(name, 0.0))
            error = float(np.abs(np.asarray(got[name], "float64") - value).max(initial=0.0))
            if not error <= bound:
                found.append(f"{name}: error {error:.3g}, bound {bound:.3g}")
        return found

    def _moves(self, wanted: dict[str, Any]) -> dict[str, float]:
        """How far each result goes where every operation of the oracle errs by an eps; see problems.growth."""
        moves = dict.fromkeys(wanted, 0.0)
        for sample in range(3):
            with noise(NOISE, sample):
                moved = self._oracle()
            for name, value in wanted.items():
                other = getattr(moved, name) if name in self.probes else moved.gradients[name]
                moves[name] = max(moves[name], GROWTH * float(np.abs(other - value).max(initial=0.0)) / NOISE)
        return moves

    def __str__(self) -> str:
        masks = "no masks" if self.masks is None else f"masks {list(self.masks)}"
        return f"{self.spec!r} {self.dtype} {self.x.shape} {self.x.strides} lengths {self.lengths} {masks}"


def kinked(spec: LSTMSpec) -> bool:
    """Has a result a jump, or its slope, where numbers may come near?"""
    functions = (spec.gate_activation, spec.cell_activation, spec.output_activation)
    kinks = ("relu", "thresholded_relu", "hard_sigmoid", "leaky_relu", "elu")
    clips = spec.gate_clip or spec.cell_clip or spec.proj_clip
    return bool(clips) or "max" in spec.lane_pooling or any(f.name in kinks for f in functions)


def differences(one: Any, other: Any) -> list[str]:
    """The results, outputs and gradients, that are not the same bits."""
    return [name for a, b in zip(one, other, strict=True) for name in a if a[name].tobytes() != b[name].tobytes()]


def usable() -> list[str]:
    """The instruction sets that can run here; the one in use stays."""
    before, found = library.instruction_set(), []
    for name in ("v2", "v3", "v4", "neon"):
        try:
            library.use_instruction_set(name)
        except ValueError:
            continue
        found.append(name)
    library.use_instruction_set(before)
    return found


def try_one(seed: int) -> list[str]:
    """What is wrong with this case."""
    case, sets, before = Fuzzed(seed, large=True), usable(), library.instruction_set()
    loaded: Any = library.library()
    threads = os.environ.get("OMP_NUM_THREADS")
    try:
        os.environ["OMP_NUM_THREADS"] = "1"
        library.use_instruction_set(sets[seed % len(sets)])
        first = case.run()
        os.environ["OMP_NUM_THREADS"] = str(2 + seed % 3)
        library.use_instruction_set(before)
        loaded.unilstm_always_threads(1 + seed % 3)
        found = [f"other bits in {name}" for name in differences(case.run(), first)]
    finally:
        loaded.unilstm_always_threads(0)
        library.use_instruction_set(before)
        os.environ.pop("OMP_NUM_THREADS")
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
    if case.misfits(*first):
        misfits = case.misfits(*first, grown=True)
        # A float32 may fall on the other side of a kink; the same numbers as float64 do not.
        if misfits and case.dtype == "float32" and kinked(case.spec):
            case = case.widened()
            misfits = case.misfits(*case.run(), grown=True)
        found += misfits
    return [f"seed {seed}: {one}; {case}" for one in found]


def try_some(seeds: range) -> tuple[int, list[str]]:
    return len(seeds), [failure for seed in seeds for failure in try_one(seed)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--one", type=int)
    said = parser.parse_args()
    if library.missing():
        print(library.missing(), file=sys.stderr)
        return 1
    if said.one is not None:
        said.seed, said.count = said.one, 1
    start, done, failed, end = time.monotonic(), 0, 0, said.seed + said.count
    with ProcessPoolExecutor(said.jobs) as pool:
        tasks = [pool.submit(try_some, range(n, min(n + 50, end))) for n in range(said.seed, end, 50)]
        for task in as_completed(tasks):
            count, failures = task.result()
            done, failed = done + count, failed + len(failures)
            print(*failures, sep="\n", end="\n" if failures else "", flush=True)
            if done % 1000 == 0:
                print(f"{done:,} cases", file=sys.stderr, flush=True)
    print(f"{done:,} cases in {time.monotonic() - start:.0f} s, sets {', '.join(usable())}: {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
