"""One exception class a mistake.

Every message names the parameter, its value, the rule it broke and the next step.
"""

from __future__ import annotations


class UnilstmError(Exception):
    """Base of everything unilstm raises on purpose."""


class SpecError(UnilstmError, ValueError):
    """A specification that no LSTM can have: fields that contradict each other or values out of range."""


class InputError(UnilstmError, ValueError):
    """A call was given an input, a state, lengths or a key that does not fit the layer."""


class UnknownBackend(UnilstmError, LookupError):
    """No plugin offers the backend that was asked for."""


class BackendUnavailable(UnilstmError, ImportError):
    """The backend is registered, but its framework cannot be used here."""


class UnsupportedByBackend(UnilstmError, NotImplementedError):
    """A backend has no models, or cannot train them."""


class PathError(UnilstmError, ValueError):
    """The path that was asked for cannot serve this spec or this call."""


class LayoutError(UnilstmError, ValueError):
    """A mapping of arrays does not follow the layout it is said to follow."""


class UnsupportedByLayout(LayoutError):
    """The layout has no place for a field of the spec."""


class LossyConversion(LayoutError):
    """The conversion would lose something, and the loss was not allowed by name."""


class CheckpointError(UnilstmError, ValueError):
    """A file cannot be read, is not what it says it is, or is not safe to open."""


class PortError(UnilstmError, TypeError):
    """An object that no backend recognises as an LSTM."""
