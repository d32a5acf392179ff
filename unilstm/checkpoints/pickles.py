"""Pickles of plain data and NumPy arrays, read without importing, calling or building anything of theirs.

A pickle is a program. This reader has no names but those in `_KNOWN`, each of which stands for a function of this
module; any other name ends the reading. It is Python's own reader in Python (`pickle._Unpickler`), because the one in
C takes memory on a pickle's word (a memo index of 2**32 is enough), with the opcodes that nothing here needs taken out.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from ..errors import CheckpointError
from ..parameters import Array
from .contents import AGAIN

_MOST_STEPS = 600_000  # opcodes, about half a second; a pickled array takes 25
_CODES = {
    *("f2", "f4", "f8", "f16", "c8", "c16", "b1", "?"),
    *(kind + size for kind in "iu" for size in "1248"),
}
_NO_OPCODES = (
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.INST, pickle.OBJ),
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.PERSID, pickle.NEWOBJ_EX),
)
Names = Mapping[tuple[str, str], Callable[..., Any]]


class Refused(Exception):
    """A pickle wants something that is not plain data. name: the Python object, if it is one."""

    def __init__(self, reason: str, name: str | None = None) -> None:
        super().__init__(reason)
        self.name = name


class NumpyType:
    """Stands for numpy.dtype: a code such as "f4" and a byte order."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or code not in _CODES:
            raise Refused(f"an array of type {code!r}")
        self.type = np.dtype(code)

    def set_state(self, state: Any) -> None:
        order = state[1]
        if not isinstance(order, str) or order not in ("<", ">", "|", "="):
            raise Refused(f"a byte order {order!r}")
        self.type = self.type.newbyteorder("|" if self.type.itemsize == 1 else order)  # type: ignore[arg-type]


class NumpyArray:
    """Stands for numpy.ndarray: a shape, a type, and bytes that are not copied."""

    def __init__(self, *made_empty: Any) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.type = np.dtype("f4")
        self.data: Any = b""
        self.order = "C"

    def set_state(self, state: Any) -> None:
        _, shape, type_, fortran, data = state
        self.fill(shape, type_, "F" if fortran else "C", data)

    def fill(self, shape: Any, type_: Any, order: Any, data: Any) -> None:
        whole = isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape) and len(shape) <= 32
        if not whole or not isinstance(type_, NumpyType) or not isinstance(data, bytes) or order not in ("C", "F"):
            raise Refused("an array that is none")
        if math.prod(shape) * type_.type.itemsize != len(data):
            raise Refused(f"an array of shape {list(shape)} with {len(data)} bytes")
        self.shape, self.type, self.data, self.order = shape, type_.type, data, order

    def array(self) -> Array:
        found = np.frombuffer(self.data, self.type).reshape(self.shape, order=self.order)  # type: ignore[call-overload]
        return np.asarray(found, self.type.newbyteorder("="))


def _frombuffer(data: Any, type_: Any, shape: Any, order: Any) -> NumpyArray:
    array = NumpyArray()
    array.fill(shape, type_, order, data)
    return array


def _scalar(type_: Any, data: Any) -> NumpyArray:
    return _frombuffer(data, type_, (), "C")


def _encode(text: Any, coding: Any = "latin1") -> bytes:
    """Bytes, as protocol 2 writes them."""
    if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
        raise Refused("text in another coding")
    return text.encode("latin1")


def _tuple(items: Any = ()) -> tuple[Any, ...]:
    if not isinstance(items, (tuple, list)):
        raise Refused("a tuple of something else")
    return tuple(items)


def _ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    found: OrderedDict[Any, Any] = OrderedDict()
    for key, value in items:
        found[_key(key)] = value
    return found


def _key(key: Any) -> Any:
    """A key that can be hashed without going deep: a nest of a million tuples would overflow the stack of C."""
    if not isinstance(key, (str, int, float, bytes, type(None))):
        raise Refused(f"a {type(key).__name__} as a key")
    return key


_KNOWN: Names = {
    ("numpy.core.multiarray", "_reconstruct"): NumpyArray,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): NumpyArray,
    ("numpy", "dtype"): NumpyType,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered_dict,
    ("builtins", "tuple"): _tuple,
    ("__builtin__", "tuple"): _tuple,
}


class PlainUnpickler(pickle._Unpickler):
    """Reads plain data, arrays, and what `known` adds. persistent: what a persistent id stands for, if anything."""

    pop_mark: Any  # pickle._Unpickler's

    def __init__(self, file: IO[bytes], size: int, known: Names | None = None, persistent: Any = None) -> None:
        super().__init__(_Bounded(file, size), encoding="latin1")
        self.names = {**_KNOWN, **(known or {})}
        self.persistent = persistent

    def load(self) -> Any:
        self._unframer = pickle._Unframer(self._file_read, self._file_readline)  # type: ignore[attr-defined]
        self.read, self.readinto, self.readline = self._unframer.read, self._unframer.readinto, self._unframer.readline
        self.metastack: list[Any] = []
        self.stack: list[Any] = []
        self.append, self.proto = self.stack.append, 0
        read, dispatch = self.read, self.dispatch
        try:
            for _ in range(_MOST_STEPS):
                dispatch[read(1)[0]](self)
        except pickle._Stop as end:  # type: ignore[attr-defined]
            return end.value
        raise Refused(f"more than {_MOST_STEPS:,} steps")

    def find_class(self, module: str, name: str) -> Any:
        known = self.names.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise Refused(f"a Python object ({module}.{name})", f"{module}.{name}")
        return known

    def persistent_load(self, pid: Any) -> Any:
        if self.persistent is None:
            raise Refused("a reference to something outside of it")
        return self.persistent(pid)

    # Opcodes that build things, done over: on plain data and on this module's stand-ins only.

    def load_build(self) -> None:
        state = self.stack.pop()
        fill = getattr(self.stack[-1], "set_state", None)
        if fill is None or isinstance(self.stack[-1], type):
            raise Refused(f"a state for a {type(self.stack[-1]).__name__}")
        fill(state)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not any(function is known for known in self.names.values()) or not isinstance(arguments, tuple):
            raise Refused("a call of something that is no function")
        self.stack[-1] = function(*arguments)

    def load_newobj(self) -> None:
        self.load_reduce()

    def load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._dict()[_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        held = self._dict()
        for n in range(0, len(items), 2):
            held[_key(items[n])] = items[n + 1]

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(items[n]): items[n + 1] for n in range(0, len(items), 2)})

    def _dict(self) -> dict[Any, Any]:
        if not isinstance(self.stack[-1], dict):
            raise Refused(f"items of a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    for _code in _NO_OPCODES:
        dispatch.pop(_code[0])
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict


class _Bounded:
    """A file that refuses to be read past its end before memory is taken for it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.left = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise EOFError(f"it wants {count} bytes where {self.left} are left")
        self.left -= count
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(min(self.left, 1 << 16))
        self.left -= len(line)
        return line

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[:] = data
        return len(data)


def read_plain(
    path: Path,
    file: IO[bytes],
    size: int,
    known: Names | None = None,
    persistent: Any = None,
    reader: type[PlainUnpickler] = PlainUnpickler,
) -> Any:
    """The value of a pickle of plain data. Raises CheckpointError, naming what else it holds."""
    try:
        return reader(file, size, known, persistent).load()
    except Refused as problem:
        if problem.name is not None:
            raise CheckpointError(
                f"{path}: holds a Python object ({problem.name}) beside its arrays; opening it could run any code. "
                "Open it in the program that wrote it, and save the arrays only."
            ) from None
        raise CheckpointError(f"{path}: its pickle holds {problem}. {AGAIN}") from None
