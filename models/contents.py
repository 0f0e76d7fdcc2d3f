"""What the package `models` offers: importing this imports PyTorch and every family."""

from pathlib import Path

from .base import Classifier, ModelError, build, check, import_families, names, register
from .outputs import MissingOutputError, Outputs

import_families("models", [str(Path(__file__).parent)])

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
