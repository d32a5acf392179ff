"""The demo: its signal and mel frames are what they say, and it tells an LSTM that agrees from one that does not."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from unilstm import CheckpointError, LSTMSpec, Weights, demo
from unilstm.demo import encoder, measure, mel, picture, ported, voice
from unilstm.parameters import Array

SPEC = LSTMSpec(40, 16, num_layers=2)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def signal() -> Array:
    return voice.synthesise()


def small_checkpoint(path: Path, head: bool = True, spec: LSTMSpec = SPEC) -> Path:
    """A file with the structure of Resemblyzer's, but an untrained network of a few thousand parameters."""
    torch = pytest.importorskip("torch")
    arrays = Weights.initial(spec, seed=3).to_layout("torch", prefix="lstm.")
    if head:
        rng = np.random.default_rng(0)
        arrays["linear.weight"] = rng.standard_normal((24, spec.state_size)).astype(np.float32)
        arrays["linear.bias"] = rng.standard_normal(24).astype(np.float32)
    model = {name: torch.tensor(array) for name, array in arrays.items()}
    torch.save({"step": 1, "model_state": model, "optimizer_state": {"state": {}}}, path)
    return path


# The voice.


def test_the_voice_lasts_1600_milliseconds_at_16_khz(signal: Array) -> None:
    assert signal.shape == (25_600,)
    assert signal.dtype == np.float64


def test_the_voice_is_the_same_every_time(signal: Array) -> None:
    np.testing.assert_array_equal(signal, voice.synthesise())


def test_the_voice_has_the_loudness_of_speech_and_does_not_clip(signal: Array) -> None:
    assert 20 * np.log10(np.sqrt(np.mean(signal**2))) == pytest.approx(-24.0)
    assert np.abs(signal).max() < 1.0


def test_the_voice_starts_and_ends_in_silence(signal: Array) -> None:
    assert np.abs(signal[:16]).max() < 1e-3
    assert np.abs(signal[-16:]).max() < 1e-3


