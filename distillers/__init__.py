"""Distillation methods: one file, one registered class each. See `base.Distiller` for the hooks."""

from .base import Distiller, InitStage, MethodError, Unsupported
from .needs import Needs
from .registry import (
    build,
    defaults,
    find,
    import_methods,
    load_plugin,
    names,
    register,
    resolve,
    title,
)

import_methods(__name__, list(__path__))

__all__ = [
    "Distiller",
    "InitStage",
    "MethodError",
    "Needs",
    "Unsupported",
    "build",
    "defaults",
    "find",
    "load_plugin",
    "names",
    "register",
    "resolve",
    "title",
]
