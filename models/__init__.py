"""The model zoo: build a network by name, load anyone's checkpoint into it."""

from .base import Classifier, ModelError, build, check, import_families, names, register
from .outputs import MissingOutputError, Outputs

import_families(__name__, list(__path__))

# Below the families: both modules look networks up by name.
from .aliases import canonical  # noqa: E402
from .checkpoints.files import load_checkpoint  # noqa: E402
from .probe import LinearProbe, restored  # noqa: E402
from .staged import StagedClassifier  # noqa: E402

__all__ = [
    "Classifier",
    "LinearProbe",
    "MissingOutputError",
    "ModelError",
    "Outputs",
    "StagedClassifier",
    "build",
    "canonical",
    "check",
    "load_checkpoint",
    "names",
    "register",
    "restored",
]
