"""unilstm: one description of an LSTM, the same numbers in PyTorch, PaddlePaddle, JAX and NumPy.

Importing this imports no framework: each is loaded when a backend is asked for by name.
"""

from .checkpoints import inspect, load, save
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
    UnsupportedByLayout,
)
from .factory import LSTM, port
from .plugins import backends
from .presets import preset
from .spec import LSTMSpec
from .weights import Weights

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
    "UnsupportedByLayout",
    "Weights",
    "backends",
    "inspect",
    "load",
    "port",
    "preset",
    "save",
]
