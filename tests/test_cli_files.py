"""The commands about files: inspect and convert."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import unilstm
from test_cli import draw, error_line, foreign, no_lstm, own, run
from unilstm import LSTMSpec

safetensors_numpy = pytest.importorskip("safetensors.numpy")

__all__ = ["foreign", "no_lstm", "own"]  # the fixtures


# inspect


def test_inspect_shows_every_lstm(foreign: Path) -> None:
    result = run("inspect", foreign)
    assert result.exit_code == 0
    assert result.stdout.count("LSTMSpec(3, 4, batch_first=False)") == 2
    assert result.stderr == ""


def test_inspect_as_json_is_nothing_but_json(foreign: Path) -> None:
    found = json.loads(run("inspect", foreign, "--json").stdout)
    assert [lstm["prefix"] for lstm in found] == ["a.", "b."]
    assert found[0]["parameters"] == 144
    assert found[0]["spec"]["hidden_size"] == 4


def test_inspect_of_a_file_without_an_lstm_is_exit_code_1(no_lstm: Path) -> None:
    result = run("inspect", no_lstm)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.endswith("none.safetensors: no LSTM found.\n")


def test_inspect_as_json_of_a_file_without_an_lstm_is_an_empty_list(no_lstm: Path) -> None:
    result = run("inspect", no_lstm, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, [])


def test_inspect_of_a_missing_file_is_one_line(tmp_path: Path) -> None:
    assert error_line(run("inspect", tmp_path / "none.pt")).endswith("Check the path and its permissions.")


def test_inspect_of_a_damaged_file_is_one_line(own: Path) -> None:
    own.write_bytes(own.read_bytes()[:-1])
    assert "is not a valid safetensors file" in error_line(run("inspect", own))


def test_inspect_says_what_is_uncertain(tmp_path: Path) -> None:
    arrays = draw(LSTMSpec(3, 4, bias="none")).to_layout("torch")
    cell = {name.removesuffix("_l0"): array for name, array in arrays.items()}
    safetensors_numpy.save_file(cell, tmp_path / "m.safetensors")
    assert "settles it" in run("inspect", tmp_path / "m.safetensors").stdout


def test_a_file_name_with_markup_is_printed_as_it_is(tmp_path: Path) -> None:
    unilstm.save(draw(), tmp_path / "[bold].safetensors")
    assert "[bold].safetensors" in run("inspect", tmp_path / "[bold].safetensors").stdout


# convert


def test_convert_goes_to_torch_and_back(own: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert run("convert", own, tmp_path / "x.pt").exit_code == 0
    assert run("convert", tmp_path / "x.pt", tmp_path / "y.safetensors", "--config", "batch_first=true").exit_code == 0
    assert unilstm.load(tmp_path / "y.safetensors") == draw()


def test_convert_chooses_an_lstm_a_layout_and_a_dtype(foreign: Path, tmp_path: Path) -> None:
    options = ("--lstm", "b.", "--to", "keras", "--from", "torch", "--dtype", "float64", "--allow", "merge-biases")
    result = run("convert", foreign, tmp_path / "k.safetensors", *options)
    assert result.exit_code == 0, result.output
    loaded = unilstm.load(tmp_path / "k.safetensors")
    assert (loaded.spec.bias, loaded.dtype) == ("single", "float64")


def test_convert_as_json_is_nothing_but_json(own: Path, tmp_path: Path) -> None:
    result = json.loads(run("convert", own, tmp_path / "x.safetensors", "--json").stdout)
    assert result.pop("check")["ok"] is True
    assert result == {
        "written": str(tmp_path / "x.safetensors"),
        "layout": None,
        "prefix": "",
        "spec": {"input_size": 3, "hidden_size": 4},
        "dtype": "float32",
        "carried": 0,
        "carried_as": None,
        "assumed": None,
        "left": None,
        "unchecked": None,
    }


def test_convert_says_what_came_along_and_how_far_off_it_is(foreign: Path, tmp_path: Path) -> None:
    result = run("convert", foreign, tmp_path / "x.safetensors", "--lstm", "a.")
    assert result.exit_code == 0, result.output
    assert "4 other arrays came along; the LSTM is under 'a.'" in result.stdout
    assert "eps: within 64 eps" in result.stdout
    assert [f.prefix for f in unilstm.inspect(tmp_path / "x.safetensors")] == ["a.", "b."]


def test_convert_leaves_the_rest_behind_and_does_not_verify_when_told(foreign: Path, tmp_path: Path) -> None:
    options = ("--lstm", "a.", "--only-lstm", "--no-verify")
    result = run("convert", foreign, tmp_path / "x.safetensors", *options)
    assert result.exit_code == 0, result.output
    assert "came along" not in result.stdout
    assert "eps" not in result.stdout
    assert [f.prefix for f in unilstm.inspect(tmp_path / "x.safetensors")] == [""]


def test_convert_whose_result_is_another_lstm_is_exit_code_1(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unilstm.checkpoints.verifying.BOUND", -1.0)
    result = run("convert", own, tmp_path / "x.safetensors")
    assert result.exit_code == 1
    assert "NOT within" in result.stdout


def test_convert_refuses_a_loss_in_one_line_and_writes_nothing(own: Path, tmp_path: Path) -> None:
    line = error_line(run("convert", own, tmp_path / "k.safetensors", "--to", "keras"))
    assert "merge-biases" in line
    assert not (tmp_path / "k.safetensors").exists()


def test_convert_of_a_file_with_several_names_the_option(foreign: Path, tmp_path: Path) -> None:
    assert "(--lstm)" in error_line(run("convert", foreign, tmp_path / "x.safetensors"))


def test_convert_to_an_unknown_type_says_what_is_supported(own: Path, tmp_path: Path) -> None:
    assert "Supported: .safetensors" in error_line(run("convert", own, tmp_path / "x.gguf"))


@pytest.mark.parametrize("pair", ["batch_first", "=true"])
def test_convert_refuses_a_config_that_is_no_pair(own: Path, tmp_path: Path, pair: str) -> None:
    assert "must be NAME=VALUE" in error_line(run("convert", own, tmp_path / "x.safetensors", "--config", pair))


def test_convert_config_values_are_json_or_text(foreign: Path, tmp_path: Path) -> None:
    result = run("convert", foreign, tmp_path / "x.safetensors", "--lstm", "a.", "--config", "batch_first=yes")
    assert "'yes'" in error_line(result)
