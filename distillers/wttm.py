"""Weighted TTM: samples are weighted by how smooth the transformed teacher is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .compose import Wrapper
from .registry import register
from .spaces import LogUniform, Uniform
from .ttm import transformed_kl

# Registered twice: "wttm" is a method, "wttm+crd" wraps another one.
PUBLICATION = {
    "title": "WTTM",
    "paper": "Zheng & Yang, ICLR 2024",
    "arxiv": "2402.11148",
    "reference": "Knowledge Distillation Based on Transformed Teacher Matching",
}


@register("wttm", **PUBLICATION)
class WTTM(Distiller):
    """mean_B U_b KL_b, with `TTM`'s divergences KL_b and the teacher's power sums U_b = Σ_c q_c^γ.

    U_b is 1 for a one-hot teacher and at most C^(1 − γ), for a uniform one (section 4).

    γ and the weight are tuned per pair in the paper (table 8: from 0.1, 4 to 0.3, 1.5); the
    defaults are for vgg13 → vgg8. On ImageNet, the preset is for ResNet34 → ResNet18; ResNet50 →
    MobileNet has γ = 0.7 and weight 3.5.
    """

    softens = True
    defaults = {"weight": 2.25, "exponent": 0.1}
    presets = {"imagenet": {"weight": 1.6, "exponent": 0.8}}
    search = {"weight": LogUniform(0.225, 22.5), "exponent": Uniform(0.05, 1)}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.soften(student.logits), self.soften(teacher.logits)
        return weighted_transformed_kl(s, t, self.options.exponent).mean()


@register("wttm", **PUBLICATION)
class WithWTTM(Wrapper):
    """The wrapped method's terms plus ``wttm_weight`` times `WTTM`'s, with γ = ``wttm_exponent``.

    Both are tuned per pair in the paper (tables 8, 9; CRD's own weight stays 0.8); the defaults are
    for vgg13 → vgg8 with CRD, the example in the authors' code.
    """

    softens = True
    defaults = {"wttm_weight": 4.0, "wttm_exponent": 0.2}
    search = {"wttm_weight": LogUniform(0.4, 40), "wttm_exponent": Uniform(0.05, 1)}

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        losses = super().forward(student, teacher, batch)
        if teacher is not None and self.options.wttm_weight:
            logits = student.promoted().logits, teacher.promoted().detached().logits
            s, t = map(self.soften, logits)
            term = weighted_transformed_kl(s, t, self.options.wttm_exponent).mean()
            losses["wttm"] = self.options.wttm_weight * term
        return losses


def weighted_transformed_kl(student: Tensor, teacher: Tensor, exponent: float) -> Tensor:
    """U_b KL_b per sample, (B,), of logits (B, C)."""
    # Σ q^γ from logarithms, since a small q underflows before its power does.
    powers = (exponent * F.log_softmax(teacher, dim=1)).logsumexp(dim=1).exp()
    return powers * transformed_kl(student, teacher, exponent)
