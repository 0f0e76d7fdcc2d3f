"""Where a mistake in a method's code is: file and line, in the words of its author."""

from __future__ import annotations

import inspect


def place(item: object) -> str:
    """Where a class or function was written: "my_method.py:16"."""
    try:
        file = inspect.getsourcefile(item)  # type: ignore[arg-type]
        line = inspect.getsourcelines(item)[1]  # type: ignore[arg-type]
    except (OSError, TypeError):  # made at run time, or typed at a prompt
        return "no source file"
    return f"{(file or '?').rpartition('/')[2]}:{line}"
