"""Whether names are registered: a plugin that cannot be imported leaves its own unknown."""

from __future__ import annotations

import distillers
import models


def is_method(name: str) -> bool:
    """Whether there is a method, or a composition of methods, of this name."""
    try:
        distillers.find(name)
    except distillers.MethodError:
        return False
    return True


def is_model(name: str) -> bool:
    """Whether there is a network of this name."""
    try:
        models.check(name)
    except models.ModelError:
        return False
    return True
