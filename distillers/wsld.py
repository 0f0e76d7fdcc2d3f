"""Weighted soft labels: soft labels count more where the student is worse than the teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .registry import register
from .spaces import LogUniform

EPS = 1e-7  # added to the teacher's cross-entropy, as in the authors' code


@register(
    "wsld",
    title="WSLD",
    paper="Zhou et al., ICLR 2021",
    arxiv="2102.00650",
    reference="Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff "
    "Perspective",
)
class WSLD(Distiller):
    """α T² mean_B w_b · (−Σ_c q_c log p_c), with p and q the softmaxes of logits (B, C) over T.

    w_b = 1 − exp(−CE(z_s, y) / CE(z_t, y)) of the logits at T = 1, detached. As in the authors'
    code this is a cross-entropy, not a divergence: its value, but not its gradient, contains the
    teacher's entropy. Cross-entropy with the labels is added with weight 1. Labels y may be soft.

    α = 2.25, T = 4 are cls_KD's for CIFAR; 2.5 and 2 are the paper's for ImageNet.
    """

    softens = True
    defaults = {"alpha": 2.25, "temperature": 4.0}
    presets = {"imagenet": {"alpha": 2.5, "temperature": 2.0}}
    search = {
        "weight": LogUniform(0.1, 10),
        "alpha": LogUniform(0.225, 22.5),
        "temperature": LogUniform(1, 16),
    }

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        temperature = self.options.temperature
        log_p = F.log_softmax(self.soften(student.logits) / temperature, dim=1)
        q = F.softmax(self.soften(teacher.logits) / temperature, dim=1)
        weights = self._weights(student.logits, teacher.logits, batch.labels)
        weighted = weights * -(q * log_p).sum(dim=1)
        return self.options.alpha * temperature**2 * weighted.mean()

    @torch.no_grad()
    def _weights(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """w (B,): from 0 where the student fits the label to 1 where only the teacher does."""
        student_loss = F.cross_entropy(student, labels, reduction="none")
        teacher_loss = F.cross_entropy(teacher, labels, reduction="none")
        # expm1, since 1 − exp(−x) loses its digits where the student's loss is small.
        return -torch.expm1(-student_loss / (teacher_loss + EPS))
