"""unilstm: one description of an LSTM, the same numbers in PyTorch, PaddlePaddle, JAX and NumPy.

Importing this imports no framework: each is loaded when a backend is asked for by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    BackendUnavailable,
    CheckpointError,
    InputError,
    LayoutError,
    LossyConversion,
    PathError,
    PortError,
    SpecError,
    UnilstmError,
    UnknownBackend,
    UnsupportedByBackend,
    UnsupportedByLayout,
)
from .presets import preset
from .spec import LSTMSpec
from .weights import Weights

if TYPE_CHECKING:
    from . import checkpoints as checkpoints
    from . import compat as compat
    from . import layouts as layouts
    from . import models as models
    from .checkpoints import convert, from_pretrained, inspect, load, save, save_pretrained
    from .factory import LSTM, port
    from .plugins import backends

__version__ = "0.1.0"

__all__ = [
    "LSTM",
    "BackendUnavailable",
    "CheckpointError",
    "InputError",
    "LSTMSpec",
    "LayoutError",
    "LossyConversion",
    "PathError",
    "PortError",
    "SpecError",
    "UnilstmError",
    "UnknownBackend",
    "UnsupportedByBackend",
    "UnsupportedByLayout",
    "Weights",
    "backends",
    "convert",
    "from_pretrained",
    "inspect",
    "load",
    "port",
    "preset",
    "save",
    "save_pretrained",
]

# Plugins (pluggy and importlib.metadata), files and layouts are most of the import's time: each waits for its use.
_LATER = {"checkpoints": "", "layouts": "", "inspect": "checkpoints", "load": "checkpoints", "save": "checkpoints"}
_LATER |= {"compat": "", "models": ""}
_LATER |= dict.fromkeys(("convert", "from_pretrained", "save_pretrained"), "checkpoints")
_LATER |= {"LSTM": "factory", "port": "factory", "plugins": "", "backends": "plugins"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_LATER[name] or name}", __name__)
    return getattr(module, name) if _LATER[name] else module
