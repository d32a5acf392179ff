"""What a run found: the results, their summary, and their files (text, JSON, JUnit XML, HTML)."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .measure import Measurement

STATUSES = ("passed", "failed", "error", "skipped")
_SHOWN = 6  # failing comparisons of one cell that its message prints; a wrong layer has dozens


@dataclass(frozen=True)
class Result:
    """What one cell of the matrix came to.

    status: passed, failed (a bound was exceeded), error (something raised), skipped. reason: why it was skipped, or
    the traceback. seed: of the case's arrays.
    """

    id: str
    check: str
    backend: str
    path: str
    case: str
    variant: str = ""
    spec: str = ""
    seed: int | None = None
    status: str = "passed"
    reason: str = ""
    seconds: float = 0.0
    measurements: tuple[Measurement, ...] = ()

    @property
    def target(self) -> str:
        return f"{self.backend}-{self.path}" if self.path else self.backend

    @property
    def worst(self) -> Measurement | None:
        """The comparison nearest to its bound, or furthest beyond it."""
        return max(self.measurements, key=lambda m: m.ratio, default=None)

    @property
    def message(self) -> str:
        """What to print of a result that did not pass."""
        bad = [m for m in self.measurements if not m.ok]
        lines = [self.id, *(f"  {m}" for m in bad[:_SHOWN])]
        if len(bad) > _SHOWN:
            lines.append(f"  and {len(bad) - _SHOWN} more of {len(self.measurements)} comparisons")
        lines += [f"  {line}" for line in self.reason.strip().splitlines()]
        if self.spec and self.status != "skipped":
            seed = "" if self.seed is None else f", seed {self.seed}"
            lines += [f"  {self.spec}{seed}", f"  again: unilstm conformance -k '{self.id}'"]
        return "\n".join(lines)


@dataclass
class Summary:
    """Some results in short. ratio: the largest error as a share of its bound among those that passed or failed."""

    counts: Counter[str] = field(default_factory=Counter)
    ratio: float = 0.0

    def add(self, result: Result) -> None:
        self.counts[result.status] += 1
        if result.worst is not None:
            self.ratio = max(self.ratio, result.worst.ratio)

    @property
    def ok(self) -> bool:
        return not (self.counts["failed"] or self.counts["error"])

    def __str__(self) -> str:
        if not self.counts:
            return ""
        ran = self.counts["passed"] + self.counts["failed"] + self.counts["error"]
        if not ran:
            return f"skipped {self.counts['skipped']}"
        if self.ok:
            return f"{ran} ok {self.ratio:.2f}"
        return f"{ran - self.counts['passed']}/{ran} FAIL {self.ratio:.1g}"


@dataclass(frozen=True)
class Report:
    """Every result of a run. environment: versions and the machine, by name."""

    results: tuple[Result, ...]
    environment: dict[str, str]
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing failed, and something ran."""
        return bool(self.counts["passed"]) and not (self.counts["failed"] or self.counts["error"])

    @property
    def counts(self) -> Counter[str]:
        return Counter(r.status for r in self.results)

    @property
    def failures(self) -> list[Result]:
        return [r for r in self.results if r.status in ("failed", "error")]

    @property
    def targets(self) -> list[str]:
        """The columns of the matrix: backend-path, in the order they ran, those of one backend together."""
        seen = list(dict.fromkeys((r.backend, r.target) for r in self.results))
        order = list(dict.fromkeys(backend for backend, _ in seen))
        return [target for _, target in sorted(seen, key=lambda pair: order.index(pair[0]))]

    @property
    def checks(self) -> list[str]:
        """The rows of the matrix."""
        return list(dict.fromkeys(r.check for r in self.results))

    def matrix(self) -> dict[tuple[str, str], Summary]:
        """(check, target) → the summary of its cases."""
        found: dict[tuple[str, str], Summary] = {}
        for result in self.results:
            found.setdefault((result.check, result.target), Summary()).add(result)
        return found

    def skipped(self) -> Counter[tuple[str, str]]:
        """How often each (target, reason) was skipped."""
        return Counter((r.target, r.reason) for r in self.results if r.status == "skipped")

    def to_text(self) -> str:
        from .formats import text

        return text(self)

    def to_dict(self) -> dict[str, Any]:
        from .formats import plain

        return plain(self)

    def to_json(self) -> str:
        from .formats import json_text

        return json_text(self)

    def to_junit(self) -> str:
        from .formats import junit

        return junit(self)

    def to_html(self) -> str:
        from .page import html

        return html(self)

    def write(self, path: str | Path) -> None:
        """Write the file whose suffix names its kind: .html, .json, .xml or .txt. Complete or not at all."""
        kinds = {".html": self.to_html, ".json": self.to_json, ".xml": self.to_junit, ".txt": self.to_text}
        path = Path(path)
        if path.suffix not in kinds:
            raise ValueError(f"cannot tell what report {str(path)!r} is. End its name in one of: {', '.join(kinds)}.")
        content = kinds[path.suffix]()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
            os.chmod(temporary, 0o644)  # mkstemp's files are for the owner only
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def finite(value: float) -> float | None:
    """A number that JSON has, or None."""
    return value if math.isfinite(value) else None
