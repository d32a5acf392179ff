"""`unilstm demo`: one trained LSTM, taken from a real checkpoint, in every framework that is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .encoder import Encoder, find_checkpoint, read_encoder
from .measure import BOUND, EPS, Run, compare, reference
from .mel import mel_frames
from .picture import check_matplotlib, draw
from .ported import Ported, write_checkpoints, write_sound
from .voice import RATE, synthesise

FRAMES = 160  # 1.6 s, the length that the encoder was trained on
__all__ = ["BOUND", "EPS", "FRAMES", "DemoResult", "run_demo"]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found. truth: torch.nn.LSTM itself, in float32."""

    encoder: Encoder
    truth: Run
    runs: tuple[Run, ...]
    checkpoints: tuple[Ported, ...]
    picture: Path
    sound: Path

    @property
    def ok(self) -> bool:
        """Whether every path that ran stayed within the bound, and at least one ran."""
        ran = [run for run in self.runs if run.eps is not None]
        return bool(ran) and all(run.within for run in ran)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ok": self.ok,
            "bound_eps": BOUND,
            "eps": EPS,
            "lstm": self.encoder.found.to_dict(),
            "frames": FRAMES,
            "reference": self.truth.to_dict(),
            "runs": [run.to_dict() for run in self.runs],
            "checkpoints": [vars(ported) for ported in self.checkpoints],
            "picture": str(self.picture),
            "sound": str(self.sound),
        }


def run_demo(
    out: Path,
    checkpoint: Path | None = None,
    backends: Sequence[str] | None = None,
    progress: Callable[[str, int, int], None] = lambda label, index, count: None,
) -> DemoResult:
    """Find the LSTM in a checkpoint, run it everywhere, and write picture, sound and ported checkpoints to `out`.

    checkpoint: a file with one LSTM; Resemblyzer's speaker encoder if not given. backends: all that are installed.
    Raises CheckpointError, UnknownBackend, BackendUnavailable.
    """
    check_matplotlib()
    encoder = read_encoder(checkpoint or find_checkpoint())
    weights = encoder.weights
    signal = synthesise()
    mel = mel_frames(signal, RATE, weights.spec.input_size)[:FRAMES]
    truth = reference(weights, mel[None])
    runs = compare(weights, mel[None], truth, backends, progress)
    folder = _folder(out)
    usable = {run.backend for run in runs if run.outputs is not None}
    return DemoResult(
        encoder,
        truth.run,
        tuple(runs),
        tuple(write_checkpoints(weights, folder, usable)),
        draw(folder / "demo.png", signal, mel, encoder, truth, runs),
        write_sound(signal, folder / "voice.wav"),
    )


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CheckpointError(f"--out {out}: cannot be made ({problem.strerror}). Choose another folder.") from None
    return out