@pytest.mark.parametrize("at", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_the_pitch_glides_as_stated(signal: Array, at: float) -> None:
    """The autocorrelation of 60 ms peaks at the period of the pitch, to a sample."""
    wanted = np.interp(at, *voice._PITCH)
    start = round(at * len(signal)) - 480
    part = signal[start : start + 960]
    lags = np.arange(round(voice.RATE / 200), round(voice.RATE / 70))
    correlation = [np.corrcoef(part[:-lag], part[lag:])[0, 1] for lag in lags]
    assert voice.RATE / lags[int(np.argmax(correlation))] == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("index", range(len(voice.VOWELS)))
def test_each_vowel_rings_at_its_first_formant(signal: Array, index: int) -> None:
    """The strongest harmonic of the source, made flat, lies next to F1."""
    first = voice._FORMANTS[voice.VOWELS[index]][0]
    middle = round((index + 0.5) / len(voice.VOWELS) * len(signal))
    part = np.diff(signal[middle - 800 : middle + 800]) * np.hanning(1599)  # a slope against the source's
    power = np.abs(np.fft.rfft(part)) ** 2
    hertz = np.fft.rfftfreq(1599, 1 / voice.RATE)
    low = hertz < 1000.0
    assert abs(hertz[low][np.argmax(power[low])] - first) < 130.0  # one harmonic


# The mel frames.


def test_the_mel_spectrogram_has_a_frame_every_10_ms(signal: Array) -> None:
    frames = mel.mel_frames(signal, voice.RATE)
    assert frames.shape == (161, 40)
    assert frames.dtype == np.float32
    assert (frames >= 0).all()


def test_every_triangle_integrates_to_one() -> None:
    """Slaney's normalisation. Low triangles are narrower than two bins of 40 Hz, so only the wide are this exact."""
    area = mel.filterbank(16_000).sum(axis=1) * 40.0
    np.testing.assert_allclose(area[20:], 1.0, rtol=0.03)


def test_the_mel_scale_is_slaneys() -> None:
    """Auditory Toolbox: 1 kHz is 15 mel, and a step above is a 27th of ln 6.4."""
    assert mel.hertz_to_mel(1000.0) == pytest.approx(15.0)
    assert mel.hertz_to_mel(6400.0) == pytest.approx(42.0)
    np.testing.assert_allclose(mel.mel_to_hertz(np.array([0.0, 7.5, 15.0, 42.0])), [0.0, 500.0, 1000.0, 6400.0])


# librosa 0.11.0, filters.mel(sr=16000, n_fft=400, n_mels=40, dtype=float64): where a row peaks, and how high.
LIBROSA = {
    0: (2, 0.012404520785440257),
    10: (20, 0.011879489770688832),
    14: (28, 0.010849167809692717),
    20: (44, 0.007191917266070278),
    30: (94, 0.003350150140198698),
    39: (185, 0.0017249403216904572),
}


@pytest.mark.parametrize("row", LIBROSA)
def test_the_filterbank_is_librosas(row: int) -> None:
    """Resemblyzer computes its frames with librosa."""
    triangle = mel.filterbank(16_000)[row]
    assert (triangle.argmax(), triangle.max()) == pytest.approx(LIBROSA[row], rel=1e-9)


def test_a_sine_lands_in_the_band_of_its_frequency() -> None:
    time = np.arange(16_000) / 16_000
    frames = mel.mel_frames(np.sin(2 * np.pi * 2000.0 * time), 16_000)
    edges = mel.mel_to_hertz(np.linspace(0.0, mel.hertz_to_mel(8000.0), 42))
    band = int(frames[50].argmax())
    assert edges[band] < 2000.0 < edges[band + 2]


# Finding the encoder.


class Installed:
    """An installed distribution with a file, or without it."""

    version = "0.1.4"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, path: str) -> Path:
        return self.folder / path


def test_without_resemblyzer_the_pip_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(CheckpointError, match=r"pip install --no-deps Resemblyzer==0\.1\.4.*--checkpoint"):
        encoder.find_checkpoint()


def test_an_installation_without_its_file_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(tmp_path))
    with pytest.raises(CheckpointError, match=r"pretrained\.pt: is missing from Resemblyzer 0\.1\.4"):
        encoder.find_checkpoint()


def test_the_installed_file_is_found_without_importing_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "resemblyzer").mkdir()
    (tmp_path / "resemblyzer" / "pretrained.pt").touch()
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(tmp_path))
    assert encoder.find_checkpoint() == tmp_path / "resemblyzer" / "pretrained.pt"


def test_the_linear_layer_beside_the_lstm_is_read(tmp_path: Path) -> None:
    found = encoder.read_encoder(small_checkpoint(tmp_path / "model.pt"))
    assert found.found.prefix == "model_state.lstm."
    assert found.weights == Weights.initial(SPEC, seed=3)
    assert found.head is not None
    assert [part.shape for part in found.head] == [(24, 16), (24,)]


def test_the_embedding_is_linear_relu_and_length_one(tmp_path: Path) -> None:
    found = encoder.read_encoder(small_checkpoint(tmp_path / "model.pt"))
    h_n = np.random.default_rng(1).standard_normal((2, 1, 16))
    weight, bias = found.head or pytest.fail("no head")
    raw = np.maximum(h_n[-1, 0] @ weight.T.astype(np.float64) + bias, 0.0)
    np.testing.assert_allclose(found.embed(h_n), raw / np.sqrt((raw**2).sum()))


def test_without_a_linear_layer_the_last_state_is_the_embedding(tmp_path: Path) -> None:
    found = encoder.read_encoder(small_checkpoint(tmp_path / "model.pt", head=False))
    assert found.head is None
    np.testing.assert_allclose(found.embed(np.full((2, 1, 16), 3.0)), 0.25)


