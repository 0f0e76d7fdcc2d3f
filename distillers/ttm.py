"""Transformed teacher matching: only the teacher's distribution is tempered."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .registry import register
from .spaces import LogUniform, Uniform


@register(
    "ttm",
    title="TTM",
    paper="Zheng & Yang, ICLR 2024",
    arxiv="2402.11148",
    reference="Knowledge Distillation Based on Transformed Teacher Matching",
)
class TTM(Distiller):
    """mean_B KL(q^γ / Σ_c q_c^γ ‖ p) of the softmaxes p, q at T = 1 of logits (B, C).

    The power transform with exponent γ = 1 / T is the same as a temperature: q^γ / Σ q^γ =
    softmax(γ z_t) (section 3.1). There is no factor T².

    γ and the weight are tuned per pair in the paper (table 8: from 0.1, 101 to 0.3, 7); the
    defaults are for vgg13 → vgg8, the example in the authors' code.
    """

    softens = True
    defaults = {"weight": 45.0, "exponent": 0.1}
    search = {"weight": LogUniform(4.5, 450), "exponent": Uniform(0.05, 1)}  # 1: no tempering

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.soften(student.logits), self.soften(teacher.logits)
        return transformed_kl(s, t, self.options.exponent).mean()


def transformed_kl(student: Tensor, teacher: Tensor, exponent: float) -> Tensor:
    """KL(softmax(γ teacher) ‖ softmax(student)) per sample, (B,), of logits (B, C)."""
    log_p, log_q = F.log_softmax(student, dim=1), F.log_softmax(exponent * teacher, dim=1)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)
