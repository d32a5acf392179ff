"""Text for language models: characters as tokens, and how a long text becomes batches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..parameters import Array

UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Vocabulary:
    """Characters by number. The first stands for every character that is not among the others."""

    tokens: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Every character of a text, in the order of Unicode."""
        return cls((UNKNOWN, *sorted(set(text) - {UNKNOWN})))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> tuple[Array, int]:
        """The numbers of a text's characters [N], and how many of them are unknown."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        known = np.array([ord(token) for token in self.tokens[1:]], np.uint32)
        order = np.argsort(known)
        at = np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)
        found = order[at] if len(known) else np.zeros(len(codes), np.int64)
        hit = known[found] == codes if len(known) else np.zeros(len(codes), bool)
        return np.where(hit, found + 1, 0).astype(np.int64), int((~hit).sum())

    def decode(self, ids: Any) -> str:
        return "".join(self.tokens[int(i)] for i in ids)


def pydoc_topics() -> str:
    """The text of Python's own help topics (what `help("while")` prints), in the order of their names."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises InputError for one that cannot be read, is not UTF-8, or is empty."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as problem:
        raise InputError(f"{path}: is not UTF-8 (byte {problem.start}: {problem.reason}). Convert it first.") from None
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror}). Check the path and its permissions.") from None
    if not text:
        raise InputError(f"{path}: is empty. Give a text to learn from.")
    return text


def fingerprint(text: str) -> str:
    """Which text it is, for a run that is resumed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def split(text: str, held_out: float) -> tuple[str, str]:
    """The beginning to learn from, and the end that is held out: so large a part, rounded to a character."""
    at = len(text) - round(held_out * len(text))
    return text[:at], text[at:]


def streams(ids: Array, rows: int) -> tuple[Array, Array]:
    """A text cut into `rows` pieces, read side by side: inputs and targets [rows, N], the targets one further on."""
    count = (len(ids) - 1) // rows
    if count < 1:
        raise InputError(
            f"the text has {len(ids)} characters, too few for batch_size={rows}. Give a longer text or a smaller batch."
        )
    return ids[: rows * count].reshape(rows, count), ids[1 : rows * count + 1].reshape(rows, count)
