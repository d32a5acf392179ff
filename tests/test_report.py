"""Reports say what was measured, in every form; runs select, skip and fail as they should."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from unilstm.errors import BackendUnavailable, UnknownBackend
from unilstm_conformance import Report, Result, SelectionError, matrix, run_conformance
from unilstm_conformance.measure import Measurement, compare, failed
from unilstm_conformance.selection import selector

pytest_plugins = ["pytester"]

GOOD = Measurement("y", 1e-7, 4e-7, 1e-7, (0, 1), 0.5, 0.5000001)
BAD = compare("h_n", np.array([1.0, 2.0]), np.array([1.0, 2.5]), 4, "float64")


def result(status: str, check: str = "outputs", **fields: Any) -> Result:
    name = f"{check}[fake-composed-<vanilla>-{status}]"
    about = {"variant": "vanilla", "spec": "LSTMSpec(4, 6)", "seed": 17, "status": status} | fields
    return Result(name, check, "fake", "composed", f"<vanilla>-{status}", **about)


@pytest.fixture
def report() -> Report:
    results = (
        result("passed", measurements=(GOOD,)),
        result("failed", measurements=(GOOD, BAD, failed("c_n", "has shape [1], but must have [2]"))),
        result("error", reason="Traceback …\n\x00ValueError: <broken> & lost"),
        result("skipped", check="gradients", reason="fake is forward only"),
    )
    return Report(results, {"unilstm": "1.0", "fake": "fake <2>"}, 1.5)


def test_a_report_with_a_failure_is_not_ok(report: Report) -> None:
    assert not report.ok
    assert [r.status for r in report.failures] == ["failed", "error"]
    assert Report(report.results[:1], {}).ok
    assert Report((report.results[0], report.results[3]), {}).ok


def test_a_report_where_nothing_ran_is_not_ok(report: Report) -> None:
    assert not Report((), {}).ok
    assert not Report(report.results[3:], {}).ok


def test_matrix_sums_up_checks_and_backends(report: Report) -> None:
    found = report.matrix()
    assert str(found["outputs", "fake-composed"]) == "2/3 FAIL inf"
    assert str(found["gradients", "fake-composed"]) == "skipped 1"


def test_text_shows_the_matrix_each_failure_and_what_was_skipped(report: Report) -> None:
    text = report.to_text()
    for part in (
        "fake-composed",
        "2/3 FAIL",
        "outputs[fake-composed-<vanilla>-failed]",
        "h_n: largest error 0.5 at [1]: got 2.0, want 2.5; bound",
        "seed 17",
        "ValueError: <broken> & lost",
        "skipped 1 × fake-composed: fake is forward only",
        "1 passed, 1 failed, 1 error, 1 skipped",
    ):
        assert part in text


def test_json_is_strict_and_complete(report: Report) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    read = json.loads(report.to_json(), parse_constant=refuse)
    assert read["ok"] is False
    assert read["counts"] == {"passed": 1, "failed": 1, "error": 1, "skipped": 1}
    assert [r["status"] for r in read["results"]] == ["passed", "failed", "error", "skipped"]
    h_n, c_n = read["results"][1]["measurements"][1:]
    assert (h_n["error"], h_n["index"], h_n["got"], h_n["want"]) == (0.5, [1], 2.0, 2.5)
    assert c_n["error"] is None
    assert c_n["note"] == "has shape [1], but must have [2]"


def test_junit_counts_and_explains(report: Report) -> None:
    root = ElementTree.fromstring(report.to_junit())
    (suite,) = root.findall("testsuite")
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    failure, error = suite.find(".//failure"), suite.find(".//error")
    assert failure is not None
    assert "largest error 0.5 at [1]" in (failure.text or "")
    assert error is not None
    assert "ValueError: <broken> & lost" in (error.text or "")


class _Page(html.parser.HTMLParser):
    """Checks that tags close in order, and collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.refers += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_needs_nothing_else_and_escapes_what_it_shows(report: Report) -> None:
    text = report.to_html()
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.refers == []
    assert "http" not in re.sub(r"<title>.*?</title>", "", text)
    assert "<vanilla>" not in text
    assert "&lt;vanilla&gt;-failed" in text
    assert "prefers-color-scheme: dark" in text
    assert 'class="bad"' in text


