"""What an LSTM must compute: an independent oracle, golden vectors of other systems, and the checks made of them."""

from .pytest_cases import CaseCheck, conformance_cases
from .report import Report, Result
from .run import run_conformance
from .selection import SelectionError

__all__ = ["CaseCheck", "Report", "Result", "SelectionError", "conformance_cases", "run_conformance"]
