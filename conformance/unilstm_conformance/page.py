"""A report as one HTML page that needs nothing else: no network, no other file, and no script to be read."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .checks import CHECKS
from .report import STATUSES

if TYPE_CHECKING:
    from .report import Report, Result, Summary

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --faint: #667; --line: #d8dce2; --head: #f3f5f8;
  --exact: #d3f0dc; --low: #dff3e0; --middle: #f6f2cf; --high: #f9dfb8; --bad: #c62828; --none: #eceef1; }
@media (prefers-color-scheme: dark) { :root { --back: #14171b; --text: #e4e7eb; --faint: #98a2ad; --line: #313740;
  --head: #1d2228; --exact: #17402a; --low: #1f4430; --middle: #4a4519; --high: #5f4214; --bad: #d64545;
  --none: #23282e; } }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 90rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.faint { color: var(--faint); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .2rem .5rem; text-align: left; white-space: nowrap; }
thead th { background: var(--head); position: sticky; top: 0; }
tbody th { font-weight: normal; font-family: ui-monospace, monospace; }
td { text-align: right; }
.exact { background: var(--exact); } .low { background: var(--low); } .middle { background: var(--middle); }
.high { background: var(--high); } .bad { background: var(--bad); color: #fff; font-weight: 600; }
.skipped { background: var(--none); color: var(--faint); }
.key span { padding: .1rem .5rem; margin-right: .3rem; border: 1px solid var(--line); }
pre { background: var(--head); border-left: 4px solid var(--bad); overflow-x: auto; padding: .6rem .8rem; }
input, select { background: var(--back); border: 1px solid var(--line); color: inherit; font: inherit;
  padding: .25rem .5rem; }
input { width: min(30rem, 90%); }
"""

_SCRIPT = """
const words = document.getElementById("words"), only = document.getElementById("only");
const rows = [...document.querySelectorAll("#cases tbody tr")], shown = document.getElementById("shown");
function filter() {
  const wanted = words.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const fits = wanted.every(w => row.dataset.name.includes(w)) && (!only.value || row.dataset.status === only.value);
    row.hidden = !fits;
    count += fits;
  }
  shown.textContent = count + " of " + rows.length;
}
words.addEventListener("input", filter);
only.addEventListener("change", filter);
document.getElementById("filter").hidden = false;
filter();
"""


def html(report: Report) -> str:
    verdict = "passed" if report.ok else "FAILED"
    counts = ", ".join(f"{report.counts[status]} {status}" for status in STATUSES if report.counts[status])
    about = " · ".join(f"{escape(name)} {escape(value)}" for name, value in report.environment.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>unilstm conformance: {verdict}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>unilstm conformance: {verdict}</h1>
<p>{counts or "nothing ran"}, in {report.seconds:.0f} s.</p>
<p class="faint">{about}</p>
<p>A cell shows the largest measured error as a share of its bound: 1 is the bound itself. Point at a cell for the
numbers. The bounds are statistical bounds on rounding, derived in unilstm_conformance/tolerances.py.</p>
<p class="key"><span class="exact">0, exact</span><span class="low">below 0.1</span><span class="middle">below
0.5</span><span class="high">below 1</span><span class="bad">failed</span><span class="skipped">skipped</span></p>
{_summary(report)}
{_failures(report)}
{_cases(report)}
{_skipped(report)}
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _summary(report: Report) -> str:
    found, targets = report.matrix(), report.targets
    head = "".join(f"<th>{escape(target)}</th>" for target in targets)
    rows = []
    for check in report.checks:
        title = CHECKS[check].title if check in CHECKS else "is the framework there?"
        cells = "".join(_summary_cell(found.get((check, target))) for target in targets)
        rows.append(f'<tr><th title="{escape(title)}">{escape(check)}</th>{cells}</tr>')
    body = "\n".join(rows)
    return f"""<h2>Checks × backends</h2>
<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>
{body}
</tbody></table></div>"""


def _summary_cell(summary: Summary | None) -> str:
    if summary is None:
        return "<td></td>"
    status = "passed" if summary.ok else "failed"
    ran = sum(summary.counts.values()) - summary.counts["skipped"]
    return f'<td class="{_colour(status if ran else "skipped", summary.ratio)}">{escape(str(summary))}</td>'


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    shown = "\n".join(f"<pre>{escape(result.message)}</pre>" for result in report.failures[:50])
    more = len(report.failures) - 50
    return f"<h2>Failures</h2>\n{shown}" + (f"\n<p>and {more} more, below</p>" if more > 0 else "")


def _cases(report: Report) -> str:
    rows: dict[tuple[str, str], dict[str, Result]] = {}
    for result in report.results:
        rows.setdefault((result.target, result.case), {})[result.check] = result
    head = "".join(f"<th>{escape(check)}</th>" for check in report.checks)
    body = "\n".join(_row(*key, results, report.checks) for key, results in rows.items())
    options = "".join(f'<option value="{value}">{value}</option>' for value in ("passed", "failed", "skipped"))
    return f"""<h2>Backends × cases × checks</h2>
<p id="filter" hidden><label>Filter: <input id="words" placeholder="torch peephole float32"></label>
<label>only <select id="only"><option value="">all</option>{options}</select></label> <span id="shown"></span></p>
<div class="scroll"><table id="cases"><thead><tr><th>backend-path</th><th>case</th>{head}</tr></thead><tbody>
{body}
</tbody></table></div>"""


def _row(target: str, case: str, results: dict[str, Result], checks: list[str]) -> str:
    statuses = {result.status for result in results.values()}
    status = "failed" if statuses & {"failed", "error"} else "passed" if "passed" in statuses else "skipped"
    first = next(iter(results.values()))
    name = escape(f"{target} {case} {first.spec}".lower())
    cells = "".join(_cell(results.get(check)) for check in checks)
    spec = escape(first.spec)
    return (
        f'<tr data-name="{name}" data-status="{status}"><th>{escape(target)}</th>'
        f'<th title="{spec}">{escape(case)}</th>{cells}</tr>'
    )


def _cell(result: Result | None) -> str:
    if result is None:
        return "<td></td>"
    ratio = result.worst.ratio if result.worst is not None else 0.0
    shown = {"skipped": "–", "error": "error"}.get(result.status, f"{ratio:.2g}")
    told = result.reason if result.worst is None else str(result.worst)
    return f'<td class="{_colour(result.status, ratio)}" title="{escape(told)}">{shown}</td>'


def _colour(status: str, ratio: float) -> str:
    if status == "skipped":
        return "skipped"
    if status != "passed":
        return "bad"
    if ratio == 0.0:
        return "exact"
    return "low" if ratio < 0.1 else "middle" if ratio < 0.5 else "high"


def _skipped(report: Report) -> str:
    if not report.counts["skipped"]:
        return ""
    items = "\n".join(
        f"<li>{count} × {escape(target)}: {escape(reason)}</li>"
        for (target, reason), count in sorted(report.skipped().items())
    )
    return f"<h2>Skipped</h2>\n<ul>\n{items}\n</ul>"
