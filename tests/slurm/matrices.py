"""What the fault scenarios train: real images that need no download, in seconds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PLUGIN = Path(__file__).resolve().parents[1] / "experiments" / "my_method.py"
PAIR, OTHER_PAIR = "resnet14 -> resnet8", "resnet20 -> resnet8"
CRD: dict[str, Any] = {"name": "crd", "options": {"negatives": 256}}


@dataclass(frozen=True)
class Size:
    """How much is trained."""

    epochs: int
    images: int
    methods: tuple[Any, ...]


TABLE = Size(6, 1400, ("vanilla", "kd", "at", CRD))
QUICK = Size(3, 700, ("vanilla", CRD))


def usual(size: Size) -> dict[str, Any]:
    """A teacher, and students that are cut into several tasks."""
    return _matrix(size, size.methods, [PAIR])


def two_teachers(size: Size) -> dict[str, Any]:
    """Three arrays: both teachers with the students alone, and the students of each."""
    return _matrix(size, size.methods[:2], [PAIR, OTHER_PAIR])


def long_students(size: Size) -> dict[str, Any]:
    """Many epochs of few images: longer than a minute where each save takes 2 s."""
    return _matrix(Size(18, 320, ()), ["kd", CRD], [PAIR], teacher_recipe={"epochs": 2})


def bad_teacher(size: Size) -> dict[str, Any]:
    """It diverges in its first epochs."""
    return _matrix(size, size.methods, [PAIR], teacher_recipe={"lr": 1.0e9, "epochs": 2})


def with_plugin(size: Size) -> dict[str, Any]:
    """One method is a user's own, in a file beside the matrix."""
    methods = ["vanilla", "kd", "my_method"]
    return _matrix(size, methods, [PAIR], plugins=[PLUGIN.name])


def text(content: Mapping[str, Any]) -> str:
    """A matrix as YAML."""
    return yaml.safe_dump(dict(content), sort_keys=False)


def write(content: Mapping[str, Any], path: Path) -> None:
    """Write a matrix, and beside it its plugin, unless that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(content))
    for name in content.get("plugins", ()):
        if not (path.parent / name).exists():
            shutil.copyfile(PLUGIN, path.parent / name)


def _matrix(size: Size, methods: Sequence[Any], pairs: list[str], **more: Any) -> dict[str, Any]:
    recipe = {"epochs": size.epochs, "batch_size": 64, "lr": 0.05, "schedule": "cosine"}
    return {
        "dataset": {"name": "digits", "subset": size.images},
        "recipe": recipe | {"channels_last": True},
        "pairs": pairs,
        "methods": list(methods),
        **more,
    }
