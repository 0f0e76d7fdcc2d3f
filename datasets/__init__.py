"""Data sets: build one by name, get batches as a pure function of (trial, epoch, step).

What it offers (`contents`) is imported when a name of it is first used: PyTorch takes seconds and
thousands of files, and a command that only looks at results needs none of it.
"""

# ruff: noqa: F405
from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .contents import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """A name that the package offers, or one of its modules."""
        if name in __all__:
            contents = importlib.import_module(f"{__name__}.contents")
            globals().update({key: getattr(contents, key) for key in __all__})
            return globals()[name]
        if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.{name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [  # the same as `contents` has
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
