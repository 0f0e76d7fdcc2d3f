"""What the package `datasets` offers: importing this imports PyTorch and every data set."""

# Each registers itself.
from . import arrays, cifar, digits, fake, folder, imagenet, stl10, tiny_imagenet  # noqa: F401
from .base import Data, Settings
from .batch import Batch, Info, Stream
from .errors import DataError
from .memory import Images, MemoryData, Part
from .registry import (
    Facts,
    build,
    class_names,
    describe,
    facts,
    files,
    is_own_data,
    is_placement,
    names,
    options,
    register,
)

__all__ = [
    "Batch",
    "Data",
    "DataError",
    "Facts",
    "Images",
    "Info",
    "MemoryData",
    "Part",
    "Settings",
    "Stream",
    "build",
    "class_names",
    "describe",
    "facts",
    "files",
    "is_own_data",
    "is_placement",
    "names",
    "options",
    "register",
]
