"""What values an option can have."""

from __future__ import annotations

import math
from typing import Any

from .base import Distiller


def checked(cls: type[Distiller], key: str, value: Any, default: Any) -> Any:
    """``value`` in the type of the option's default; an int serves as a float.

    Raises ValueError with what is expected.
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
    if kind is tuple and isinstance(value, list):  # YAML and JSON have lists only
        value = tuple(value)
    if type(value) is not kind and kind is not type(None):
        raise ValueError(kind.__name__ + (" or null" if key in cls.optional else ""))
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(cls, key, value)
    return value


def _check_range(cls: type[Distiller], key: str, value: float) -> None:
    above = key.endswith(("temperature", "_lr"))
    low, high = cls.ranges.get(key, (1 if isinstance(value, int) else 0, math.inf))
    if not math.isfinite(value):
        raise ValueError("a finite number")
    if above and value <= 0:
        raise ValueError("a number above 0")
    if not low <= value <= high:
        bounds = f"from {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"a number {bounds}" if low > -math.inf else f"a number up to {high:g}")
