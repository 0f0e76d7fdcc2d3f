"""Training without a teacher: the student's baseline, and how teachers are trained."""

from __future__ import annotations

from .base import Distiller
from .needs import Needs
from .registry import register


@register("vanilla", title="Student alone")
class Vanilla(Distiller):
    """Cross-entropy with the labels and nothing else."""

    needs = Needs(teacher=False)