@pytest.mark.parametrize("kind", ["html", "json", "xml", "txt"])
def test_a_report_is_written_whole(report: Report, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new" / f"report.{kind}"
    report.write(path)
    report.write(path)
    assert (
        path.read_text(encoding="utf-8")
        == {
            "html": report.to_html(),
            "json": report.to_json(),
            "xml": report.to_junit(),
            "txt": report.to_text(),
        }[kind]
    )
    assert list(path.parent.iterdir()) == [path]


def test_an_unknown_kind_of_report_is_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.html, \.json, \.xml, \.txt"):
        report.write(tmp_path / "report.pdf")


NAME = "outputs[torch-native-vanilla-L1-forward-float32-none]"


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        (None, True),
        ("  ", True),
        ("torch", True),
        ("TORCH and vanilla", True),
        ("jax or native", True),
        ("not native", False),
        ("torch and not (gradients or float64)", True),
        ("not torch or not native", False),
        (NAME, True),
        ("outputs[torch-native", True),
        ("outputs[jax", False),
    ],
)
def test_a_selection_fits_as_it_reads(expression: str | None, fits: bool) -> None:
    assert selector(expression)(NAME) is fits


@pytest.mark.parametrize("expression", ["and torch", "torch and", "(torch", "torch)", "not", "torch jax"])
def test_an_unreadable_selection_is_refused(expression: str) -> None:
    with pytest.raises(SelectionError, match="cannot be read"):
        selector(expression)


def test_a_run_reports_progress_and_versions() -> None:
    seen: list[tuple[int, int, str]] = []
    found = run_conformance(
        ["numpy"],
        select="outputs and vanilla-L1-forward and composed",
        progress=lambda done, of, r: seen.append((done, of, r.status)),
    )
    assert found.ok
    assert seen
    assert seen == [(n + 1, len(seen), "passed") for n in range(len(seen))]
    assert found.environment["numpy"].startswith("numpy ")


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(SelectionError, match="matches no cell"):
        run_conformance(["numpy"], select="no-such-case")


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UnknownBackend, match="nosuch"):
        run_conformance(["nosuch"])


@pytest.mark.parametrize(("strict", "status"), [(False, "skipped"), (True, "failed")])
def test_a_missing_framework_is_skipped_visibly_or_fails(
    monkeypatch: pytest.MonkeyPatch, strict: bool, status: str
) -> None:
    def missing(name: str) -> None:
        raise BackendUnavailable(f"Backend {name!r} is registered but absent.")

    monkeypatch.setattr(matrix.plugins, "get", missing)
    found = run_conformance(["torch"], strict=strict)
    assert [(r.id, r.status) for r in found.results] == [("available[torch]", status)]
    assert "is registered but absent" in found.to_text()
    assert not found.ok


USE = """
from unilstm_conformance import conformance_cases

SELECT = "composed-vanilla-L1-forward-float32-ragged and (outputs or streaming or gradients and not padding)"

@conformance_cases("numpy", select=SELECT, {more})
def test_conformance(case_check):
    case_check()
"""


def test_pytest_cases_pass_skip_and_name_their_cell(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USE.replace("{more}", ""))
    done = pytester.runpytest_inprocess("-v", "-rs", "-p", "no:cacheprovider")
    done.assert_outcomes(passed=2, skipped=1)
    done.stdout.fnmatch_lines(
        [
            "*test_conformance[[]outputs[[]numpy-composed-vanilla-L1-forward-float32-ragged[]][]] PASSED*",
            "*forward only*",
        ]
    )


def test_an_expected_failure_must_fail(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USE.replace("{more}", 'expected_failures={"streaming[numpy": "cannot stream"}'))
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1, skipped=1, failed=1)


def test_an_expected_failure_must_name_a_cell(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USE.replace("{more}", 'expected_failures={"masks[numpy": "has none"}'))
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*expected_failures names 'masks[[]numpy', but no cell*"])


def test_a_failing_case_prints_its_measurements(pytester: pytest.Pytester) -> None:
    from mutants import MUTANTS, registered

    mutant = MUTANTS["CellBeforeHidden"]
    pytester.makepyfile(
        f"""
from unilstm_conformance import conformance_cases

@conformance_cases("{mutant.name}", select="final_state and composed-vanilla-L1-forward-float32-ragged")
def test_conformance(case_check):
    case_check()
"""
    )
    with registered(mutant):
        done = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*h_n: largest error * at [[]*[]]: got *, want *; bound * units*", "*seed *"])
