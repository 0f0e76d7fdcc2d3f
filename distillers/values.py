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
    low, high = limits_of(cls, key, type(value), default)
    if not math.isfinite(value):
        raise ValueError("a finite number")
    if not low <= value <= high:
        raise ValueError(f"a number {_limits(low, high)}")


def limits_of(
    cls: type[Distiller], key: str, kind: type, default: float | None
) -> tuple[float, float]:
    """The lowest and the highest valid value of a numeric option."""
    above_zero = key.endswith(("temperature", "_lr"))
    least = ABOVE_ZERO if above_zero else 1.0 if kind is int else 0.0
    # A default below the usual minimum shows that smaller values make sense for this option.
    if default is not None and default < least:
        least = 0.0 if default == 0 else -math.inf
    return cls.ranges.get(key, (least, math.inf))


def _limits(low: float, high: float) -> str:
    lower = "above 0" if low == ABOVE_ZERO else f"from {low:g}"
    upper = "" if high == math.inf else f" to {high:g}"
    return f"{lower}{upper}"


def expectation(cls: type[Distiller], key: str, default: Any) -> str:
    """The values that `checked` accepts, in words."""
    if key in cls.choices:
        return "one of " + ", ".join(map(str, cls.choices[key]))
    kind = cls.optional.get(key, type(default))
    words = {bool: "true or false", int: "whole number", float: "number", tuple: "list"}
    text = words.get(kind, "text" if kind is str else "any")
    if kind in (int, float):
        low, high = limits_of(cls, key, kind, default)
        text += f" {_limits(low, high)}" if low > -math.inf or high < math.inf else ""
    return text + (" or null" if key in cls.optional or default is None else "")
