"""What a pickle of torch's would make torch do, found out before torch is given it.

torch.load(weights_only=True) runs no code of a file, but does all that it is told with what it allows: a million empty
dicts, bytearray(2**40), the text of a text of a text in hexadecimal, twice as long each time; one text copied, or one
list made a set, a hundred thousand times; a dict whose key is a tuple of a tuple, twice, of a tuple, twice; or in a
tuple in a tuple, which overflows the stack of C when it is hashed, and ends the process.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..errors import CheckpointError
from .contents import AGAIN
from .pickles import PlainUnpickler, Refused, read_plain

_MOST_STEPS = 500_000  # opcodes, about a second of torch's; a tensor takes some forty
_DEEPEST = 100  # tuples in tuples
_MOST_VALUES = 2_000_000  # looked at in arguments, states and keys; a training checkpoint has 1.2 a step
_MOST_BYTES = 64 << 20  # of text in them, in a file that does not have so many itself
_PICKLES = 5  # of an older file: a number, a version, the machine, the tensors, and the keys of their data
_WIDTHS = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4}
_WIDTHS |= {pickletools.TAKEN_FROM_ARGUMENT4U: 4, pickletools.TAKEN_FROM_ARGUMENT8U: 8}


class _Opcode(NamedTuple):
    """What follows an opcode: so many bytes, a length of so many bytes and what has it, so many lines. What it takes
    from the stack: so many values, and perhaps all above the last mark; how many it puts there, and is that a tuple?
    fixed: nothing follows it but `size` bytes. plain: it puts one value there and does nothing else."""

    size: int
    width: int
    lines: int
    takes: int
    sliced: bool
    puts: int
    tuple: bool
    fixed: bool
    plain: bool

    @classmethod
    def of(cls, opcode: Any) -> _Opcode:
        size = width = lines = 0
        if opcode.arg is not None and opcode.arg.n == pickletools.UP_TO_NEWLINE:
            lines = 2 if opcode.arg.name == "stringnl_noescape_pair" else 1
        elif opcode.arg is not None:
            size, width = max(0, opcode.arg.n), _WIDTHS.get(opcode.arg.n, 0)
        before, after = opcode.stack_before, opcode.stack_after
        sliced = pickletools.markobject in before
        takes = before.index(pickletools.markobject) if sliced else len(before)
        plain = len(after) == 1 and not before and opcode.code not in "(.hjgqrp"
        tuple_ = pickletools.pytuple in after and not plain
        return cls(size, width, lines, takes, sliced, len(after), tuple_, not (width or lines), plain)


_OPCODES = {ord(opcode.code): _Opcode.of(opcode) for opcode in pickletools.opcodes}
_GETS, _PUTS = (b"hj", b"qr")  # BINGET and BINPUT, with an index of one byte, and of four


def check(path: Path, data: Any, older: bool = False) -> None:
    """Refuse a pickle of too many steps, of tuples too deep, or that makes something large of something small.

    data: the pickle, or all of a file from before torch 1.6.
    """
    dry, at, count = _Dry(path, data), 0, _PICKLES if older else 1
    for _ in range(count):
        at = dry.run(at)
    _rehearse(path, data[:at], count)


class _Dry:
    """Goes through a pickle and makes nothing: of each value on the stack it has how deep a tuple it is."""

    def __init__(self, path: Path, data: Any) -> None:
        self.path, self.data, self.left = path, data, _MOST_STEPS

    def run(self, at: int) -> int:
        """From the start of a pickle to its end; or to where it is damaged, of which torch says what it is."""
        data, end, opcodes, left = self.data, len(self.data), _OPCODES, self.left
        stack: list[int] = []
        marks: list[int] = []
        memo: dict[bytes, int] = {}
        while at < end and data[at] in opcodes:
            code, start = data[at], at + 1
            opcode = opcodes[code]
            at = start + opcode.size if opcode.fixed else self._after(opcode, start)
            left -= 1
            if left < 0:
                raise CheckpointError(f"{self.path}: its pickle takes more than {_MOST_STEPS:,} steps. {AGAIN}")
            if opcode.plain:
                stack.append(0)
            elif code == pickle.STOP[0]:
                break
            elif code == pickle.MARK[0]:
                marks.append(len(stack))
            elif code in _GETS:
                stack.append(memo.get(data[start:at].rstrip(b"\0"), 0))
            elif code in _PUTS:
                memo[data[start:at].rstrip(b"\0")] = stack[-1] if stack else 0
            else:
                self._step(opcode, stack, marks)
        self.left = left
        return min(at, end)

    def _after(self, opcode: _Opcode, at: int) -> int:
        at += opcode.size
        if opcode.width:
            at += opcode.width + int.from_bytes(self.data[at : at + opcode.width], "little")
        for _ in range(opcode.lines):
            at = self.data.find(b"\n", at) + 1 or len(self.data)
        return at

    def _step(self, opcode: _Opcode, stack: list[int], marks: list[int]) -> None:
        base = len(stack) - opcode.takes
        if opcode.sliced:
            base = (marks.pop() if marks else 0) - opcode.takes
        base = max(0, base)
        depth = 1 + max(stack[base:], default=0) if opcode.tuple else 0
        if depth > _DEEPEST:
            raise CheckpointError(f"{self.path}: its pickle has tuples more than {_DEEPEST} levels deep. {AGAIN}")
        del stack[base:]
        stack += [depth] * opcode.puts


def _rehearse(path: Path, data: bytes, pickles: int) -> None:
    file = io.BytesIO(data)
    for _ in range(pickles):
        try:
            read_plain(path, file, len(data) - file.tell(), reader=_Rehearsal)
        except CheckpointError:
            raise
        except EOFError:  # it is damaged here, and torch comes no further either
            return
        except Exception as problem:  # a hostile pickle can make an unpickler raise anything
            raise CheckpointError(f"{path}: its pickle cannot be followed ({problem}). {AGAIN}") from None


class _Nothing:
    """In place of what a pickle names or makes by calling it, and of dicts. size: how many values went into it."""

    def __init__(self) -> None:
        self.size = 0

    def __call__(self, *arguments: Any) -> _Nothing:
        return _Nothing()

    def append(self, value: Any) -> None:
        """torch refuses to."""

    extend = append


def _bytearray(*arguments: Any) -> _Nothing:
    """Of bytes that there are; not of a number, which would be how many to make."""
    if not all(isinstance(argument, bytes) for argument in arguments):
        raise Refused("a bytearray of something that is not bytes")
    return _Nothing()


class _Rehearsal(PlainUnpickler):
    """Makes text, bytes, lists and tuples; and counts the values that torch would go through: a call goes through its
    arguments, a state through what it is, and a key through its tuples, each time anew."""

    def __init__(self, file: Any, size: int, *others: Any) -> None:
        super().__init__(file, size, *others)
        self.values, self.bytes = _MOST_VALUES, max(_MOST_BYTES, 4 * size)

    def _spend(self, value: Any) -> int:
        """Go through a value as torch would. Returns how many there are in it."""
        before, pending = self.values, [value]
        while pending:
            one = pending.pop()
            self.values -= 1
            if isinstance(one, (list, tuple)):
                self.values -= len(one)  # before they are listed
                pending += one if self.values >= 0 else ()
            elif isinstance(one, _Nothing):
                self.values -= one.size
            elif isinstance(one, (str, bytes)):
                self.bytes -= len(one)
            elif isinstance(one, int):
                self.bytes -= one.bit_length() // 8
            if min(self.values, self.bytes) < 0:
                raise Refused("the same values again and again, millions in all")
        return before - self.values

    def find_class(self, module: str, name: str) -> Any:
        if name == "bytearray":
            return _bytearray
        return super().find_class(module, name) if name == "encode" else _Nothing()

    def persistent_load(self, pid: Any) -> Any:
        self._spend(pid)
        return _Nothing()

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        size = self._spend(arguments)
        made = self.stack[-1](*arguments)
        if isinstance(made, _Nothing):
            made.size = size
        self.stack[-1] = made

    def load_newobj(self) -> None:
        self.load_reduce()

    def load_build(self) -> None:
        self._spend(self.stack.pop())

    def load_empty_dictionary(self) -> None:
        self.append(_Nothing())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.load_empty_dictionary()
        self._put(items)

    def load_setitem(self) -> None:
        self._put([self.stack.pop(), self.stack.pop()][::-1])

    def load_setitems(self) -> None:
        self._put(self.pop_mark())

    def _put(self, items: list[Any]) -> None:
        """Keys and values in turn, into what is on the stack; it is not hashed, but torch would."""
        self._spend(items[::2])
        if isinstance(self.stack[-1], _Nothing):
            self.stack[-1].size += len(items) // 2

    dispatch: ClassVar[dict[int, Any]] = dict(PlainUnpickler.dispatch)
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dictionary
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
