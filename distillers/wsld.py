"""Weighted soft labels: a sample's soft label counts more where the student is behind."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .registry import register

EPS = 1e-7  # the reference's, beside the teacher's cross-entropy


@register(
    "wsld",
    title="WSLD",
    paper="Zhou et al., ICLR 2021",
    arxiv="2102.00650",
    reference="Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff "
    "Perspective",
)
class WSLD(Distiller):
    """α T² mean_B w_b · (−Σ_c q_c log p_c), p and q the soft-maxes of logits (B, C) over T.

    w_b = 1 − exp(−CE(z_s, y) / CE(z_t, y)) of the un-tempered logits, detached. As in the authors'
    code it is a cross-entropy, not a divergence: its value, not its gradient, contains the
    teacher's entropy. The hard labels' cross-entropy stands outside, with weight 1. Of soft labels
    the weights take the cross-entropy with these.

    α = 2.25, T = 4 are cls_KD's for CIFAR; the paper's for ImageNet 2.5 and 2.
    """

    softens = True
    defaults = {"alpha": 2.25, "temperature": 4.0}
    presets = {"imagenet": {"alpha": 2.5, "temperature": 2.0}}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        temperature = self.options.temperature
        log_p = F.log_softmax(self.soften(student.logits) / temperature, dim=1)
        q = F.softmax(self.soften(teacher.logits) / temperature, dim=1)
        weights = self._weights(student.logits, teacher.logits, batch.labels)
        weighted = weights * -(q * log_p).sum(dim=1)
        return self.options.alpha * temperature**2 * weighted.mean()

    @torch.no_grad()
    def _weights(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """(B,), from 0 where the student fits the label to 1 where only the teacher does."""
        behind = F.cross_entropy(student, labels, reduction="none")
        reached = F.cross_entropy(teacher, labels, reduction="none")
        return -torch.expm1(-behind / (reached + EPS))
