"""The benchmark measures, and writes what it measured: tables, numbers, a plot. How fast anything is, no test says."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import unilstm
from speed import gpu, measuring, report, studies

ROOT = Path(__file__).parent.parent


TITLES = (
    "A standard LSTM",
    "Streaming",
    "Ragged rows",
    "Every preset",
    "Growth",
    "Share of the peak",
    "Memory",
)


def speed(out: Path, *said: str) -> None:
    command = [sys.executable, "-m", "speed", "--small", "--frameworks", "numpy", "--out", str(out), *said]
    done = subprocess.run(command, cwd=ROOT / "bench", env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_command_measures_and_writes_tables_numbers_and_plots_also_in_parts(tmp_path: Path) -> None:
    together = {
        "accuracy",
        "company",
        "directions",
        "stacks",
    }  # studies of other frameworks, in which NumPy has no part
    speed(tmp_path)
    measured = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))["studies"]
    assert set(measured) == {*studies.STUDIES, "memory"} - together
    assert {row["preset"] for row in measured["presets"]["numpy"]} >= {"vanilla", "peephole", "slstm"}
    (tmp_path / "index.md").unlink()
    speed(tmp_path, "--studies", "streaming")
    again = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))["studies"]
    assert again["streaming"] != measured["streaming"]
    assert again | {"streaming": 0} == measured | {"streaming": 0}
    page = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert [title for title in TITLES if f"## {title}\n" not in page] == []
    for plot in ("shapes.svg", "growth.svg"):
        assert f"({plot})" in page
        assert "numpy" in (tmp_path / plot).read_text(encoding="utf-8")


def test_the_accuracys_last_column_is_the_kernels_largest_error_over_the_systems() -> None:
    errors = {"kernel": {"y": 1.0, "dx": 3.0}, "own": {"y": 2.0, "dx": 1.5}}
    page = report.of_accuracy({"torch": [{"shape": (1, 2, 3, 4), "errors": errors}]})
    assert "| 1, 2, 3, 4 | the kernel | 1.0 | 3.0 | 3.0 | 1.00 |" in page
    assert "| 1, 2, 3, 4 | torch.nn.LSTM | 2.0 | 1.5 | 2.0 | 1.50 |" in page


def test_a_frameworks_time_in_company_is_over_its_time_at_first() -> None:
    seconds = {"at first": 0.5, "again": 0.5, "afterwards": 0.75}
    page = report.of_company({"jax": [{"shape": (1, 2, 3, 4), "subject": "a product", "seconds": seconds}]})
    assert "| jax | a product | 500.0 | 1.00 | 1.50 |" in page


class Clock:
    """In the place of `time`: it goes on by what a run says that it takes, and no further."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        pass

    def run(self, *seconds: float) -> Any:
        each = itertools.cycle(seconds)

        def take() -> None:
            self.now += next(each)

        return take


def test_a_time_is_the_median_of_one_run_however_often_it_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(measuring, "time", clock)
    runs = {"short": clock.run(measuring.SHORTEST / 4), "long": clock.run(1.0), "uneven": clock.run(1.0, 1.0, 4.0, 1.0)}
    found = measuring.interleaved(runs, repeats=9)
    assert found == pytest.approx({"short": measuring.SHORTEST / 4, "long": 1.0, "uneven": 1.0})


def test_a_stream_stands_beside_the_frameworks_layer_and_its_cell() -> None:
    times = {"own": 4e-6, "cell": 2e-6, "ours": 1e-6, "stream": 5e-7}
    rows: dict[str, Any] = {"torch": [{"forward": times}], "onnxruntime": [{"forward": {"own": 1e-6, "ours": 2e-6}}]}
    page = report.of_streaming(rows)
    assert "| torch | 4 | 2 | 1 | 0.25 | 0.50 | 0 | 0.12 | 0.25 |" in page
    assert "| onnxruntime | 1 | – | 2 | 2.00 | – | – | – | – |" in page


def test_the_page_says_what_was_measured_beside_other_work(tmp_path: Path) -> None:
    runs = {"shapes": {"torch": {"busy": 0.34}, "jax": {"busy": 0.02}, "paddle": {"busy": None}}}
    report.write({"environment": measuring.environment(), "runs": runs, "studies": {}}, tmp_path)
    page = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert "right before or after: shapes of torch (34%).\n" in page
    used = measuring.busy(0.05)
    assert used is None or 0 <= used <= 1


def test_a_share_of_the_peak_is_of_the_fastest_product_seen() -> None:
    def row(product: float, ours: float) -> dict[str, Any]:
        return {"shape": (1, 2, 3, 4), "flops": {"product": product, "ours": ours}}

    page = report.of_peak({"torch": [row(4e9, 2e9)], "paddle-2": [row(1e9, 3e9)]})
    assert "4 GFLOP/s, torch's" in page
    assert "| 1, 2, 3, 4 | 0.50 | 0.75 |" in page


def test_ratios_are_ours_over_the_peers() -> None:
    rows = [{"forward": {"own": 2.0, "ours": 1.0}, "training": {}}, {"forward": {"own": 1.0, "ours": 2.0}}]
    assert report.ratio(rows[0], "forward", "ours", "own") == 0.5
    assert report.ratio(rows[0], "training", "ours", "own") is None
    assert report.geometric([0.5, 2.0]) == pytest.approx(1.0)


def test_ragged_rows_have_a_geometric_mean_over_the_shapes() -> None:
    times = [{"full": 2.0, "ragged": 1.0}, {"full": 1.0, "ragged": 2.0}]
    rows = [{"shape": (1, 2, 3, 4), "share": 0.5, "forward": one, "training": one} for one in times]
    page = report.of_lengths({"numpy": rows})
    assert "| numpy | 1, 2, 3, 4 | 0.50 | 0.50 / 0.50 | – / – |" in page
    assert "| numpy | geometric mean |  | 1.00 / 1.00 | – / – |" in page


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
