"""The model zoo: build a network by name, load anyone's checkpoint into it."""

from .base import Classifier, ModelError, build, import_families, names, register
from .outputs import Outputs

import_families(__name__, list(__path__))

from .checkpoint import load_checkpoint  # noqa: E402  (after the families it names in its errors)

__all__ = [
    "Classifier",
    "ModelError",
    "Outputs",
    "build",
    "load_checkpoint",
    "names",
    "register",
]
