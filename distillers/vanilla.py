"""Training without a teacher: the student's baseline, and how teachers are trained."""

from __future__ import annotations

from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import cross_entropy
from .needs import Needs
from .registry import register


@register("vanilla", title="Student alone")
class Vanilla(Distiller):
    """Cross-entropy with the labels and nothing else."""

    needs = Needs(teacher=False)

    def task_loss(self, student: Outputs, batch: Batch) -> Tensor:
        return cross_entropy(student.logits, batch.labels)
