"""flax.linen: LSTMCell and OptimizedLSTMCell, alone or in RNN and Bidirectional, bound to their variables.

A module of linen is without its parameters; module.bind(variables) puts the two together, for any module.
reverse=True becomes direction="reverse", whose outputs are in the order of time, as with keep_order=True.
"""

from __future__ import annotations

import sys
from typing import Any

from ..errors import PortError
from ..layouts.flax import ACTIVATIONS
from ..weights import Weights
from .objects import flat, kind_of, refuse

CELLS = ("LSTMCell", "OptimizedLSTMCell")
METHODS = ("__call__", "initialize_carry")
_WHERE = ("jax.nn", "jax.numpy", "jax.lax")


def recognise(module: Any) -> Weights | None:
    """The weights of a bound module of flax.linen."""
    found = arguments(module, "flax.linen", "flax.linen.recurrent")
    if found is None:
        return None
    if module.scope is None:
        raise PortError(
            f"this {type(module).__name__} has no parameters: modules of flax.linen are kept apart from them. Give "
            "module.bind(variables), such as nn.RNN(nn.LSTMCell(8)).bind({'params': params})."
        )
    return Weights.from_layout("flax", flat(module.variables.get("params", {})), **found)


def arguments(module: Any, package: str, defined: str) -> dict[str, Any] | None:
    """What a cell, RNN or Bidirectional of linen or nnx says of its LSTM, as the layouts' arguments; None for others.

    package: where its classes are. defined: the module that they and the function which concatenates are of.
    """
    kind = kind_of(module, package, ("RNN", "Bidirectional", *CELLS), METHODS)
    if kind in CELLS:
        return _of_cell(module, kind)
    if kind == "RNN":
        name = kind_of(module.cell, package, CELLS, METHODS)
        return None if name is None else _of_cell(module.cell, name) | _of_rnn(module)
    pair = (module.forward_rnn, module.backward_rnn) if kind else ()
    sides = [arguments(side, package, defined) for side in pair if kind_of(side, package, ("RNN",), METHODS)]
    if len(sides) != 2 or None in sides:
        return None
    fore, back = ({k: v for k, v in (side or {}).items() if k not in ("reverse", "time_major")} for side in sides)
    if fore != back:
        raise PortError(f"the two directions of a Bidirectional differ, {fore} and {back}; unilstm's are the same.")
    if module.merge_fn is not getattr(sys.modules[defined], "_concatenate", None):
        rule = "is a function, which cannot be read; unilstm takes the default, which concatenates. Leave it out."
        raise refuse(module, "merge_fn", module.merge_fn, rule)
    return fore | _time_major(module)


def _of_rnn(module: Any) -> dict[str, Any]:
    return ({"reverse": True} if module.reverse else {}) | _time_major(module)


def _time_major(module: Any) -> dict[str, Any]:
    return {"time_major": True} if module.time_major else {}


def _of_cell(cell: Any, kind: str) -> dict[str, Any]:
    if cell.dtype is not None and str(_dtype(cell.dtype)) != str(_dtype(cell.param_dtype)):
        rule = f"computes in another dtype than that of its parameters, {_dtype(cell.param_dtype)}. Leave it out."
        raise refuse(cell, "dtype", str(_dtype(cell.dtype)), rule)
    zeros = sys.modules["jax.nn.initializers"].zeros
    if cell.carry_init is not None and cell.carry_init is not zeros:
        rule = "starts from a state that is not 0. Leave it out, and pass the state to the ported layer."
        raise refuse(cell, "carry_init", cell.carry_init, rule)
    functions = {name: _name(cell, name) for name in ("gate_fn", "activation_fn")}
    return {"cell": kind, **functions}


def _dtype(value: Any) -> Any:
    return sys.modules["jax.numpy"].dtype(value)


def _name(cell: Any, argument: str) -> str:
    """The name of an activation that is one of JAX's own functions."""
    value, names = getattr(cell, argument), [str(name) for name, _ in ACTIVATIONS]
    for name in names:
        if any(value is getattr(sys.modules[place], name, None) for place in _WHERE):
            return name
    rule = f"is none of the functions of jax.nn that unilstm has: {', '.join(names)}. Give one of these."
    raise refuse(cell, argument, value, f"{rule} Or say the equations as a cell of your own (unilstm.cells).")
