"""unilstm.LSTM and unilstm.port: from a spec, weights or a foreign layer to a layer of any backend."""

from __future__ import annotations

import sys
from typing import Any

from . import plugins, porting
from .errors import PortError, SpecError
from .spec import LSTMSpec
from .weights import Weights


def LSTM(  # a factory, named as the class it stands for in every framework
    what: LSTMSpec | Weights | int,
    hidden_size: int | None = None,
    *,
    backend: str = "numpy",
    seed: int | None = None,
    dtype: str | None = None,
    device: Any = None,
    init: str | None = None,
    path: str = "auto",
    **fields: Any,
) -> Any:
    """An LSTM layer native to a backend: torch.nn.Module, paddle.nn.Layer, JAX pytree, NumPy.

    what: a spec; weights; or input_size, with hidden_size and the other fields of LSTMSpec following.
    backend: its name; unilstm.backends() lists them.
    seed: in [0, 2**64); the same initial weights on every backend. None draws one from the framework's generator.
    init: "torch" (default), "keras" or "orthogonal"; see parameters.initial_values.
    dtype: "float32" (default), "float64" or "float16", which is composed; with weights, their own unless given.
    device: the framework's own way to name one.
    path: "auto", "native", "kernel", "parallel", "fused" or "composed"; see paths.py.

    Raises SpecError, UnknownBackend, BackendUnavailable, PathError; LayoutError for an unknown dtype; InputError for a
    seed that is none.
    """
    if isinstance(what, Weights):
        _refuse_beside("weights", hidden_size=hidden_size, seed=seed, init=init, **fields)
        weights = what if dtype is None else what.astype(dtype)
        return plugins.get(backend).layer(weights, device=device, path=path)
    if isinstance(what, LSTMSpec):
        _refuse_beside("a spec", hidden_size=hidden_size, **fields)
        spec = what
    else:
        spec = LSTMSpec.from_dict({"input_size": what, "hidden_size": hidden_size, **fields})
    chosen = plugins.get(backend)
    drawn = chosen.draw_seed() if seed is None else seed
    weights = Weights.initial(spec, drawn, init or "torch", dtype or "float32")
    return chosen.layer(weights, device=device, path=path)


def _refuse_beside(what: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise SpecError(f"{name}={value!r} was given beside {what}, which settles it. Leave {name} out.")


def port(layer: Any, to: str, *, dtype: str | None = None, device: Any = None, path: str = "auto") -> Any:
    """A trained layer or model on another backend: same spec, same weights.

    layer: a unilstm layer or model (unilstm.models) of any backend, or another system's own: torch.nn.LSTM or LSTMCell,
        paddle.nn.LSTM; Keras's LSTM, RNN(LSTMCell), Bidirectional, or a Sequential of them; flax's LSTMCell,
        OptimizedLSTMCell, RNN and Bidirectional, of nnx as they are and of linen bound (module.bind(variables));
        equinox.nn.LSTMCell; haiku's parameters of one LSTM. Or a list of one-layer LSTMs, which becomes a stack.
    Raises PortError for anything else, naming its type, and for a layer with what unilstm cannot say, naming that.
    """
    if "unilstm.models" in sys.modules:  # a model can only exist where they were imported
        from .models import model_of, weights_of_model

        model = weights_of_model(layer)
        if model is not None:
            return model_of(model, backend=to, dtype=dtype, device=device, path=path)
    return LSTM(weights_of(layer), backend=to, dtype=dtype, device=device, path=path)


def weights_of(layer: Any) -> Weights:
    """The weights of a unilstm layer or a framework's own LSTM. Asks only backends whose framework is imported."""
    if isinstance(layer, Weights):
        return layer
    own = getattr(layer, "weights", None)
    if isinstance(getattr(layer, "spec", None), LSTMSpec) and callable(own):
        return own()  # type: ignore[no-any-return]
    for name in plugins.names():
        backend = plugins.find(name)
        # An object of a framework can only exist where that framework has been imported.
        if backend.distribution.replace("paddlepaddle", "paddle") in sys.modules:
            backend.load()
            weights = backend.recognise(layer)
            if weights is not None:
                return weights
    foreign = porting.recognise(layer)
    if foreign is not None:
        return foreign
    kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
    raise PortError(
        f"cannot port a {kind}. Give a unilstm layer; torch.nn.LSTM or LSTMCell; paddle.nn.LSTM; {porting.TITLES}. Or "
        "pass its arrays to unilstm.Weights.from_layout."
    )
