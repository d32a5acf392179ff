"""What is measured of a framework, each as rows of numbers: seconds, or bytes, by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from unilstm.presets import PRESETS, preset

from . import accuracy as exactness
from . import company as together
from .measuring import SMALL, Run, flops, interleaved, peak_beyond
from .subject import STEPS, Framework, Model, Shape, ragged, standard


def sized(shape: Shape) -> Shape:
    """The shape itself, or one that runs at once (see SMALL)."""
    b, t, i, h = shape
    return (min(b, 2), min(t, 4), max(4, i // 16), max(16, h // 16)) if os.environ.get(SMALL) else shape


SHAPES = [
    sized(shape)
    for shape in (
        (32, 100, 128, 256), (64, 50, 512, 512), (1, 100, 128, 256),
        (16, 200, 64, 64), (8, 500, 80, 256), (128, 20, 32, 1024),
    )
]  # fmt: skip
STACKS = [
    (sized(shape), layers)
    for shape, layers in (
        ((1, 100, 64, 64), 2), ((1, 100, 64, 64), 4), ((1, 100, 128, 128), 2), ((1, 100, 128, 128), 4),
        ((1, 100, 128, 256), 3), ((4, 100, 128, 128), 2),
    )
]  # fmt: skip
STEP = sized((1, 1, 256, 512))
BIG = sized((32, 400, 256, 512))  # a batch that torch takes to the kernel, not to its own LSTM
USUAL = SHAPES[0]
MIDDLE = sized((16, 50, 128, 128))
# The oracle goes through them a row and a gate at a time: fewer steps and rows, but sums over as many units.
EXACT = [sized(shape) for shape in ((16, 50, 64, 64), (8, 100, 128, 256), (4, 20, 512, 512), (4, 10, 32, 1024))]
DRAWS = 2
NEEDS = {"proj_size": USUAL[3] // 2, "num_blocks": 8, "lanes": 2}
Row = dict[str, Any]


def shapes(framework: Framework) -> Iterator[Row]:
    """Forward and training of a standard LSTM, beside the peer."""
    for shape in SHAPES:
        own, auto = framework.own(shape), framework.ours(standard(shape))
        yield {"shape": shape, "path": auto.path} | _times(framework, shape, {"own": own, "ours": auto})


def directions(framework: Framework) -> Iterator[Row]:
    """The same of a bidirectional layer."""
    for shape in SHAPES:
        own, auto = framework.own(shape, both=True), framework.ours(standard(shape, both=True))
        yield {"shape": shape, "path": auto.path} | _times(framework, shape, {"own": own, "ours": auto})


def stacks(framework: Framework) -> Iterator[Row]:
    """The same of several layers and few rows."""
    for shape, layers in STACKS:
        own, auto = framework.own(shape, layers), framework.ours(standard(shape, layers))
        row: Row = {"shape": shape, "layers": layers, "path": auto.path}
        yield row | _times(framework, shape, {"own": own, "ours": auto})


def streaming(framework: Framework) -> Iterator[Row]:
    """One step at a time, with the state carried on."""
    runs = framework.stream(STEP)
    if runs:
        times = interleaved(runs)
        yield {"shape": STEP, "forward": {name: time / STEPS for name, time in times.items()}}


def lengths(framework: Framework) -> Iterator[Row]:
    """Rows of lengths uniform in 1..T, beside the same batch in full and the peer's own way to ragged rows."""
    for shape in SHAPES[:2] + SHAPES[3:5]:
        given = ragged(shape)
        ours, packed = framework.ours(standard(shape)), framework.packed(shape)
        models = {"full": (ours, None), "ragged": (ours, given), "own": (packed, given)}
        runs = {name: (model, n) for name, (model, n) in models.items() if model is not None}
        row: Row = {"shape": shape, "share": float(given.mean() / shape[1])}
        yield row | _each(framework, shape, runs)


