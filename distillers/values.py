"""Check the types and ranges of option values."""

from __future__ import annotations

import math
from typing import Any

from .base import ABOVE_ZERO, Distiller


def checked(cls: type[Distiller], key: str, value: Any, default: Any) -> Any:
    """``value`` in the type of the option's default; an int is accepted for a float.

    Raises ValueError whose message is what was expected.
    """
    if key in cls.choices:
        if value not in cls.choices[key]:
            raise ValueError("one of " + ", ".join(map(str, cls.choices[key])))
        return value
    kind = cls.optional.get(key, type(default))
    if value is None and (key in cls.optional or default is None):
        return None
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list):  # YAML and JSON have no tuples
        value = tuple(value)
    # Not isinstance: True is an int, but no valid count or weight.
    if type(value) is not kind and kind is not type(None):
        raise ValueError(kind.__name__ + (" or null" if key in cls.optional else ""))
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(cls, key, value, default)
    return value


def _check_range(cls: type[Distiller], key: str, value: float, default: float | None) -> None:
    above_zero = key.endswith(("temperature", "_lr"))
    least = ABOVE_ZERO if above_zero else 1.0 if isinstance(value, int) else 0.0
    # A default below the usual minimum shows that smaller values make sense for this option.
    if default is not None and default < least:
        least = 0.0 if default == 0 else -math.inf
    low, high = cls.ranges.get(key, (least, math.inf))
    if not math.isfinite(value):
        raise ValueError("a finite number")
    if not low <= value <= high:
        lower = "above 0" if low == ABOVE_ZERO else f"from {low:g}"
        upper = "" if high == math.inf else f" to {high:g}"
        raise ValueError(f"a number {lower}{upper}")
