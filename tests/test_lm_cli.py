"""unilstm lm: it trains, resumes exactly, stops on Ctrl-C without losing anything, measures and writes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import require
from unilstm.models import files, load, save
from unilstm.models.run import PREFIX

testing = pytest.importorskip("typer.testing")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")

from unilstm.cli.app import app  # noqa: E402 (needs typer)

TEXT = "the quick brown fox jumps over the lazy dog. " * 60
SMALL = ["--d-emb", 8, "--d-blk", 12, "--batch-size", 4, "--ctx-win", 20, "--ckpt-step", 0, "--lr", 0.02]


def run(*arguments: Any) -> Any:
    return testing.CliRunner().invoke(app, ["lm", *[str(a) for a in arguments]], env={"COLUMNS": "200"})


def answer(*arguments: Any) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def error_line(*arguments: Any) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return str(line)


def losses(path: Path) -> Any:
    return files.read(path).extra[PREFIX + "losses"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a text and a model that was trained on it."""
    require("torch")
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    found = answer("train", folder / "text.txt", *SMALL, "--n-epoch", 3, "--out", folder / "lm.safetensors")
    return folder, found


def test_training_says_what_it_did_and_draws_it(trained: Any) -> None:
    folder, found = trained
    assert (found["finished"], found["steps"], found["of"]) == (True, 90, 90)
    assert found["vocab_size"] == len(set(TEXT)) + 1
    assert found["training_bits_per_character"] < 4.0
    assert (folder / "lm.png").read_bytes().startswith(b"\x89PNG")
    assert len(losses(folder / "lm.safetensors")) == 90
    assert not list(folder.glob(".*"))


