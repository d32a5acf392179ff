"""The benchmark measures, and writes what it measured: tables, numbers, a plot. How fast anything is, no test says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import unilstm
from speed import gpu, measuring, report, studies

ROOT = Path(__file__).parent.parent


def test_the_command_measures_and_writes_tables_numbers_and_a_plot(tmp_path: Path) -> None:
    wanted = [*studies.STUDIES, "memory"]
    command = [sys.executable, "-m", "speed", "--small", "--frameworks", "numpy", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT / "bench", env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    measured = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))["studies"]
    assert sorted(measured) == sorted(wanted)
    assert {row["preset"] for row in measured["presets"]["numpy"]} >= {"vanilla", "peephole", "slstm"}
    page = (tmp_path / "index.md").read_text(encoding="utf-8")
    for title in (
        "A standard LSTM",
        "Streaming",
        "Ragged rows",
        "Every preset",
        "Growth",
        "Share of the peak",
        "Memory",
    ):
        assert f"## {title}\n" in page
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_ratios_are_ours_over_the_peers() -> None:
    rows = [{"forward": {"own": 2.0, "ours": 1.0}, "training": {}}, {"forward": {"own": 1.0, "ours": 2.0}}]
    assert report.ratio(rows[0], "forward", "ours", "own") == 0.5
    assert report.ratio(rows[0], "training", "ours", "own") is None
    assert report.geometric([0.5, 2.0]) == pytest.approx(1.0)


def test_a_layers_work_is_that_of_its_products() -> None:
    b, t, i, h = 2, 3, 5, 7
    assert measuring.flops((b, t, i, h)) == 2 * b * t * (4 * h * i + 4 * h * h)
    assert measuring.flops((b, t, i, h), 2) == measuring.flops((b, t, i, h)) + measuring.flops((b, t, h, h))


def test_what_is_measured_on_a_gpu_is_every_path_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, with a stand-in for waiting: how it is measured, not what."""
    pytest.importorskip("torch")
    monkeypatch.setattr(gpu, "PATHS", ("native", "composed"))  # to compile takes long
    spec, shape = unilstm.LSTMSpec(3, 4, peephole=True), (2, 3, 3, 4)
    row = gpu.measure(spec, shape, "cpu", lambda: None, 1)
    assert {"torch.nn.LSTM", "composed"} <= set(row["training"])
    assert "native" not in row["training"]
    page = gpu.table([{"name": "peephole", "shape": shape, **row}], "a device")
    assert "| peephole | 2, 3, 3, 4 |" in page
    assert {name for name, _, _ in gpu.subjects()} >= {"vanilla", "layer-norm", "array"}


def test_without_a_gpu_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main(["--out", str(tmp_path)]) == 0
    assert "no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
