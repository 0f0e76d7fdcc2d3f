"""Knowledge distillation with softened logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import kl_rows
from .registry import register
from .spaces import LogUniform, Uniform


@register(
    "kd",
    title="KD",
    paper="Hinton, Vinyals & Dean, NIPS-W 2014",
    arxiv="1503.02531",
    reference="Distilling the Knowledge in a Neural Network",
)
class KD(Distiller):
    """T² KL(softmax(z_t / T) ‖ softmax(z_s / T)) in addition to cross-entropy; logits (B, C).

    The base class computes this term (option ``kd``), so the method has no term of its own. The
    weights 0.1 and 0.9 at T = 4 are RepDistiller's and mdistiller's for CIFAR-100.

    ``variant`` "cross_entropy" is cls_KD's: the cross-entropy with the soft labels, from which the
    teacher's entropy is not subtracted; the gradient is the same. ``kd`` is its α, ``ce`` 1 − α.
    """

    defaults = {"ce": 0.1, "kd": 0.9, "weight": 0.0, "variant": "kl_divergence"}
    choices = {"variant": ("kl_divergence", "cross_entropy")}
    presets = {
        "imagenet": {"ce": 0.5, "kd": 0.5, "kd_temperature": 1.0},
        "cls_kd": {"ce": 0.5, "kd": 0.5, "kd_temperature": 3.0, "variant": "cross_entropy"},
    }
    search = {"ce": Uniform(0, 1), "kd": LogUniform(0.09, 9), "kd_temperature": LogUniform(1, 16)}

    def soft_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        value = super().soft_loss(student, teacher, batch)
        if self.options.variant == "cross_entropy":
            value = value + self._entropy(teacher, batch).mean()
        return value

    def row_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.soften(student.logits), self.soften(teacher.logits)
        rows = kl_rows(s, t, self._temperature(batch))
        if self.options.variant == "cross_entropy":
            rows = rows + self._entropy(teacher, batch)
        return rows

    def _entropy(self, teacher: Outputs, batch: Batch) -> Tensor:
        """T² times the entropy of the teacher's soft labels, (B,)."""
        temperature = self._temperature(batch)
        log_q = F.log_softmax(self.soften(teacher.logits) / temperature, dim=1)
        return -(log_q.exp() * log_q).sum(dim=1) * temperature**2

    def _temperature(self, batch: Batch) -> float | Tensor:
        return self.temperature(self.options.kd_temperature, batch.epoch)