def test_a_resumed_run_has_the_losses_of_one_that_did_not_stop(
    framework: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, on the same backend: weights, moments, carried state, dropout and learning rate all go on."""
    name = framework.name
    common = [text, *SMALL, "--n-epoch", 1, "--p-emb", 0.2, "--wd", 0.01, "--backend", name, "--held-out", 0]
    answer("train", *common, "--out", tmp_path / "whole.safetensors")
    whole = losses(tmp_path / "whole.safetensors")
    stop_after(monkeypatch, 13)
    half = run("train", *common, "--out", tmp_path / "half.safetensors")
    assert half.exit_code == 130
    assert "interrupted; go on with --resume" in half.stdout
    assert len(losses(tmp_path / "half.safetensors")) == 13
    monkeypatch.undo()
    found = answer("train", text, "--resume", "--out", tmp_path / "half.safetensors", "--backend", name)
    assert found["finished"]
    assert losses(tmp_path / "half.safetensors").tolist() == whole.tolist()
    assert load(tmp_path / "half.safetensors").weights() == load(tmp_path / "whole.safetensors").weights()


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """A Ctrl-C after so many steps, as the program itself gets it."""
    from unilstm.models.run import LanguageModelRun

    step = LanguageModelRun._step

    def counted(self: Any) -> None:
        step(self)
        if self.steps == steps:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LanguageModelRun, "_step", counted)


def test_a_run_stopped_before_its_first_step_goes_on(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("torch")

    @contextlib.contextmanager
    def asked() -> Iterator[Any]:
        yield lambda: True

    monkeypatch.setattr(sys.modules["unilstm.cli.lm.train"], "interruptible", asked)
    out = tmp_path / "lm.safetensors"
    assert run("train", text, *SMALL, "--n-epoch", 1, "--out", out).exit_code == 130
    monkeypatch.undo()
    assert answer("train", text, "--resume", "--out", out)["steps"] == 30


def test_a_run_goes_on_on_another_backend(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("torch")
    require("jax")
    common = [text, *SMALL, "--n-epoch", 1, "--held-out", 0]
    answer("train", *common, "--out", tmp_path / "whole.safetensors")
    stop_after(monkeypatch, 13)
    run("train", *common, "--out", tmp_path / "half.safetensors")
    monkeypatch.undo()
    answer("train", text, "--resume", "--out", tmp_path / "half.safetensors", "--backend", "jax")
    np.testing.assert_allclose(losses(tmp_path / "half.safetensors"), losses(tmp_path / "whole.safetensors"), rtol=1e-4)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_on_the_program_writes_a_checkpoint_and_leaves_nothing_else(text: Path, tmp_path: Path) -> None:
    require("torch")
    code = "from unilstm.cli import main; main()"
    out = tmp_path / "out" / "lm.safetensors"
    out.parent.mkdir()
    # So many epochs that it cannot end by itself; a checkpoint each step says that it is under way.
    options = ["--d-emb", "8", "--d-blk", "12", "--n-epoch", "100000", "--ckpt-step", "1", "--out", str(out)]
    command = [sys.executable, "-c", code, "lm", "train", str(text), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not out.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted; go on with --resume" in stdout
    assert sorted(p.name for p in out.parent.iterdir()) == ["lm.png", "lm.safetensors"]
    steps = json.loads(files.read(out).metadata["unilstm-training"])["steps"]
    assert len(losses(out)) == steps >= 1


def test_evaluation(trained: Any, tmp_path: Path) -> None:
    """The held-out text by default, as training reported it; the same on NumPy; another text as a whole."""
    folder, found = trained
    on_held_out = answer("eval", folder / "lm.safetensors", folder / "text.txt")
    assert on_held_out["part"] == "held-out"
    assert on_held_out["characters"] == len(TEXT) // 10
    assert on_held_out["bits_per_character"] == pytest.approx(found["held_out_bits_per_character"], rel=1e-6)
    on_numpy = answer("eval", folder / "lm.safetensors", folder / "text.txt", "--backend", "numpy")
    assert on_numpy["bits_per_character"] == pytest.approx(on_held_out["bits_per_character"], rel=1e-5)
    (tmp_path / "other.txt").write_text("the dog, ♥", encoding="utf-8")
    other = answer("eval", folder / "lm.safetensors", tmp_path / "other.txt")
    assert (other["part"], other["characters"], other["unknown_characters"]) == ("all", 10, 2)
    assert other["perplexity"] == pytest.approx(2 ** other["bits_per_character"])
    assert answer("eval", folder / "lm.safetensors", folder / "text.txt", "--part", "learned")["characters"] == 2430


def test_sampling(trained: Any) -> None:
    folder, _ = trained
    first, second = (run("sample", folder / "lm.safetensors", "--txt", "the q", "--length", 30) for _ in range(2))
    assert first.exit_code == 0
    assert first.stdout == second.stdout
    assert first.stdout.startswith("the q")
    assert len(first.stdout) == len("the q") + 30 + 1
    on_numpy = answer("sample", folder / "lm.safetensors", "--txt", "the q", "--length", 30, "--backend", "numpy")
    assert on_numpy["text"] + "\n" == first.stdout
    other = run("sample", folder / "lm.safetensors", "--txt", "the q", "--length", 30, "--seed", 1)
    assert other.stdout != first.stdout


def test_lmp_names_with_underscores_and_its_presets(text: Path, tmp_path: Path) -> None:
    require("torch")
    options = ["--d_emb", 6, "--d_blk", 3, "--n_blk", 2, "--n_lyr", 2, "--p_emb", 0.1, "--batch_size", 8]
    options += ["--preset", "lstm-2002", "--init", "lmp", "--init_lower", -0.2, "--init_fb", 2.0, "--ctx_win", 50]
    found = answer("train", text, *options, "--n_epoch", 1, "--out", tmp_path / "lm.safetensors")
    lstm = {"input_size": 6, "hidden_size": 6, "num_layers": 2, "num_blocks": 2, "peephole": True, "bias": "single"}
    assert found["lstm"] == lstm


def test_another_field_of_the_spec(text: Path, tmp_path: Path) -> None:
    require("torch")
    found = answer(
        "train", text, *SMALL, "--n-epoch", 1, "--field", "gate_clip=3", "--field", "cell_activation=softsign",
        "--out", tmp_path / "lm.safetensors",
    )  # fmt: skip
    assert found["lstm"] == {"input_size": 12, "hidden_size": 12, "gate_clip": 3.0, "cell_activation": "softsign"}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", [], "text.txt: is empty. Give a text to learn from."),
        (b"\xff\xfe\x00", [], "text.txt: is not UTF-8 (byte 0"),
        ("ab", [], "too few for batch_size=32"),
        ("abcdefgh" * 20, [], "too few for ctx_win=64"),
        (TEXT, ["--backend", "numpy"], "only runs forward and cannot train"),
        (TEXT, ["--preset", "nonsense"], "preset 'nonsense' is unknown"),
        (TEXT, ["--n-blk", 2], "preset 'vanilla' has no memory blocks"),
        (TEXT, ["--preset", "lstm-2000", "--p-hid", 1.5], "p_hid=1.5 must be a number"),
        (TEXT, ["--init-fb", 3.0], "--init-fb was given with --init torch"),
        (TEXT, ["--field", "peephole"], "--field 'peephole' must be NAME=VALUE"),
        (TEXT, ["--optimizer", "rmsprop"], "optimizer 'rmsprop' is unknown"),
        (TEXT, ["--seed", -1], "seed=-1"),
        (TEXT, ["--held-out", 1.0], "held_out=1.0 must be"),
        (TEXT, ["--batch-size", 0], "batch_size=0 must be at least 1"),
        (TEXT, ["--resume"], "lm.safetensors: cannot be opened"),
        (TEXT, ["--out", "lm.pt"], "a model is written to a .safetensors file"),
        (TEXT, ["--out", "nowhere/lm.safetensors"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, options: Any, message: str
) -> None:
    require("torch")
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in error_line("train", "text.txt", *options)
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


def test_an_old_checkpoint_is_not_overwritten_and_settles_what_a_resumed_run_does(trained: Any, tmp_path: Path) -> None:
    folder, _ = trained
    there = ["--out", folder / "lm.safetensors"]
    assert "is there already. Go on from it with --resume" in error_line("train", folder / "text.txt", *there)
    line = error_line("train", folder / "text.txt", *there, "--resume", "--lr", 0.1)
    assert "--lr was given with --resume, but the checkpoint settles it" in line
    (tmp_path / "other.txt").write_text(TEXT + "!", encoding="utf-8")
    assert "not the one this run was started on" in error_line("train", tmp_path / "other.txt", *there, "--resume")


def test_files_that_are_no_checkpoint(trained: Any, tmp_path: Path) -> None:
    folder, _ = trained
    whole = (folder / "lm.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    for command in (["eval"], ["sample"], ["train", folder / "text.txt", "--resume", "--out"]):
        assert "is not a valid safetensors file" in error_line(*command, tmp_path / "cut.safetensors")
    save(load(folder / "lm.safetensors"), tmp_path / "model.safetensors")
    line = error_line("train", folder / "text.txt", "--resume", "--out", tmp_path / "model.safetensors")
    assert "holds a model, but no training to go on with" in line
    assert "the model was not trained on this text" in error_line(
        "eval", tmp_path / "model.safetensors", folder / "text.txt", "--part", "held-out"
    )


def test_a_length_that_is_none_is_named_as_it_was_given(trained: Any) -> None:
    folder, _ = trained
    assert "--length -1 must be at least 1." in error_line("sample", folder / "lm.safetensors", "--length", -1)


def test_a_checkpoint_with_a_part_missing(trained: Any, tmp_path: Path) -> None:
    folder, _ = trained
    file = files.read(folder / "lm.safetensors")
    kept = {name: value for name, value in file.extra.items() if "first" not in name}
    files.write(tmp_path / "part.safetensors", file.weights, kept, file.metadata)
    line = error_line("train", folder / "text.txt", "--resume", "--out", tmp_path / "part.safetensors")
    assert "what it says of its training does not fit together" in line


def test_the_help_topics_are_the_text_without_a_file() -> None:
    from unilstm.models.text import pydoc_topics

    text = pydoc_topics()
    assert len(text) > 100_000
    assert 'The "while" statement' in text
