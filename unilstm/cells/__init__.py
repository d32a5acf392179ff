"""The equations of each cell, and the registry of cells by name: the project's own, and anyone's.

A cell of your own is one step function and its parameters:

    @unilstm.cells.cell("mine", parameters=lambda spec, inputs: {"weight": (spec.hidden_size, inputs), ...})
    def step(ops, spec, p, x, state): ...

    unilstm.LSTM(16, 32, cell="mine", backend="torch")

or an entry point of the group ``unilstm.cells``, named as the cell, whose value is a Cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import SpecError
from . import lstm, minlstm, slstm
from .cell import LOOP_FIELDS, Array, Cell, Parameters, Step

__all__ = ["LOOP_FIELDS", "Array", "Cell", "cell", "get", "names", "register", "unregister"]

GROUP = "unilstm.cells"
_OWN = (lstm.CELL, slstm.CELL, minlstm.CELL)
_cells: dict[str, Cell] = {own.name: own for own in _OWN}


def register(new: Cell) -> Cell:
    """Make a cell known by its name. Raises SpecError for a name that another cell has."""
    if not isinstance(new, Cell):
        raise SpecError(
            f"register() takes a Cell, not {type(new).__name__}. Make one: unilstm.cells.Cell(name, step, …)."
        )
    before = _cells.get(new.name)
    if before is not None and before is not new:
        raise SpecError(
            f"there is a cell {new.name!r} already. Choose another name, or take it out first: "
            f"unilstm.cells.unregister({new.name!r})."
        )
    _cells[new.name] = new
    return new


def unregister(name: str) -> None:
    """Forget a registered cell; the project's own stay."""
    if name in {own.name for own in _OWN}:
        raise SpecError(f"cell {name!r} is the project's own and cannot be taken out.")
    _cells.pop(name, None)


def cell(name: str, *, parameters: Parameters, **about: Any) -> Callable[[Step], Cell]:
    """A decorator that registers a step function as a cell. about: the other fields of Cell."""
    return lambda step: register(Cell(name, step, parameters, **about))


def _plugins() -> Iterable[Any]:
    import importlib.metadata  # half of what importing unilstm would otherwise take

    return importlib.metadata.entry_points(group=GROUP)


def names() -> list[str]:
    """Every cell there is, without loading plugins."""
    return sorted({*_cells, *(entry.name for entry in _plugins())})


def get(name: str) -> Cell:
    """The cell of that name; a plugin's is loaded when it is asked for. Raises SpecError."""
    known = _cells.get(name) if isinstance(name, str) else None
    if known is not None:
        return known
    for entry in _plugins():
        if entry.name == name:
            return register(entry.load())
    raise SpecError(
        f"cell={name!r} is unknown. Registered here: {', '.join(names())}. "
        "A cell of your own must be registered before a spec or a file names it: import its module first."
    )
