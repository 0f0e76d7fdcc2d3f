"""Reading the ``spec.yaml`` of a run: what no run has written says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from results import files

FILE = "spec.yaml"
LARGEST = 2**20  # bytes; a spec has two thousand
# libyaml's loader is ten times faster than the one in Python, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def text(directory: Path) -> str | None:
    """The text of a run's spec; None if it cannot be read."""
    try:
        return files.text(directory / FILE, most=LARGEST)
    except (OSError, UnicodeDecodeError):
        return None


def parsed(text: str) -> dict[str, Any] | None:
    """The spec in a text; None for anything else."""
    try:
        stored = yaml.load(text, _LOADER)
    except (yaml.YAMLError, ArithmeticError, LookupError, AttributeError, TypeError, ValueError):
        return None  # e.g. of 2001-99-99, which is no date, or !!bool x
    except RecursionError:
        return None
    return stored if isinstance(stored, dict) and _is_plain(stored) else None


def _is_plain(stored: dict[Any, Any]) -> bool:
    """Whether it could be JSON, and nothing is there twice.

    Runs write no aliases: a kilobyte of these can stand for more than memory holds.
    """
    seen: set[int] = set()
    left: list[Any] = [stored]
    while left:
        value = left.pop()
        if isinstance(value, (dict, list)):
            if id(value) in seen:
                return False
            seen.add(id(value))
            left += value if isinstance(value, list) else [*value, *value.values()]
        elif not isinstance(value, (str, int, float, type(None))):
            return False
    return True
