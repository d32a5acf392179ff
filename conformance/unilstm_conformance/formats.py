"""A report as plain text, JSON and JUnit XML."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from .measure import Measurement
from .report import STATUSES, finite

if TYPE_CHECKING:
    from .report import Report, Result

# XML 1.0 has no place for the other control characters, which a traceback may hold.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(report: Report) -> str:
    """The matrix (cases that passed, and the largest error as a share of its bound), the failures, what was skipped."""
    parts = [_matrix(report)]
    parts += [result.message for result in report.failures]
    parts += [f"skipped {n} × {target}: {_line(reason)}" for (target, reason), n in sorted(report.skipped().items())]
    counts = ", ".join(f"{report.counts[s]} {s}" for s in STATUSES if report.counts[s]) or "nothing ran"
    parts.append(f"{counts} in {report.seconds:.0f} s. A cell shows the largest error as a share of its bound.")
    return "\n\n".join(parts) + "\n"


def _matrix(report: Report) -> str:
    found, targets = report.matrix(), report.targets
    rows = [["", *targets]]
    for check in report.checks:
        rows.append([check, *(str(found.get((check, target), "")) for target in targets)])
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _line(reason: str) -> str:
    return " ".join(reason.split())


def plain(report: Report) -> dict[str, Any]:
    """The report as JSON values. An infinite or missing number is null, and the note beside it says why."""
    return {
        "ok": report.ok,
        "counts": {status: report.counts[status] for status in STATUSES},
        "seconds": report.seconds,
        "environment": report.environment,
        "results": [_plain_result(result) for result in report.results],
    }


def _plain_result(result: Result) -> dict[str, Any]:
    names = ("id", "check", "backend", "path", "case", "variant", "spec", "seed", "status", "reason", "seconds")
    return {name: getattr(result, name) for name in names} | {
        "measurements": [_plain_measurement(m) for m in result.measurements]
    }


def _plain_measurement(m: Measurement) -> dict[str, Any]:
    return {
        "what": m.what,
        "error": finite(m.error),
        "bound": finite(m.bound),
        "unit": finite(m.unit),
        "ok": m.ok,
        "index": list(m.index),
        "got": finite(m.got),
        "want": finite(m.want),
        "note": m.note,
    }


def json_text(report: Report) -> str:
    return json.dumps(plain(report), indent=1, allow_nan=False) + "\n"


def junit(report: Report) -> str:
    """JUnit XML as CI services read it: a suite for each backend, a case for each cell."""
    root = ElementTree.Element("testsuites", name="unilstm conformance", time=f"{report.seconds:.3f}")
    for backend in dict.fromkeys(r.backend for r in report.results):
        results = [r for r in report.results if r.backend == backend]
        suite = ElementTree.SubElement(root, "testsuite", name=f"conformance.{backend}", tests=str(len(results)))
        for attribute, status in (("failures", "failed"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(attribute, str(sum(r.status == status for r in results)))
        suite.set("time", f"{sum(r.seconds for r in results):.3f}")
        for result in results:
            _junit_case(suite, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _junit_case(suite: ElementTree.Element, result: Result) -> None:
    case = ElementTree.SubElement(suite, "testcase", name=result.id, classname=f"conformance.{result.target}")
    case.set("time", f"{result.seconds:.3f}")
    if result.worst is not None:
        properties = ElementTree.SubElement(case, "properties")
        ElementTree.SubElement(properties, "property", name="largest", value=_NOT_XML.sub("?", str(result.worst)))
    if result.status == "skipped":
        ElementTree.SubElement(case, "skipped", message=_NOT_XML.sub("?", _line(result.reason)))
    elif result.status != "passed":
        kind = "failure" if result.status == "failed" else "error"
        bad = ElementTree.SubElement(case, kind, message=_NOT_XML.sub("?", _headline(result)))
        bad.text = _NOT_XML.sub("?", result.message)


def _headline(result: Result) -> str:
    if result.status == "error" or result.worst is None:
        return _line(result.reason.strip().splitlines()[-1]) if result.reason.strip() else result.status
    return str(result.worst)
