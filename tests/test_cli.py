"""The command line: results on stdout, everything else on stderr, and exit codes that mean something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import unilstm
from unilstm import LSTMSpec, Weights

pytest.importorskip("rich")
testing = pytest.importorskip("typer.testing")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

from unilstm.cli import conformance as conformance_command  # noqa: E402 (needs typer)
from unilstm.cli import demo as demo_command  # noqa: E402
from unilstm.cli.app import app  # noqa: E402

SPEC = LSTMSpec(3, 4)


def run(*arguments: Any) -> Any:
    wide = {"COLUMNS": "200"}  # tables fold at the width of the terminal that runs the tests, if there is one
    return testing.CliRunner().invoke(app, [str(a) for a in arguments], env=wide)


def draw(spec: LSTMSpec = SPEC) -> Weights:
    return Weights.initial(spec, seed=7)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of unilstm's."""
    unilstm.save(draw(), tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file with two LSTMs under torch's names."""
    arrays = {**draw().to_layout("torch", prefix="a."), **draw().to_layout("torch", prefix="b.")}
    safetensors_numpy.save_file(arrays, tmp_path / "foreign.safetensors")
    return tmp_path / "foreign.safetensors"


@pytest.fixture
def no_lstm(tmp_path: Path) -> Path:
    safetensors_numpy.save_file({"fc.weight": np.zeros((2, 2), np.float32)}, tmp_path / "none.safetensors")
    return tmp_path / "none.safetensors"


def error_line(result: Any) -> str:
    """The one line on stderr of a command that could not do what it was asked."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return str(lines[0])


# The program as a whole.


def test_version_prints_the_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"unilstm {unilstm.__version__}\n")


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for word in ("demo", "conformance", "backends", "convert", "inspect", "Exit codes"):
        assert word in result.stdout


@pytest.mark.parametrize("command", ["demo", "conformance", "backends", "convert", "inspect"])
def test_every_command_has_help_with_json_and_the_exit_codes(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "Exit codes" in result.stdout


@pytest.mark.parametrize("line", ["nonsense", "inspect", "inspect a.pt --nonsense", "convert a.pt"])
def test_wrong_usage_is_exit_code_2(line: str) -> None:
    result = run(*line.split())
    assert result.exit_code == 2
    assert result.stdout == ""


def test_the_console_script_runs() -> None:
    command = [sys.executable, "-c", "import sys; from unilstm.cli import main; sys.argv[1:] = ['--version']; main()"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("unilstm ")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_main_says_how_to_get_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from unilstm.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f'The command line needs {missing}. Run: pip install "unilstm[cli]".\n'


def test_importing_the_library_imports_neither_files_nor_command_line() -> None:
    code = "import sys, unilstm; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"safetensors", "typer", "rich", "matplotlib", "torch", "paddle", "jax", "unilstm.demo"}


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("unilstm.plugins.backends", broken)
    assert isinstance(run("backends").exception, RuntimeError)


# backends


def test_backends_lists_what_is_here() -> None:
    result = run("backends")
    assert result.exit_code == 0
    for name in ("numpy", "torch", "paddle", "jax"):
        assert name in result.stdout


def test_backends_as_json_is_nothing_but_json() -> None:
    result = run("backends", "--json")
    listed = {info["name"]: info for info in json.loads(result.stdout)}
    assert listed["numpy"]["usable"] is True
    assert listed["numpy"]["version"] == np.__version__


def test_backends_says_why_one_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    info = unilstm.plugins.BackendInfo("mxnet", "mxnet", None, False, 'Run: pip install "unilstm[mxnet]".', (), ())
    monkeypatch.setattr("unilstm.plugins.backends", lambda: [info])
    assert 'no: Run: pip install "unilstm[mxnet]".' in run("backends").stdout


# conformance


def test_conformance_prints_the_matrix_and_conforms() -> None:
    result = run("conformance", "--backends", "numpy", "-k", "outputs and vanilla-L1-forward")
    assert result.exit_code == 0, result.output
    assert "numpy-composed" in result.stdout
    assert "conforms" in result.stdout


def test_conformance_as_json_is_nothing_but_json() -> None:
    result = run("conformance", "--backends", "numpy", "-k", "outputs and vanilla-L1-forward", "--json")
    report = json.loads(result.stdout)
    assert report["ok"] is True
    assert report["results"]


def test_conformance_writes_every_report_it_is_asked_for(tmp_path: Path) -> None:
    reports = [tmp_path / name for name in ("r.html", "r.json", "r.xml", "r.txt")]
    options = [option for path in reports for option in ("--report", path)]
    result = run("conformance", "--backends", "numpy", "-k", "outputs and vanilla-L1-forward", *options)
    assert result.exit_code == 0, result.output
    assert reports[0].read_text("utf-8").lower().startswith("<!doctype html")
    assert json.loads(reports[1].read_text("utf-8"))["ok"] is True
    assert ElementTree.fromstring(reports[2].read_text("utf-8")).tag == "testsuites"
    assert "numpy-composed" in reports[3].read_text("utf-8")
    for path in reports:
        assert f"written: {path}" in result.stderr


def test_conformance_that_fails_is_exit_code_1_and_prints_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from unilstm_conformance import Report, Result

    failed = Result("outputs[x]", "outputs", "numpy", "composed", "x", status="failed", reason="[not] markup")
    passed = Result("outputs[y]", "outputs", "numpy", "composed", "y")
    report = Report((failed, passed), {})
    monkeypatch.setattr("unilstm_conformance.run_conformance", lambda *names, **options: report)
    result = run("conformance")
    assert result.exit_code == 1
    assert "[not] markup" in result.stdout
    assert "does NOT conform" in result.stdout


def test_conformance_prints_the_first_failures_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    from unilstm_conformance import Report, Result

    failed = [Result(f"outputs[{n}]", "outputs", "numpy", "composed", str(n), status="failed") for n in range(23)]
    monkeypatch.setattr("unilstm_conformance.run_conformance", lambda *names, **options: Report(tuple(failed), {}))
    stdout = run("conformance").stdout
    assert "outputs[19]" in stdout
    assert "outputs[20]" not in stdout
    assert "and 3 more failures" in stdout


@pytest.mark.parametrize(
    ("option", "strict", "wide"),
    [([], None, False), (["--strict"], True, False), (["--no-strict", "--all"], False, True)],
)
def test_conformance_passes_its_options_on(
    monkeypatch: pytest.MonkeyPatch, option: list[str], strict: bool | None, wide: bool
) -> None:
    from unilstm_conformance import Report, Result

    def fake(backends: Any, **options: Any) -> Report:
        seen.update(options, backends=backends)
        return Report((Result("outputs[y]", "outputs", "numpy", "composed", "y"),), {})

    seen: dict[str, Any] = {}
    monkeypatch.setattr("unilstm_conformance.run_conformance", fake)
    assert run("conformance", "--backends", "numpy, torch", "-k", "x", *option).exit_code == 0
    assert (seen["backends"], seen["select"], seen["strict"], seen["wide"]) == (["numpy", "torch"], "x", strict, wide)


def test_conformance_refuses_a_report_of_no_kind_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("unilstm_conformance.run_conformance", lambda *names, **options: pytest.fail("it ran"))
    assert ".html, .json, .xml" in error_line(run("conformance", "--report", tmp_path / "report.pdf"))


def test_conformance_that_cannot_write_its_report_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    path = tmp_path / "taken" / "r.html"
    assert "cannot be written" in error_line(
        run("conformance", "--backends", "numpy", "-k", "outputs and vanilla-L1-forward", "--report", path)
    )


def test_conformance_of_an_unknown_backend_is_one_line() -> None:
    assert "'mxnet' is unknown" in error_line(run("conformance", "--backends", "mxnet"))


def test_conformance_that_selects_nothing_is_one_line() -> None:
    assert "matches no cell" in error_line(run("conformance", "--backends", "numpy", "-k", "nonsense"))


# demo


def checkpoint(path: Path) -> Path:
    torch = pytest.importorskip("torch")
    arrays = Weights.initial(LSTMSpec(40, 8), seed=3).to_layout("torch", prefix="lstm.")
    torch.save({"model_state": {name: torch.tensor(array) for name, array in arrays.items()}}, path)
    return path


def test_demo_prints_a_table_and_where_the_files_lie(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("--checkpoint", checkpoint(tmp_path / "model.pt"), "--out", tmp_path / "out", "--backends", "numpy")
    result = run("demo", *options)
    assert result.exit_code == 0, result.output
    assert "torch.nn.LSTM" in result.stdout
    assert "all within 8 eps" in result.stdout
    for name in ("demo.png", "voice.wav", "lstm.safetensors", "lstm.pt"):
        assert str(tmp_path / "out" / name) in result.stdout
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_demo_as_json_is_nothing_but_json(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    options = ("--checkpoint", checkpoint(tmp_path / "model.pt"), "--out", tmp_path / "out", "--backends", "numpy")
    result = json.loads(run("demo", *options, "--json").stdout)
    assert result["ok"] is True
    assert [run["backend"] for run in result["runs"]] == ["numpy", "numpy"]  # its two paths


def test_demo_above_its_bound_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("unilstm.demo.measure.BOUND", 0.0)
    options = ("--checkpoint", checkpoint(tmp_path / "model.pt"), "--out", tmp_path / "out", "--backends", "numpy")
    result = run("demo", *options)
    assert result.exit_code == 1
    assert "NOT within" in result.stdout


def test_demo_without_its_encoder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def missing() -> Path:
        raise unilstm.CheckpointError("Run: pip install --no-deps Resemblyzer==0.1.4.")

    monkeypatch.setattr("unilstm.demo.find_checkpoint", missing)
    assert error_line(run("demo")).endswith("Run: pip install --no-deps Resemblyzer==0.1.4.")


def test_demo_of_a_file_without_an_lstm_is_one_line(no_lstm: Path) -> None:
    pytest.importorskip("matplotlib")
    assert "no LSTM found" in error_line(run("demo", "--checkpoint", no_lstm))


def test_a_backend_that_is_missing_is_told_in_its_row() -> None:
    from unilstm.demo.measure import Run

    cells = demo_command._cells(Run("mxnet", None, "", note="mxnet is not installed"))
    assert cells == ("mxnet", "–", "mxnet is not installed", "–", "–", "–", "–")


def test_every_report_kind_is_one_that_the_report_can_write(tmp_path: Path) -> None:
    """The command checks suffixes before it runs; its list and the report's must be one."""
    from unilstm_conformance import Report

    for kind in conformance_command.KINDS:
        Report((), {}).write(tmp_path / f"r{kind}")
