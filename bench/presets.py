"""Every preset × layers × directions × full and ragged lengths × evaluation and training, on one backend each.

    python bench/presets.py torch            # numpy, torch, paddle or jax; path "auto" unless --path

Outputs, final states and all gradients against the oracle, within the conformance suite's bounds. `unilstm conformance
--all` runs the same cases with every check and path; there JAX compiles each case several times, which takes hours.
Here it compiles once for both kinds of lengths: lengths and the masks' key are traced.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from unilstm import plugins
from unilstm.masks import split_key
from unilstm.presets import PRESETS
from unilstm_conformance import against_oracle, execution
from unilstm_conformance.cases import DTYPES, STACKS, Case, preset_case, trained
from unilstm_conformance.execution import Run, Target
from unilstm_conformance.problems import OUTPUTS, problem

LENGTHS = ("full", "ragged")
KEY = 0xC0FFEE


def groups() -> Iterator[list[Case]]:
    """The two lengths of each spec: one program where a framework compiles."""
    for number, name in enumerate(PRESETS):
        for n, stack in enumerate(STACKS):
            dtype = DTYPES[(number + n) % 2]
            plain = [replace(preset_case(name, stack, n % 2, lengths=kind, dtype=dtype), key=None) for kind in LENGTHS]
            yield plain
            yield [replace(c, variant=f"{name}-trained", spec=trained(c.spec), key=KEY) for c in plain]


def compiled_once(target: Target, first: Case) -> Callable[[Case], tuple[Run, dict[str, Any]]]:
    """Outputs and gradients of cases that differ from the first in their arrays alone."""
    import jax

    vjp = target.backend.vjp()
    assert vjp is not None

    def whole(layer: Any, inputs: Any, cotangents: Any, lengths: Any, key: Any) -> Any:
        def outputs_of(layer: Any, inputs: Any) -> Any:
            y, (h_n, c_n) = layer(inputs["x"], (inputs["h_0"], inputs["c_0"]), lengths=lengths, key=key)
            return [y, h_n, c_n]

        return vjp(layer, outputs_of, inputs, cotangents)

    program = jax.jit(whole)

    def run(case: Case) -> tuple[Run, dict[str, Any]]:
        p = problem(case)
        with target.scope(p.dtype):
            key = None if case.key is None else np.array(split_key(case.key), np.uint32)
            inputs = {name: target.tensor(value) for name, value in p.inputs.items()}
            cotangents = [target.tensor(p.probes[name]) for name in OUTPUTS]
            given = target.tensor(p.lengths), None if key is None else target.tensor(key)
            outputs, grads = program(target.layer(p.weights), inputs, cotangents, *given)
            y, h_n, c_n = (target.array(value) for value in outputs)
            return Run(y, h_n, c_n), {name: target.array(value) for name, value in grads.items()}

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend")
    parser.add_argument("--path", default="auto")
    chosen = parser.parse_args()
    target, began = Target(chosen.backend, plugins.get(chosen.backend), chosen.path), time.perf_counter()
    passed, failed, worst = 0, [], 0.0
    for cases in groups():
        if chosen.backend == "jax":
            run = compiled_once(target, cases[0])
            against_oracle.gradients = lambda target, case, training, run=run: run(case)  # type: ignore[assignment,misc]
        for case in cases:
            measured = against_oracle.at_once(target, case)
            worst = max([worst, *(m.ratio for m in measured)])
            if all(m.ok for m in measured):
                passed += 1
            else:
                failed.append(case.id)
                print("failed", case.id, *(m for m in measured if not m.ok), sep="\n  ", flush=True)
        execution.forward.cache_clear()
        if (passed + len(failed)) % 40 == 0:
            print(f"{passed} passed, {len(failed)} failed, {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{chosen.backend}: {passed} cases passed, {len(failed)} failed; largest error {worst:.2f} of its bound")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
