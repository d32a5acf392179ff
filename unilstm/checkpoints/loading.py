"""Loading: an LSTM's weights from a file, whatever wrote it; and what a file holds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import layouts
from ..errors import CheckpointError, LayoutError, SpecError
from ..parameters import parameter_count, parameters
from ..spec import LSTMSpec
from ..weights import Weights, check_dtype
from .contents import Arrays, Contents, Place
from .finding import choose, find
from .formats import open_checkpoint
from .metadata import About, read_about

CANONICAL = "unilstm"  # what inspect() calls the layout of the canonical arrays


@dataclass(frozen=True)
class FoundLSTM:
    """One LSTM in a file. prefix: what its arrays' names start with. dtype: as stored, "bfloat16" included.

    uncertain: what the file leaves open, and the option that settles it. problem: why its arrays cannot be read as an
    LSTM; spec is None then. said: what the file says beyond it, such as a Keras layer's return_sequences.
    """

    file: str
    prefix: str
    layout: str
    spec: LSTMSpec | None
    parameters: int
    dtype: str
    uncertain: str | None = None
    problem: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "spec": self.spec and self.spec.to_dict()}


def load(
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    prefix: str | None = None,
    config: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    template: Any = None,
) -> Weights:
    """Read one LSTM from a file: what save() wrote, exactly; or the LSTM in a checkpoint of something else.

    path: a file of any type in docs/weights.md, or orbax's folder, or a folder with a model's file in it. Nothing in
        it is run.
    layout: whose names the arrays have, where finding out is not enough. prefix: which LSTM, where a file has several:
        the whole of what its names start with, such as "model_state.lstm.", or its end, such as "lstm.".
    config: that system's own constructor arguments, where shapes don't tell, such as {"batch_first": True}.
    dtype: convert to "float16", "float32" or "float64"; bfloat16 files need one.
    template: what an .eqx file was saved from, which has no names: the model, or its arrays' names in order.

    Warns of what the file leaves to be assumed, and of what of it is no part of the weights, such as a constant state
    that an ONNX graph starts from; inspect() says it, too.

    Raises CheckpointError for a file that is missing, damaged or unsafe, and for no LSTM in it or several; LayoutError
    for an unknown layout or dtype.
    """
    if dtype is not None:
        check_dtype(dtype)
    if layout is not None:
        layouts.get(layout)  # an unknown one is the caller's mistake, not the file's
    place, weights = chosen(open_checkpoint(Path(path), template), layout, prefix, config, dtype)
    open_ = assumed(place, config)
    if open_ is not None:
        warnings.warn(f"{path}: of its LSTM under {place.prefix!r}: {open_}.", UserWarning, stacklevel=2)
    return weights


def assumed(place: Place, config: Mapping[str, Any] | None) -> str | None:
    """What is assumed of an LSTM or not translated. A file that says nothing of it leaves that to the caller's config,
    which settles it."""
    settled = bool(config) and not (place.config or place.fields)
    return None if settled else place.assumed


def chosen(
    contents: Contents,
    layout: str | None,
    prefix: str | None,
    config: Mapping[str, Any] | None,
    dtype: str | None,
    *,
    mapped: bool = False,
) -> tuple[Place, Weights]:
    """Where the one LSTM is that is meant, and its weights; see load().

    mapped: arrays that can be taken as they lie in the file are, and are gone when it is.
    """
    about = read_about(contents) if layout is None and config is None else None
    own = None if about is None else _own_place(contents, about)
    if own is not None and prefix is None:
        place = own
    else:
        place = choose(contents, _everything(contents, about, own), layout, prefix, config)
    if about is not None and place is own:
        weights = _mapped(contents, place, {}, dtype, about.spec) if mapped and about.layout is None else None
        return place, weights or _load_own(contents, place, about, dtype)
    weights = _mapped(contents, place, config or {}, dtype, None) if mapped and place.layout == "torch" else None
    return place, weights or read_place(contents, place, config or {}, dtype)


def _mapped(
    contents: Contents, place: Place, config: Mapping[str, Any], dtype: str | None, spec: LSTMSpec | None
) -> Weights | None:
    """The weights as they lie in the file, where their names are canonical, which torch's are; None where not."""
    names = {name[len(place.prefix) :]: name for name in place.names}
    shapes = {short: contents.entries[name].shape for short, name in names.items()}
    dtypes = {contents.entries[name].dtype for name in place.names}
    if dtypes not in ({"float16"}, {"float32"}, {"float64"}) or dtype not in (None, *dtypes):
        return None
    try:
        spec = spec or layouts.get(place.layout).spec({**place.config, **config}, shapes)
        if names.keys() != parameters(spec).keys():
            return None
        arrays = Arrays(contents, place.names, None)
        return Weights(spec, {short: arrays[name] for short, name in names.items()}, copy=False)
    except (LayoutError, SpecError) as problem:
        raise _does_not_fit(contents, problem) from problem


