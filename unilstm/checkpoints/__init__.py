"""Checkpoint files: save an LSTM, load one, and find those in a file that something else wrote.

Every file is hostile until parsed: nothing in it is executed, and sizes are checked before memory is taken. Whatever
is wrong with a file raises CheckpointError with the file, the problem and the cure. Importing this imports neither
safetensors nor a framework.
"""

from .converting import Conversion, convert
from .loading import FoundLSTM, inspect, load
from .pretrained import from_pretrained, save_pretrained
from .saving import save
from .verifying import Check

__all__ = [
    "Check",
    "Conversion",
    "FoundLSTM",
    "convert",
    "from_pretrained",
    "inspect",
    "load",
    "save",
    "save_pretrained",
]