def presets(framework: Framework) -> Iterator[Row]:
    """One layer of every preset beside the vanilla one, a cell and a loop of the framework's operations, and another's
    layer."""
    vanilla = framework.ours(standard(USUAL))
    for name, one in PRESETS.items():
        needs = {need: NEEDS[need] for need in one.needs}
        spec = preset(name, input_size=USUAL[2], hidden_size=USUAL[3], num_layers=1, direction="forward", **needs)
        ours = framework.ours(spec)
        others = {"cell": framework.cell(spec), "loop": framework.loop(spec), "peer": framework.variant(spec)}
        models = {"vanilla": vanilla, "ours": ours, **others}
        yield {"preset": name, "path": ours.path} | _times(framework, USUAL, models)


def growth(framework: Framework) -> Iterator[Row]:
    """How time grows with T, B, H and layers, one of them doubled again and again."""
    b, t, i, h = MIDDLE
    axes: dict[str, list[tuple[Shape, int]]] = {
        "T": [((b, t * n, i, h), 1) for n in (1, 2, 4, 8)],
        "B": [((b * n, t, i, h), 1) for n in (1, 2, 4, 8)],
        "H": [((b, t, i, h * n), 1) for n in (1, 2, 4, 8)],
        "layers": [((b, t, i, h), n) for n in (1, 2, 4, 8)],
    }
    for axis, points in axes.items():
        for shape, layers in points:
            own, ours = framework.own(shape, layers), framework.ours(standard(shape, layers))
            row: Row = {"axis": axis, "shape": shape, "layers": layers}
            yield row | _times(framework, shape, {"own": own, "ours": ours})


def peak(framework: Framework) -> Iterator[Row]:
    """The share of the machine's measured product speed, with this framework's own product of 1024 × 1024 matrices."""
    product = framework.product(1024)
    if product is None:
        return
    for shape in SHAPES:
        runs = {"product": product, "ours": framework.ours(standard(shape)).forward(framework.x(shape), None)}
        times = interleaved(runs)
        speed = {"product": 2 * 1024**3 / times["product"], "ours": flops(shape) / times["ours"]}
        yield {"shape": shape, "flops": speed}


def memory(framework: Framework, which: str, kind: str) -> Row:
    """Bytes that the process's peak grows by: in a process of its own, as a peak never falls."""
    shape, small = BIG, (2, 3, *BIG[2:])
    model = framework.own(shape) if which == "own" else framework.ours(standard(shape))
    assert model is not None
    run = getattr(model, kind)
    if run is None:
        return {}
    x, little = framework.x(shape), framework.x(small)
    return {"shape": shape, "bytes": peak_beyond(run(little, None), run(x, None))}


def accuracy(framework: Framework) -> Iterator[Row]:
    """The largest errors of the kernel and of the peer, each the largest of two draws: eps of the largest number."""
    for shape in EXACT:
        kernel: dict[str, float] = {}
        own: dict[str, float] = {}
        for seed in range(DRAWS):
            case = exactness.Case.of(shape, seed)
            want = exactness.exact(case)
            for worst, values in ((kernel, exactness.kernel), (own, exactness.PEERS[framework.backend])):
                for name, error in exactness.errors(values(case), want).items():
                    worst[name] = max(error, worst.get(name, 0.0))
        yield {"shape": shape, "errors": {"kernel": kernel, "own": own}}


def company(framework: Framework) -> Iterator[Row]:
    """The frameworks' own speed beside the kernel, in one process that imported this framework first."""
    for row in together.times(framework, MIDDLE):
        yield {"shape": MIDDLE} | row


def _times(framework: Framework, shape: Shape, models: dict[str, Model | None]) -> Row:
    return _each(framework, shape, {name: (model, None) for name, model in models.items() if model})


def _each(framework: Framework, shape: Shape, models: dict[str, tuple[Model, Any]]) -> Row:
    x, row = framework.x(shape), {}
    for kind in ("forward", "training"):
        runs: dict[str, Run] = {}
        for name, (model, n) in models.items():
            make = getattr(model, kind)
            if make is not None:
                runs[name] = make(x, n)
        row[kind] = interleaved(runs) if len(runs) == len(models) else {}
    return row


_EVERY = (shapes, directions, stacks, streaming, lengths, presets, growth, peak, accuracy, company)
STUDIES = {study.__name__: study for study in _EVERY}
