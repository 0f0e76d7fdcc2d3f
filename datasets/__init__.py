"""Data sets: build one by name, get batches as a pure function of (trial, epoch, step)."""

from . import arrays, cifar, digits, fake  # noqa: F401  (each registers itself)
from .base import Data, Settings
from .batch import Batch, Info, Stream
from .errors import DataError
from .memory import Images, MemoryData, Part
from .registry import build, names, options, register

__all__ = [
    "Batch",
    "Data",
    "DataError",
    "Images",
    "Info",
    "MemoryData",
    "Part",
    "Settings",
    "Stream",
    "build",
    "names",
    "options",
    "register",
]
