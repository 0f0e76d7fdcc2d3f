"""Normalised KD: one term for the target class, one for the distribution over the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import hard_labels, is_class, linear_warmup, log_softmax_without, target_term
from .needs import Needs
from .registry import register
from .spaces import LogUniform


@register(
    "nkd",
    title="NKD",
    paper="Yang et al., ICCV 2023",
    arxiv="2303.13005",
    reference="From Knowledge Distillation to Self-Knowledge Distillation: A Unified "
    "Approach with Normalized Loss and Customized Soft Labels",
)
class NKD(Distiller):
    """L_target + γ L_others, means over the batch; logits (B, C).

    L_target = −mean_B q_y log p_y with the softmaxes p of the student and q of the teacher at T =
    1. L_others = −T² mean_B Σ_{c≠y} q'_c log p'_c with p', q' the softmaxes of logits / T over the
    classes other than y. This is the form in the authors' code (cls_KD 1.0), without a warm-up. For
    soft labels y is their most probable class. With two classes L_others would be 0: set γ to 0.

    T = 3, γ = 3.5 are the authors' for CIFAR-100, ResNet34 → ResNet18; DeiT students: T = 1, γ = 1.

    ``keep_target`` keeps class y among the others in p' and q'; ``warmup`` (in epochs of 240) ramps
    both terms up from 0. The preset "sdd" is what SDD's authors call NKD in their comparison.
    """

    softens = True
    defaults = {"temperature": 3.0, "gamma": 3.5, "keep_target": False, "warmup": 0.0}
    presets = {
        "imagenet": {"temperature": 1.0, "gamma": 1.5},
        "sdd": {"temperature": 1.0, "gamma": 1.5, "keep_target": True, "warmup": 20.0},
    }
    search = {
        "weight": LogUniform(0.1, 10),
        "gamma": LogUniform(0.35, 35),
        "temperature": LogUniform(1, 12),
    }

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        others = options["gamma"] and not options["keep_target"]
        return Needs(min_classes=3 if others else 1)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        return self._weighted(batch, *(row.mean() for row in self._rows(student, teacher, batch)))

    def row_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        return self._weighted(batch, *self._rows(student, teacher, batch))

    def _weighted(self, batch: Batch, target: Tensor, others: Tensor) -> dict[str, Tensor]:
        ramp = linear_warmup(batch.epoch, self.scaled(self.options.warmup))
        others = self.options.gamma * (self.options.temperature**2 * others)
        return {"target": -ramp * target, "others": -ramp * others}

    def _rows(self, student: Outputs, teacher: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """q_y log p_y and Σ_{c≠y} q'_c log p'_c, (B,) each."""
        s, t = self.soften(student.logits), self.soften(teacher.logits)
        target = is_class(hard_labels(batch.labels), s.shape[1])
        temperature = self.options.temperature
        dropped = target & (not self.options.keep_target)
        log_p = log_softmax_without(s / temperature, dropped)
        q = log_softmax_without(t / temperature, dropped).exp()  # at dropped classes log_p is 0
        return target_term(s, t, target), (q * log_p).sum(dim=1)