def _own_place(contents: Contents, about: About) -> Place:
    """Where a file of unilstm's says that its LSTM is."""
    names = about.names or tuple(name for name in contents.entries if name.startswith(about.prefix))
    return Place(about.layout or CANONICAL, about.prefix, names, about.config)


def _everything(contents: Contents, about: About | None, own: Place | None) -> list[Place]:
    """Every LSTM in a file, that which the file says is unilstm's first; others beside it where it says its arrays."""
    if about is None or own is None:
        return find(contents)
    names = set(own.names)
    beside = {name: entry for name, entry in contents.entries.items() if name not in names} if about.names else {}
    return [own, *find(Contents(contents.path, beside))]


def inspect(path: str | os.PathLike[str], *, template: Any = None) -> list[FoundLSTM]:
    """Every LSTM in a file, in the file's order: where it is, its layout and spec, and how many parameters it has.

    Reads the arrays of those LSTMs and no others. A file without an LSTM gives [].

    Raises CheckpointError as load() does.
    """
    contents = open_checkpoint(Path(path), template)
    about = read_about(contents)
    own = None if about is None else _own_place(contents, about)
    everything = _everything(contents, about, own)
    if about is None or own is None:
        return [_inspect(contents, place) for place in everything]
    spec, dtype = _load_own(contents, own, about, "float32").spec, contents.dtypes(own.names)
    first = FoundLSTM(str(contents.path), own.prefix, own.layout, spec, parameter_count(spec), dtype)
    return [first, *(_inspect(contents, place) for place in everything[1:])]


def _inspect(contents: Contents, place: Place) -> FoundLSTM:
    dtype = contents.dtypes(place.names)
    try:
        weights = read_place(contents, place, {}, "float32")
    except CheckpointError as problem:
        return FoundLSTM(str(contents.path), place.prefix, place.layout, None, 0, dtype, None, str(problem))
    count, doubt = parameter_count(weights.spec), place.uncertain or place.assumed
    return FoundLSTM(
        str(contents.path), place.prefix, place.layout, weights.spec, count, dtype, doubt, None, place.said
    )


def _load_own(contents: Contents, own: Place, about: About, dtype: str | None) -> Weights:
    if about.layout is not None and about.spec is None:
        return _from_layout(contents, own.layout, own.prefix, own.names, own.config, dtype)
    assert about.spec is not None
    arrays, skip = Arrays(contents, own.names, dtype), len(own.prefix)
    try:
        if about.layout is not None:
            from .onnx_export import read_back

            return read_back(about.spec, arrays, about.config)
        return Weights(about.spec, {name[skip:]: arrays[name] for name in own.names})
    except (LayoutError, SpecError) as problem:
        raise _does_not_fit(contents, problem) from problem


def read_place(contents: Contents, place: Place, config: Mapping[str, Any], dtype: str | None) -> Weights:
    """The weights of an LSTM in a file. config: the caller's arguments, which go before what the file says."""
    if place.problem is not None:
        raise CheckpointError(f"{contents.path}: {place.problem}")
    own = {**place.config, **config}
    weights = _from_layout(contents, place.layout, place.prefix, place.names, own, dtype)
    if not place.fields:
        return weights
    try:
        return Weights(weights.spec.replace(**place.fields), weights)
    except (LayoutError, SpecError) as problem:
        raise _does_not_fit(contents, problem) from problem


def _from_layout(
    contents: Contents, layout: str, prefix: str, names: tuple[str, ...], config: Mapping[str, Any], dtype: str | None
) -> Weights:
    try:
        return layouts.read(layout, Arrays(contents, names, dtype), prefix, config)
    except (LayoutError, SpecError) as problem:
        raise _does_not_fit(contents, problem) from problem


def _does_not_fit(contents: Contents, problem: Exception) -> CheckpointError:
    return CheckpointError(f"{contents.path}: {problem}")
