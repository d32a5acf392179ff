"""What the four classes of compat.allennlp share: initial values, names, the call, states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..stored import Draws, Shape
from .dropin import DropIn
from .initial import linear, orthogonal

_BEFORE_1_0 = re.compile(r"((?:.*\.)?)((?:input|state)_linearity\.(?:weight|bias))")


class Augmented(DropIn):
    """An LSTM of two linear maps, perhaps with a highway."""

    layout = "allennlp"

    def _initial(self, draws: Draws, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        """Each gate's weights orthogonal; the state's biases 0, but 1 for the forget gate; the input's as nn.Linear."""
        hidden, found = self.spec.hidden_size, {}
        for name, shape in shapes.items():
            if name.endswith("weight"):
                gates = range(shape[0] // hidden)
                found[name] = np.concatenate([orthogonal(draws, hidden, shape[1]) for _ in gates])
            elif "input_linearity" in name:
                found[name] = linear(draws, shape, shapes[name.replace("bias", "weight")][1])
            else:
                found[name] = np.zeros(shape)
                found[name][hidden : 2 * hidden] = 1.0
        return found

    def _renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        """Before AllenNLP 1.0 the names had no "cell."."""
        if any("cell." in name for name in given):
            return given
        hits = {name: _BEFORE_1_0.fullmatch(name) for name in given}
        return {f"{hit[1]}cell.{hit[2]}" if (hit := hits[name]) else name: value for name, value in given.items()}

    def _call(self, inputs: Any, state: Any, **rest: Any) -> Any:
        return self._lstm(inputs, None if state is None else tuple(state), **rest)

    def _two_ways(self, state: Any, name: str) -> Any:
        """States [L, B, 2H], forward beside backward, or [L, B, H] for both, → [2L, B, H], one after the other."""
        if state is None:
            return None
        ops, spec = self._ops(), self.spec
        found = []
        for part in state:
            if len(part.shape) != 3 or part.shape[0] != spec.num_layers or part.shape[2] not in self._state_sizes():
                sizes = " or ".join(map(str, self._state_sizes()))
                raise InputError(
                    f"{name} has shape {list(part.shape)}, but must have [{spec.num_layers}, batch, {sizes}]: layers, "
                    "batch, features of both directions."
                )
            both = [part, part] if part.shape[2] == spec.hidden_size else ops.split(part, 2)
            joined = ops.transpose(ops.stack(list(both)))  # [L, 2, B, H]
            found.append(ops.reshape(joined, (2 * spec.num_layers, part.shape[1], spec.hidden_size)))
        return tuple(found)

    def _state_sizes(self) -> tuple[int, ...]:
        return (2 * self.spec.hidden_size,)
