"""What the drop-in classes share: an object is of its class and of its backend's stored layer at once.

A drop-in class is written once, in no framework's terms: its foreign constructor, attributes and calls. Making an
object joins it with the stored layer of the backend that was asked for (unilstm/stored.py), so that it is a
torch.nn.Module, a paddle.nn.Layer, a JAX pytree or a NumPy callable; and so is an object of a user's subclass.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from .. import layouts, plugins
from ..errors import BackendUnavailable
from ..layouts import arguments
from ..layouts.tables import Form
from ..paths import check_path
from ..spec import LSTMSpec
from ..stored import Counted, Draws, Shape, Storage, StoredMethods

_OWN = ("backend", "seed", "dtype", "device", "path")


class DropIn(StoredMethods):
    """Base of the drop-in classes.

    home: the backend where the original lives, which an object has unless told otherwise. backend: of an object.
    layout: the layout of the original's tensors (unilstm.layouts).
    """

    home: ClassVar[str] = "torch"
    backend: ClassVar[str]
    layout: ClassVar[str]
    _public: ClassVar[type]
    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, backend: str | None = None, **kwargs: Any) -> Any:
        public = cls.__dict__.get("_public", cls)
        return object.__new__(_joined(public, backend or getattr(cls, "backend", cls.home)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class of an object is made when the object is, so that pickle and copy must be told how.
        return _empty, (self._public, self.backend), self.__dict__

    def _build(
        self,
        given: Mapping[str, Any],
        spec: LSTMSpec,
        form: Form,
        *,
        extra: Mapping[str, Shape] | None = None,
        frozen: Iterable[str] = (),
        prefix: str = "",
    ) -> None:
        """Make the tensors of a spec in a form. given: the constructor's arguments, `_OWN` among them.

        extra: the shapes of tensors that the form does not know. frozen: names that are not trained. prefix: before
        the form's names.
        """
        self._arguments = {name: value for name, value in given.items() if name not in _OWN}
        self.spec, self.path, self.storage = spec, given["path"], Storage(form, spec, prefix)
        shapes = {**self.storage.shapes, **(extra or {})}
        self._shapes = {name: shapes[name] for name in self._ordered(shapes)}
        dtype = self._default_dtype() if given["dtype"] is None else dtype_name(given["dtype"])
        draws: Draws = self._draws(dtype, given["device"]) if given["seed"] is None else Counted(given["seed"])
        values = {name: np.zeros(self._shapes[name]) for name in self.storage.fixed}
        drawn = self._initial(draws, {name: shape for name, shape in self._shapes.items() if name not in values})
        ordered = {name: (values | drawn)[name] for name in self._shapes}
        self._store(ordered, dtype, given["device"], frozen=frozen, buffers=self.storage.fixed)
        check_path(self.path, self._paths(dtype))

    def _ordered(self, names: Iterable[str]) -> list[str]:
        """The tensors' names in the original's order."""
        return list(names)

    def _reset(self, initial: Any = None, seed: int | None = None) -> None:
        """Draw values anew: from a seed, or the framework's own generator. initial: as _initial, which it is if not
        given."""
        first = self._own(next(iter(self._shapes)))
        draws: Draws = self._draws(dtype_name(first.dtype), self._device()) if seed is None else Counted(seed)
        trained = {name: shape for name, shape in self._shapes.items() if name not in self.storage.fixed}
        for name, value in (initial or self._initial)(draws, trained).items():
            self._assign(name, value)

    def _initial(self, draws: Draws, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """The original's initial values, by name."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        defaults = {n: p.default for n, p in inspect.signature(self._public.__init__).parameters.items()}  # type: ignore[misc]
        shown = {n: v for n, v in self._arguments.items() if n not in defaults or v is not defaults[n]}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def spec_of(layout: str, form: str, config: Mapping[str, Any], **fields: Any) -> tuple[LSTMSpec, Form]:
    """The spec of an object of that system that was made with these arguments, and the form its tensors have.

    fields: of the spec, where the class says more than the arguments.
    """
    known = layouts.get(layout)
    named = [f for f in known.forms if f.name == form]
    seen = {"form": (form,), "peephole": (named[0].holds("weight_ch"),), **named[0].says}
    seen |= {field: (value,) for field, value in fields.items()}
    if not any("bias" in entry.fields for entry in known.arguments):
        seen["bias"] = (known.bias,)
    spec = arguments.read(known, config, seen).spec
    return spec, next(f for f in named if f.holds("weight_xh") == spec.highway)


def settled(name: str, doc: str = "") -> Any:
    """An attribute of the original that the constructor settles: reading it, but not writing it, because what it says
    has become the layer's spec."""

    def get(self: Any) -> Any:
        return self._arguments[name]

    return property(get, doc=doc or f"The argument {name} of the constructor.")


def given_arguments(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor out of its locals()."""
    return {n: v for n, v in scope.items() if n not in ("self", "__class__") and not n.startswith("_")}


def between_layers(dropout: float, num_layers: int) -> float:
    """The dropout between layers. With one layer there is no such place: torch and Paddle take it; torch warns."""
    if not dropout or num_layers != 1:
        return dropout
    text = f"dropout={dropout} acts between layers, but num_layers=1, so that it does nothing. Leave it out."
    warnings.warn(text, UserWarning, stacklevel=3)
    return 0.0


def dtype_name(dtype: Any) -> str:
    """A framework's dtype, or NumPy's, as a word such as "float32"."""
    text = getattr(dtype, "__name__", None) or str(dtype)
    return text.rpartition(".")[2].lower()


@lru_cache(maxsize=256)
def _joined(public: type, backend: str) -> type:
    """A drop-in class on a backend."""
    found = plugins.get(backend)
    stored = getattr(found, "stored", None)
    if stored is None:
        raise BackendUnavailable(
            f"backend={backend!r} has no stored layers, which {public.__qualname__} is made of. "
            f"Use {public.home!r}, or give its plugin a stored() as unilstm.hookspecs says."  # type: ignore[attr-defined]
        )
    place = {"_public": public, "backend": backend, "__doc__": public.__doc__, "__module__": public.__module__}
    return type(public.__name__, (public, stored()), {**place, "__qualname__": public.__qualname__})


def _empty(public: type, backend: str) -> Any:
    """An object without its attributes, which whoever asked for it puts in."""
    return object.__new__(_joined(public, backend))
