"""Choosing cells of the matrix by an expression over their ids, as pytest's -k."""

from __future__ import annotations

import re
from collections.abc import Callable

from unilstm.errors import UnilstmError

Predicate = Callable[[str], bool]
_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")


class SelectionError(UnilstmError, ValueError):
    """An expression that cannot be read, or that selects nothing."""


def selector(expression: str | None) -> Predicate:
    """A test of ids. Words match as substrings, whatever their case; and, or, not and parentheses combine them.

    >>> selector("torch and not (gradients or float64)")("outputs[torch-native-vanilla-L1-forward-float32-none]")
    True
    """
    if expression is None or not expression.strip():
        return lambda name: True
    if "[" in expression:  # an id as a report prints it, which has no spaces or parentheses to combine
        return lambda name: expression.strip().lower() in name.lower()
    reader = _Reader(expression)
    chosen = reader.either()
    if reader.tokens:
        raise reader.error(f"{reader.tokens[0]!r} is not expected there")
    return chosen


class _Reader:
    """Recursive descent: either = both (or both)*; both = one (and one)*; one = not one | ( either ) | word."""

    def __init__(self, expression: str) -> None:
        self.expression, self.tokens = expression, _TOKEN.findall(expression)

    def either(self) -> Predicate:
        left = self.both()
        while self._take("or"):
            left = _any_of(left, self.both())
        return left

    def both(self) -> Predicate:
        left = self.one()
        while self._take("and"):
            left = _all_of(left, self.one())
        return left

    def one(self) -> Predicate:
        if self._take("not"):
            negated = self.one()
            return lambda name: not negated(name)
        if self._take("("):
            inner = self.either()
            if not self._take(")"):
                raise self.error("a ')' is missing")
            return inner
        if not self.tokens or self.tokens[0].lower() in ("and", "or", ")"):
            raise self.error("a word is missing")
        word = self.tokens.pop(0).lower()
        return lambda name: word in name.lower()

    def error(self, problem: str) -> SelectionError:
        return SelectionError(
            f"the selection {self.expression!r} cannot be read: {problem}. "
            "Combine words with and, or, not and parentheses, such as 'torch and not gradients'."
        )

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0].lower() == token:
            self.tokens.pop(0)
            return True
        return False


def _any_of(left: Predicate, right: Predicate) -> Predicate:
    return lambda name: left(name) or right(name)


def _all_of(left: Predicate, right: Predicate) -> Predicate:
    return lambda name: left(name) and right(name)
