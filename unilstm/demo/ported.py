"""The ported checkpoints that the demo leaves behind, each read back and compared bit for bit."""

from __future__ import annotations

import wave
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import plugins
from ..checkpoints import load, save
from ..errors import CheckpointError
from ..factory import LSTM
from ..parameters import Array
from ..weights import Weights
from .voice import RATE


@dataclass(frozen=True)
class Ported:
    """A file that was written. opens_in: what reads it without unilstm."""

    path: str
    opens_in: str


def write_checkpoints(weights: Weights, folder: Path, usable: Collection[str]) -> list[Ported]:
    """Write the LSTM for every framework at hand. Raises CheckpointError where a file does not read back as written."""
    written = [
        _safetensors(weights, folder / "lstm.safetensors"),
        _torch(weights, folder / "lstm.pt"),
    ]
    if "paddle" in usable:
        written.append(_paddle(weights, folder / "lstm.pdparams"))
    if "jax" in usable:
        written.append(_jax(weights, folder / "lstm.jax.safetensors"))
    return written


def write_sound(signal: Array, path: Path) -> Path:
    """The signal as a 16-bit mono WAV file, made louder so that it can be heard."""
    samples = np.round(signal / np.max(np.abs(signal)) * 0.8 * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return path


def _safetensors(weights: Weights, path: Path) -> Ported:
    save(weights, path)
    return _checked(path, "unilstm; any safetensors reader", lambda: load(path) == weights)


def _torch(weights: Weights, path: Path) -> Ported:
    save(weights, path)
    config = weights.layout_config("torch")  # what a state_dict does not hold, such as batch_first
    return _checked(path, "torch: lstm.load_state_dict(torch.load(path))", lambda: load(path, config=config) == weights)


def _paddle(weights: Weights, path: Path) -> Ported:
    import paddle

    state = LSTM(weights, backend="paddle").state_dict()
    paddle.save(state, str(path))

    def same() -> bool:
        read = paddle.load(str(path), return_numpy=True)
        array = plugins.get("paddle").array
        return set(read) == set(state) and all(
            read[name].tobytes() == array(value).tobytes() for name, value in state.items()
        )

    return _checked(path, "paddle: lstm.set_state_dict(paddle.load(path))", same)


def _jax(weights: Weights, path: Path) -> Ported:
    save(weights, path, layout="jax-cudnn")
    return _checked(
        path, "jax: jax.experimental.rnn.lstm, by safetensors.flax.load_file", lambda: load(path) == weights
    )


def _checked(path: Path, opens_in: str, same: Callable[[], bool]) -> Ported:
    if not same():
        raise CheckpointError(f"{path}: does not read back as it was written. Please report this as a bug.")
    return Ported(str(path), opens_in)
