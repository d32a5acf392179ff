"""ModelWeights: a model's spec and its arrays, framework-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import LayoutError
from ..parameters import Array
from ..weights import Weights, check_dtype, checked
from .parameters import LSTM, LmpInit, initial_values, shapes
from .spec import ModelSpec


class ModelWeights(Mapping[str, Array]):
    """The arrays of one model by name (see models/parameters.py), all of one dtype, read-only.

    Raises LayoutError for a missing, an extra or a misshapen array, naming it.
    """

    spec: ModelSpec
    lstm: Weights

    def __init__(self, spec: ModelSpec, arrays: Mapping[str, Any]) -> None:
        wanted = shapes(spec)
        for name in wanted:
            if name not in arrays:
                raise LayoutError(f"{name!r} is missing. The {spec.kind} needs: {', '.join(wanted)}.")
        for name in arrays:
            if name not in wanted:
                raise LayoutError(f"{name!r} is not a parameter of the {spec.kind}. It has: {', '.join(wanted)}.")
        self.spec = spec
        self.lstm = Weights(spec.lstm, {n.removeprefix(LSTM): arrays[n] for n in wanted if n.startswith(LSTM)})
        own = {n: checked(n, arrays[n], shape) for n, shape in wanted.items() if not n.startswith(LSTM)}
        self._arrays = {n: self.lstm[n.removeprefix(LSTM)] if n.startswith(LSTM) else own[n] for n in wanted}
        for name, array in own.items():
            if array.dtype.name != self.lstm.dtype:
                raise LayoutError(f"{name!r} is {array.dtype}, but the LSTM is {self.lstm.dtype}. Convert them to one.")

    @property
    def dtype(self) -> str:
        return self.lstm.dtype

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        """Same spec, same dtype, same bits."""
        if not isinstance(other, ModelWeights):
            return NotImplemented
        return self.spec == other.spec and all(
            a.dtype == other[name].dtype and a.tobytes() == other[name].tobytes() for name, a in self.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ModelWeights({self.spec!r}, {sum(a.size for a in self.values())} {self.dtype} parameters)"

    @classmethod
    def initial(cls, spec: ModelSpec, seed: int, init: str | LmpInit, dtype: str = "float32") -> ModelWeights:
        """Seeded initial weights; the same for every backend. init: see models.parameters.initial_values."""
        check_dtype(dtype)
        return cls(spec, {name: v.astype(dtype) for name, v in initial_values(spec, seed, init).items()})

    @classmethod
    def from_layout(cls, layout: str, mapping: Mapping[str, Any], /, **config: Any) -> ModelWeights:
        """Read another system's model. layout: "lmp", the language-model-playground's three. config: that system's own
        constructor arguments, where shapes don't tell.

        Raises LayoutError where the mapping does not fit, naming the array.
        """
        from .lmp import read  # which makes ModelWeights

        _check_layout(layout)
        return read(mapping, config)

    def to_layout(self, layout: str) -> dict[str, Array]:
        """The arrays under another system's names. Raises UnsupportedByLayout for a model it has no place for."""
        from .lmp import write

        _check_layout(layout)
        return write(self)

    def astype(self, dtype: str) -> ModelWeights:
        check_dtype(dtype)
        return ModelWeights(self.spec, {name: a.astype(dtype) for name, a in self.items()})


def _check_layout(name: str) -> None:
    if name != "lmp":
        raise LayoutError(f"layout {name!r} of models is unknown. There is one: lmp.")
