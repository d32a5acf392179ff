"""A mel spectrogram as the speaker encoder was trained on: power, 40 bands, 25 ms window, 10 ms hop, no logarithm.

The mel scale and the triangles are those of Slaney 1998, Auditory Toolbox Version 2 (Interval Research, technical
report 1998-010), as in librosa: linear below 1 kHz, logarithmic above, every triangle with the same area.
"""

from __future__ import annotations

import numpy as np

from ..parameters import Array

BANDS = 40  # what the speaker encoder takes
WINDOW = 400  # samples: 25 ms at 16 kHz
HOP = 160  # samples: 10 ms
_LINEAR = 200.0 / 3.0  # Hz a mel, below the break
_BREAK = 1000.0  # Hz
_STEP = np.log(6.4) / 27.0  # ln(Hz) a mel, above it


def mel_frames(signal: Array, rate: int, bands: int = BANDS) -> Array:
    """Mel spectrogram of a signal: float32 [1 + samples // 160, bands], power (not decibels).

    signal: float [samples], at `rate` Hz. Frame t is centred on sample 160·t; beyond the ends the signal is 0.
    """
    padded = np.pad(np.asarray(signal, np.float64), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    return (power @ filterbank(rate, bands).T).astype(np.float32)


def filterbank(rate: int, bands: int = BANDS) -> Array:
    """The triangles: float64 [bands, 201], from 0 Hz to half the rate; each integrates to 1 over Hz."""
    edges = mel_to_hertz(np.linspace(0.0, hertz_to_mel(rate / 2.0), bands + 2))
    bins = np.linspace(0.0, rate / 2.0, WINDOW // 2 + 1)
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    return np.asarray(np.maximum(triangles, 0.0) * 2.0 / (high - low))


def hertz_to_mel(hertz: float) -> float:
    if hertz < _BREAK:
        return hertz / _LINEAR
    return float(_BREAK / _LINEAR + np.log(hertz / _BREAK) / _STEP)


def mel_to_hertz(mel: Array) -> Array:
    bend = _BREAK / _LINEAR
    return np.where(mel < bend, _LINEAR * mel, _BREAK * np.exp(_STEP * (np.maximum(mel, bend) - bend)))
