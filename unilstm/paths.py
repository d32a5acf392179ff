"""Which path runs a layer, decided by a predicate over spec, device, dtype and call; never by catching an exception."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import PathError
from .run import DirectionResult, LayerCall, RunStack

PATHS = ("auto", "native", "kernel", "parallel", "fused", "composed")


@dataclass(frozen=True)
class Path:
    """One way to run a layer. refusal: why it cannot serve this layer and call, or None if it can.

    run_stack: a way to run several at once (LayerCall.stacked), if there is one: where it serves the first of them.
    """

    name: str
    refusal: Callable[[int, LayerCall | None], str | None]
    run: Callable[[int, LayerCall], list[DirectionResult]]
    run_stack: RunStack | None = None


@dataclass(frozen=True)
class Decision:
    """The path of one layer, and why each faster one was not taken."""

    layer: int
    path: str
    refused: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        why = "; ".join(f"not {name}: {reason}" for name, reason in self.refused)
        return f"layer {self.layer}: {self.path}{f' ({why})' if why else ''}"


class Explanation(tuple[Decision, ...]):
    """One decision a layer; prints one line each."""

    def __str__(self) -> str:
        return "\n".join(str(decision) for decision in self)


def check_path(wanted: str, paths: Sequence[Path]) -> None:
    if wanted not in PATHS:
        raise PathError(f"path={wanted!r} is unknown. Choose one of: {', '.join(PATHS)}.")
    have = [p.name for p in paths]
    if wanted != "auto" and wanted not in have:
        raise PathError(
            f"path={wanted!r} does not exist on this backend for this cell, which have: {', '.join(have)}. "
            "Use path='auto'."
        )


def choose(paths: Sequence[Path], wanted: str, layer: int, call: LayerCall | None) -> tuple[Path, Decision]:
    """The first path, fastest first, that can serve; the one that was asked for, or PathError with its reason.

    call None asks about a plain call in evaluation: full lengths, no cell sequence.
    """
    refused: list[tuple[str, str]] = []
    for path in paths:
        if wanted not in ("auto", path.name):
            continue
        reason = path.refusal(layer, call)
        if reason is None:
            return path, Decision(layer, path.name, tuple(refused))
        refused.append((path.name, reason))
    name, reason = refused[-1]
    raise PathError(f"path={name!r} cannot serve layer {layer}: {reason}. Use path='auto' or path='composed'.")


def explain(paths: Sequence[Path], wanted: str, layers: int, call: LayerCall | None = None) -> Explanation:
    return Explanation(choose(paths, wanted, k, call)[1] for k in range(layers))
