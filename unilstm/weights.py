"""Weights: a spec and its canonical arrays, framework-free. The safetensors file of the project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import LayoutError
from .parameters import Array, initial_values, parameters
from .spec import LSTMSpec

DTYPES = ("float16", "float32", "float64")


class Weights(Mapping[str, Array]):
    """The arrays of one LSTM by canonical name (see parameters.py), all of one dtype, read-only.

    Raises LayoutError for a missing, an extra or a misshapen array, naming it.
    """

    spec: LSTMSpec
    dtype: str

    def __init__(self, spec: LSTMSpec, arrays: Mapping[str, Any], *, copy: bool = True) -> None:
        """copy=False takes read-only arrays as they are, such as those of a file mapped into memory."""
        wanted = parameters(spec)
        for name in wanted:
            if name not in arrays:
                raise LayoutError(f"{name!r} is missing. {spec!r} needs: {', '.join(wanted)}.")
        for name in arrays:
            if name not in wanted:
                raise LayoutError(f"{name!r} is not a parameter of {spec!r}. It has: {', '.join(wanted)}.")
        self.spec = spec
        self._arrays = {name: checked(name, arrays[name], p.shape, copy) for name, p in wanted.items()}
        dtypes = {name: a.dtype.name for name, a in self._arrays.items()}
        if len(set(dtypes.values())) > 1:
            raise LayoutError(f"the arrays mix dtypes: {dtypes}. Convert them to one.")
        self.dtype = next(iter(dtypes.values()))

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        """Same spec, same dtype, same bits."""
        if not isinstance(other, Weights):
            return NotImplemented
        return self.spec == other.spec and all(
            a.dtype == other[name].dtype and a.tobytes() == other[name].tobytes() for name, a in self.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Weights({self.spec!r}, {sum(a.size for a in self.values())} {self.dtype} parameters)"

    @classmethod
    def initial(cls, spec: LSTMSpec, seed: int, init: str = "torch", dtype: str = "float32") -> Weights:
        """Seeded initial weights; the same for every backend. init: see parameters.initial_values."""
        check_dtype(dtype)
        return cls(spec, {name: v.astype(dtype) for name, v in initial_values(spec, seed, init).items()})

    @classmethod
    def from_layout(cls, layout: str, mapping: Mapping[str, Any], /, *, prefix: str = "", **config: Any) -> Weights:
        """Read another system's arrays.

        layout: its name (unilstm.layouts.names()). mapping: arrays under that system's names; only those under
        `prefix` are read. config: that system's own constructor arguments, where shapes don't tell.
        Raises LayoutError where the mapping does not fit, naming the tensor.
        """
        from . import layouts

        return layouts.read(layout, mapping, prefix, config)

    def to_layout(self, layout: str, *, prefix: str = "", allow: str | tuple[str, ...] = ()) -> dict[str, Array]:
        """The arrays under another system's names, bit for bit where the layout can hold them.

        Raises UnsupportedByLayout for a spec the layout has no place for, and LossyConversion, naming the loss, for one
        it holds only with a loss; `allow` lists the losses to accept, such as "merge-biases".
        """
        from . import layouts

        return layouts.write(layout, self, prefix, (allow,) if isinstance(allow, str) else tuple(allow))

    def layout_config(self, layout: str) -> dict[str, Any]:
        """That system's constructor arguments for this spec: what from_layout needs beside the arrays."""
        from . import layouts

        return layouts.get(layout).config(self.spec)

    def astype(self, dtype: str) -> Weights:
        check_dtype(dtype)
        return Weights(self.spec, {name: a.astype(dtype) for name, a in self.items()})


def check_dtype(dtype: Any) -> str:
    if dtype not in DTYPES:
        raise LayoutError(f"dtype={dtype!r} is not supported. Choose one of: {', '.join(DTYPES)}.")
    return str(dtype)


def checked(name: str, value: Any, shape: tuple[int, ...], copy: bool = True) -> Array:
    taken = not copy and isinstance(value, np.ndarray) and value.flags.c_contiguous and not value.flags.writeable
    array = value if taken else np.array(value, order="C")  # a copy: the caller's array stays the caller's
    if array.dtype.name not in DTYPES:
        raise LayoutError(f"{name!r} has dtype {array.dtype}. Convert it to one of: {', '.join(DTYPES)}.")
    if array.shape != shape:
        raise LayoutError(f"{name!r} has shape {list(array.shape)}, but must have {list(shape)}.")
    if not array.dtype.isnative:  # frameworks and the kernel read memory as it is
        array, taken = array.astype(array.dtype.newbyteorder("=")), False
    if not taken:
        array.flags.writeable = False
    return array
