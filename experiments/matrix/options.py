"""Whether the value of a method's option is right."""

from __future__ import annotations

import math
from typing import Any

import distillers
from experiments.matrix.method_entry import MethodEntry


def option_problem(method: MethodEntry, key: str, value: Any) -> str | None:
    """What is wrong with one option's value, if anything; the method and preset are known."""
    try:
        resolved = distillers.resolve(method.name, {key: value}, method.preset)[key]
    except distillers.MethodError as error:
        return str(error)
    if isinstance(resolved, float) and not math.isfinite(resolved):
        return f"option {key} = {resolved}: expected a finite number"
    return None
