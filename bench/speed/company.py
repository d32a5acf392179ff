"""What the other frameworks' own speed is in a process in which the kernel works, too.

All three frameworks in one process, the one that the study is named after imported first. Threads that a library leaves
behind would take the processors from the others: it is this that is looked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .frameworks import Jax, Paddle, Torch
from .measuring import REPEATS, Run, interleaved
from .subject import Framework, Shape, standard

OTHERS: dict[str, type[Framework]] = {"torch": Torch, "paddle": Paddle, "jax": Jax}


def times(framework: Framework, shape: Shape) -> Iterator[dict[str, Any]]:
    """Seconds of each framework's own work: at first, again (what noise makes of it), once the kernel has worked in
    all frameworks, and right after each call of it from one of them."""
    names = [framework.backend, *(name for name in OTHERS if name != framework.backend)]
    made = {name: OTHERS[name]() for name in names}
    xs = {name: one.x(shape) for name, one in made.items()}
    subjects = dict(_own(made, xs, shape))
    found = {"at first": interleaved(subjects), "again": interleaved(subjects)}
    kernels = {name: _kernel(one, xs[name], shape) for name, one in made.items()}
    for _ in range(REPEATS):
        for kernel in kernels.values():
            kernel()
    found["afterwards"] = interleaved(subjects)
    for name, kernel in kernels.items():
        found[f"after each call from {name}"] = interleaved(subjects, before=kernel)
    for subject in subjects:
        yield {"subject": subject, "seconds": {when: seconds[subject] for when, seconds in found.items()}}


def _own(made: dict[str, Framework], xs: dict[str, Any], shape: Shape) -> Iterator[tuple[str, Run]]:
    for name, one in made.items():
        model, product = one.own(shape), one.product(1024)
        assert model is not None
        assert model.training is not None
        assert product is not None
        yield f"{one.peer}, forward", model.forward(xs[name], None)
        yield f"{one.peer}, training", model.training(xs[name], None)
        yield f"{name}, a product", product


def _kernel(one: Framework, x: Any, shape: Shape) -> Run:
    model = one.ours(standard(shape), "kernel")
    assert model.training is not None
    return model.training(x, None)