def test_a_linear_layer_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = small_checkpoint(tmp_path / "model.pt")
    content = torch.load(path, weights_only=True)
    content["model_state"]["linear.weight"] = torch.zeros(24, 17)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"'model_state\.linear\.weight' is \[24, 17\].* must be \[E, 16\]"):
        encoder.read_encoder(path)


# Comparing.


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> demo.DemoResult:
    """One run over the small checkpoint, in every framework that is here."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("demo")
    return demo.run_demo(folder / "out", small_checkpoint(folder / "model.pt"))


def test_every_path_of_every_usable_backend_is_within_the_bound(result: demo.DemoResult) -> None:
    # A standard LSTM's steps have to wait for one another.
    wanted = {(info.name, path) for info in unilstm.backends() for path in info.paths if path != "parallel"}
    assert {(run.backend, run.path) for run in result.runs if run.outputs is not None} == wanted
    for run in result.runs:
        assert run.outputs is None or run.within, f"{run.backend} {run.path}: {run.eps} eps"
    assert result.ok


def test_the_reference_is_torchs_own_lstm(result: demo.DemoResult) -> None:
    torch = pytest.importorskip("torch")
    lstm = torch.nn.LSTM(40, 16, 2, batch_first=True)
    lstm.load_state_dict({n: torch.tensor(a) for n, a in result.encoder.weights.to_layout("torch").items()})
    x = mel.mel_frames(voice.synthesise(), voice.RATE)[None, : demo.FRAMES]
    with torch.no_grad():
        y = lstm(torch.tensor(x))[0].numpy()
    np.testing.assert_array_equal((result.truth.outputs or {})["y"], y)


def test_the_result_is_plain_json(result: demo.DemoResult) -> None:
    read = json.loads(json.dumps(result.to_dict()))
    assert read["ok"] is True
    assert read["lstm"]["prefix"] == "model_state.lstm."
    assert {"backend", "path", "error", "eps", "eps_to_float32", "seconds", "within"} <= read["runs"][0].keys()


def test_the_picture_is_a_png(result: demo.DemoResult) -> None:
    assert result.picture.read_bytes().startswith(PNG)


def test_the_sound_is_a_wav_of_the_voice(result: demo.DemoResult) -> None:
    with wave.open(str(result.sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 25_600)


def test_the_ported_checkpoints_hold_the_same_lstm(result: demo.DemoResult) -> None:
    by_suffix = {"".join(Path(p.path).suffixes): p.path for p in result.checkpoints}
    assert unilstm.load(by_suffix[".safetensors"]) == result.encoder.weights
    assert unilstm.load(by_suffix[".pt"], config={"batch_first": True}) == result.encoder.weights


def test_the_paddle_checkpoint_loads_into_paddles_own_lstm(result: demo.DemoResult) -> None:
    paddle = pytest.importorskip("paddle")
    (path,) = (p.path for p in result.checkpoints if p.path.endswith(".pdparams"))
    lstm = paddle.nn.LSTM(40, 16, 2)
    missing, unexpected = lstm.set_state_dict(paddle.load(path))
    assert (missing, unexpected) == ([], [])
    np.testing.assert_array_equal(lstm.weight_ih_l1.numpy(), result.encoder.weights["weight_ih_l1"])


def faulty(run: measure.Run, **changes: Any) -> measure.Run:
    return dataclasses.replace(run, **changes)


def test_one_run_above_the_bound_fails_the_demo(result: demo.DemoResult) -> None:
    runs = (*result.runs, faulty(result.runs[0], eps=8.01))
    assert not dataclasses.replace(result, runs=runs).ok


def test_a_nan_fails_the_demo(result: demo.DemoResult) -> None:
    assert not faulty(result.runs[0], eps=float("nan")).within


def test_nothing_that_ran_is_not_ok(result: demo.DemoResult) -> None:
    runs = (measure.Run("torch", None, "", note="is not installed"),)
    assert not dataclasses.replace(result, runs=runs).ok


def test_a_backend_that_is_missing_does_not_fail_the_demo(result: demo.DemoResult) -> None:
    runs = (*result.runs, measure.Run("other", None, "", note="is not installed"))
    assert dataclasses.replace(result, runs=runs).ok


def test_the_distance_is_the_largest_and_in_eps_of_the_largest_value() -> None:
    exact = np.array([[[0.5, -2.0]]])
    truth = measure.Reference(measure.Run("torch.nn.LSTM", None, "itself"), exact.astype(np.float32), exact)
    error, eps, own = truth.distance(exact + np.array([3e-7, 1e-7]))
    assert error == pytest.approx(3e-7)
    assert eps == own == pytest.approx(3e-7 / (2.0 * 2.0**-23))


def test_a_lost_bias_is_seen(tmp_path: Path) -> None:
    """The comparison can fail: one wrong number among thousands is far outside the bound."""
    weights = Weights.initial(SPEC, seed=3)
    x = mel.mel_frames(voice.synthesise(), voice.RATE)[None, : demo.FRAMES]
    pytest.importorskip("torch")
    truth = measure.reference(weights, x)
    wrong = {**weights, "bias_ih_l1": np.zeros_like(weights["bias_ih_l1"])}
    (run,) = measure.compare(Weights(SPEC, wrong), x, truth, ["numpy"], lambda *progress: None)
    assert run.eps is not None
    assert run.eps > 1e4
    assert not run.within


def test_a_backend_that_was_named_must_be_there(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(unilstm.UnknownBackend, match="'mxnet'"):
        demo.run_demo(tmp_path / "out", small_checkpoint(tmp_path / "model.pt"), ["numpy", "mxnet"])


def test_a_spec_that_torch_does_not_have_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    unilstm.save(Weights.initial(LSTMSpec(40, 8, peephole=True), 0), tmp_path / "m.safetensors")
    with pytest.raises(unilstm.UnsupportedByLayout, match="peephole=True"):
        demo.run_demo(tmp_path / "out", tmp_path / "m.safetensors")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_input_size_gets_as_many_mel_bands(tmp_path: Path) -> None:
    path = small_checkpoint(tmp_path / "model.pt", head=False, spec=LSTMSpec(24, 8, direction="bidirectional"))
    found = demo.run_demo(tmp_path / "out", path, ["numpy"])
    assert found.ok
    assert (found.truth.outputs or {})["y"].shape == (1, 160, 16)


def test_an_output_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(CheckpointError, match=r"--out .*out: cannot be made"):
        demo.run_demo(tmp_path / "out", small_checkpoint(tmp_path / "model.pt"), ["numpy"])


def test_a_file_that_reads_back_otherwise_is_not_passed_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    other = Weights.initial(SPEC, seed=4)
    monkeypatch.setattr(ported, "load", lambda path, **options: other)
    with pytest.raises(CheckpointError, match="does not read back as it was written"):
        ported.write_checkpoints(Weights.initial(SPEC, seed=3), tmp_path, ())


def test_without_matplotlib_the_pip_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(unilstm.UnilstmError, match=r"pip install \"unilstm\[cli\]\""):
        picture.check_matplotlib()


def test_the_real_speaker_encoder_agrees_everywhere(tmp_path: Path) -> None:
    """Resemblyzer's trained encoder, where it is installed: the figures that the README states."""
    try:
        path = encoder.find_checkpoint()
    except CheckpointError:
        pytest.skip("Resemblyzer is not installed")
    found = demo.run_demo(tmp_path / "out", path)
    assert found.encoder.weights.spec == LSTMSpec(40, 256, num_layers=3)
    assert found.encoder.found.parameters == 1_357_824
    assert {run.backend: run.eps for run in found.runs if run.eps is not None and not run.within} == {}
