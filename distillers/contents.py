"""What the package `distillers` offers: importing this imports PyTorch and every method."""

from pathlib import Path

from .base import Distiller, InitStage, MethodError, Unsupported
from .compose import Wrapper
from .explain import explain
from .needs import Needs
from .plugins import load_plugin
from .registry import (
    build,
    defaults,
    find,
    find_wrapper,
    import_methods,
    names,
    parts,
    register,
    resolve,
    title,
    wrappers,
)

import_methods("distillers", [str(Path(__file__).parent)])

__all__ = [
    "Distiller",
    "InitStage",
    "MethodError",
    "Needs",
    "Unsupported",
    "Wrapper",
    "build",
    "defaults",
    "explain",
    "find",
    "find_wrapper",
    "load_plugin",
    "names",
    "parts",
    "register",
    "resolve",
    "title",
    "wrappers",
]
