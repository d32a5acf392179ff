"""In place of paddle.nn.LSTM: `from unilstm.compat.paddle import LSTM`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SpecError
from ..spec import LSTMSpec
from ..stored import Draws
from .dropin import DropIn, between_layers, given_arguments, settled, spec_of

_ALIAS = re.compile(r"(weight_ih|weight_hh|weight_ho|bias_ih|bias_hh)_l(\d+)(_reverse)?")
_SIZES = ("input_size", "hidden_size", "num_layers", "direction", "time_major", "dropout", "proj_size")
_OFF = {"weight_ih": 1.0, "weight_hh": 1.0, "bias_ih": 0.0, "bias_hh": 0.0}  # what Paddle fills in for attr=False


@dataclass
class ParamAttr:
    """paddle.ParamAttr where Paddle is not installed. initializer: a function of the shape → an array."""

    name: str | None = None
    initializer: Any = None
    learning_rate: float = 1.0
    regularizer: Any = None
    trainable: bool = True
    do_model_average: bool = True
    need_clip: bool = True


class LSTM(DropIn):
    """paddle.nn.LSTM on any backend: its constructor, attributes, call, return values and state_dict.

    input_size, hidden_size, num_layers, direction ("forward", "bidirect", "bidirectional"), time_major, dropout,
        proj_size: as there. name: kept as the attribute.
    weight_ih_attr, weight_hh_attr, bias_ih_attr, bias_hh_attr: None, False, a name, an initializer or a ParamAttr
        (Paddle's, or this module's). False is, as there, a tensor that is not trained: a bias of zeros, a weight of
        ones. Another backend takes `initializer` and `trainable`, and refuses what only Paddle's optimizers obey.
    backend: "paddle", where this is a paddle.nn.Layer, or another, where the same tensors have the names of the cells.
    seed: of the initial weights, the same on every backend; without it they are drawn from the framework's generator,
        on Paddle exactly as paddle.nn.LSTM draws them after the same paddle.seed.
    path: "auto", "native", "kernel" or "composed" (docs/layers.md).

    outputs, (h, c) = lstm(inputs, initial_states, sequence_length); key= or masks= beside them for dropout, which NumPy
    and JAX drop by only where they are given.

    Where the original has a defect (Paddle 3.3.1), this one works and so differs:
    one bias off, or both, at any number of layers (there a crash of Python or of the process); outputs past
    sequence_length are 0 with a projection, too (there they are garbage); gradients of a bidirectional layer with
    ragged lengths (there that of the reverse weight_hh is wrong); the names `weight_ih_l1` and so on are of the tensors
    that they name (there, with a projection or a bias off, of others), and where a state_dict has both sets of names,
    the cells' are read; a ParamAttr's name that several tensors would share (there
    an error) gets `_l{k}[_reverse]` behind it; gradients flow in evaluation mode, too.
    Dropout draws other masks from the same generator. The attributes are read-only.
    """

    home = "paddle"
    layout = "paddle"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        direction: str = "forward",
        time_major: bool = False,
        dropout: float = 0.0,
        weight_ih_attr: Any = None,
        weight_hh_attr: Any = None,
        bias_ih_attr: Any = None,
        bias_hh_attr: Any = None,
        proj_size: int = 0,
        name: str | None = None,
        *,
        backend: str = "paddle",
        seed: int | None = None,
        dtype: Any = None,
        device: Any = None,
        path: str = "auto",
    ) -> None:
        given = given_arguments(locals())
        super().__init__()
        config = {name: given[name] for name in _SIZES}
        config["dropout"] = between_layers(dropout, num_layers)
        attrs = {role: _attr(role, given[f"{role}_attr"], self.backend) for role in _OFF}
        # Paddle makes the projection's weight with the attribute of weight_hh, where that is one.
        attrs["weight_ho"] = attrs["weight_hh"] or ParamAttr()
        self._attrs: dict[str, Any] = attrs
        spec, form = spec_of("paddle", "cells", config)
        self._build(given, spec, form, frozen=_frozen(spec, attrs))

    input_size, hidden_size, num_layers = settled("input_size"), settled("hidden_size"), settled("num_layers")
    direction, time_major, dropout = settled("direction"), settled("time_major"), settled("dropout")
    proj_size, name = settled("proj_size"), settled("name")
    mode, state_components = "LSTM", 2

    @property
    def num_directions(self) -> int:
        return self.spec.num_directions

    def forward(
        self,
        inputs: Any,
        initial_states: Any = None,
        sequence_length: Any = None,
        *,
        key: Any = None,
        masks: Any = None,
    ) -> tuple[Any, tuple[Any, Any]]:
        """inputs [B, T, I] ([T, B, I] if time_major); initial_states (h, c), zeros if not given; sequence_length [B].

        Returns outputs, (h [layers·directions, B, P or H], c [layers·directions, B, H]), forward at the even places.
        """
        return self._lstm(inputs, initial_states, lengths=sequence_length, key=key, masks=masks)  # type: ignore[no-any-return]

    def flatten_parameters(self) -> None:
        """Nothing: each call gathers the weights where the operator wants one buffer."""

    def __getattr__(self, name: str) -> Any:
        own = self._own_name(name)
        return super().__getattr__(name) if own is None else self._own(own)  # type: ignore[misc]

    def _own_name(self, alias: str) -> str | None:
        """The cell's name of a tensor by its alias: `weight_ih_l1_reverse` is `1.cell_bw.weight_ih`."""
        storage = self.__dict__.get("storage")  # not there yet while the object is made
        hit = _ALIAS.fullmatch(alias)
        if storage is None or hit is None:
            return None
        own = f"{int(hit[2])}.{_cell(self.spec.num_directions, 1 if hit[3] else 0)}.{hit[1]}"
        return own if own in storage.shapes else None

    def _renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        aliases = {name: own for name in given if (own := self._own_name(name)) is not None}
        rest = {name: value for name, value in given.items() if name not in aliases}
        return {own: given[name] for name, own in aliases.items()} | rest

    def _second_names(self) -> dict[str, str]:
        return {f"{name.rpartition('.')[2]}{_suffix(name)}": name for name in self.storage.shapes}

    def _initial(self, draws: Draws, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        bound, found = 1.0 / math.sqrt(self.spec.hidden_size), {}
        for name, shape in shapes.items():
            role = name.rpartition(".")[2]
            attr = self._attrs[role]
            if attr is False:
                found[name] = np.full(shape, _OFF[role])
            elif attr.initializer is None:
                found[name] = draws.uniform(shape, -bound, bound)
            else:
                found[name] = _drawn(attr.initializer, shape, draws.dtype)
        return found

    def _parameter(self, layer: Any, name: str, array: Any) -> Any:
        """At home: a parameter as its ParamAttr says, with values that are known by now."""
        import paddle

        role = name.rpartition(".")[2]
        attr = self._attrs[role] or ParamAttr(trainable=False)
        own = attr.name
        if own is not None:
            one = self.spec.num_layers * self.spec.num_directions == 1
            own += ("_ho" if role == "weight_ho" else "") + ("" if one else _suffix(name))
        fields = {f: getattr(attr, f) for f in _FIELDS if f not in ("name", "initializer")}
        full = paddle.ParamAttr(name=own, initializer=paddle.nn.initializer.Assign(array), **fields)
        return layer.create_parameter(list(array.shape), attr=full, dtype=str(array.dtype))


_FIELDS = tuple(ParamAttr.__dataclass_fields__)


def _cell(directions: int, d: int) -> str:
    return "cell" if directions == 1 else ("cell_fw", "cell_bw")[d]


def _frozen(spec: LSTMSpec, attrs: Mapping[str, Any]) -> list[str]:
    """The names of the tensors that are not trained."""
    roles = [role for role, attr in attrs.items() if attr is False or not attr.trainable]
    places = [
        f"{k}.{_cell(spec.num_directions, d)}" for k in range(spec.num_layers) for d in range(spec.num_directions)
    ]
    return [f"{place}.{role}" for place in places for role in roles if role != "weight_ho" or spec.proj_size]


def _suffix(name: str) -> str:
    k, cell, _ = name.split(".")
    return f"_l{k}{'_reverse' if cell == 'cell_bw' else ''}"


def _attr(role: str, value: Any, backend: str) -> Any:
    """What Paddle takes for a ParamAttr, as one; or False."""
    if type(value).__module__.startswith("paddle"):
        import paddle

        value = paddle.ParamAttr._to_attr(value)  # an initializer, a regularizer
    if value is False:
        return False
    if value is None or value is True or isinstance(value, str):
        attr = ParamAttr(name=value if isinstance(value, str) else None)
    elif all(hasattr(value, field) for field in _FIELDS):
        attr = ParamAttr(**{field: getattr(value, field) for field in _FIELDS})
    elif callable(value):
        attr = ParamAttr(initializer=value)
    else:
        raise SpecError(f"{role}_attr={value!r} is no ParamAttr. Give one, an initializer, a name, None or False.")
    if backend != "paddle":
        for field in _FIELDS:
            if field not in ("initializer", "trainable") and getattr(attr, field) != getattr(ParamAttr(), field):
                raise SpecError(
                    f"{role}_attr has {field}={getattr(attr, field)!r}, which only Paddle's optimizers know, but "
                    f"backend={backend!r}. Leave {field} out, and tell that framework's optimizer."
                )
    return attr


def _drawn(initializer: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """The values that an initializer gives: one of Paddle's, or a function of the shape."""
    if not type(initializer).__module__.startswith("paddle"):
        values = np.asarray(initializer(shape))
        if values.shape != shape:
            raise SpecError(f"the initializer gave shape {list(values.shape)}, but must give {list(shape)}.")
        return values
    import paddle

    made = paddle.nn.Layer().create_parameter(list(shape), dtype=dtype, default_initializer=initializer)
    return made.numpy()
