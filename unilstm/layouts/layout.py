"""Layout: one system's way to store an LSTM, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..spec import LSTMSpec
from . import arguments, engine, losses, sizes
from .tables import Argument, Arguments, Form


@dataclass(frozen=True)
class Layout:
    """One system's way to store an LSTM.

    forms: the ways it does so; the first that has a place for all of a spec is the one written, and where several have
    the same names the first that the shapes fit is the one read. bias: "double" or "single", the biases it has unless
    told otherwise; bias_optional: whether it can do without. notes: what a user of the system should know. source:
    where this is from; up to the first comma the system's version. tested: against what, "golden" vectors of the system
    or its documented "equations" ("" of a layout of one's own: unilstm does not know).
    """

    name: str
    title: str
    forms: tuple[Form, ...]
    arguments: tuple[Argument | Arguments, ...]
    bias: str
    bias_optional: bool
    notes: str
    source: str
    tested: str = ""

    @property
    def biases(self) -> tuple[str, ...]:
        """The biases it can have, beside none."""
        return (self.bias, "single") if any(form.single_bias for form in self.forms) else (self.bias,)

    def config(self, spec: LSTMSpec) -> dict[str, Any]:
        """The system's constructor arguments for a spec, without those that have the system's default.

        Raises UnsupportedByLayout, naming field and value, for a spec the layout has no place for. What to_layout only
        does with a loss (a bias more or less, no dropout) is not refused here: the arguments are those of the result.
        """
        return losses.hold(self, spec).config

    def spec(self, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> LSTMSpec:
        """The spec of arrays of these names and shapes, built with these arguments. Raises LayoutError."""
        matched = engine.match(self, shapes)
        return arguments.read(self, config, sizes.see(matched, shapes)).spec
