"""Streamlined KD: soft labels, and whitened differences of the samples' cosine similarities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import kl_divergence, unit, up_to_median
from .needs import Needs
from .registry import register
from .spaces import LogUniform, Uniform


@register(
    "skd",
    title="SKD",
    paper="Jeong et al., CVPR 2026",
    reference="Streamlined Knowledge Distillation",
)
class SKD(Distiller):
    """L_instance + L_direction of the logits (B, C), both multiplied by ``weight``.

    L_instance: Hinton's KD term at T. L_direction: with G = Ẑ Ẑᵀ (B, B), where Ẑ are the normalised
    rows of the logits, and D = G_s − G_t, the mean over i of sqrt(D_iᵀ (Σ + λ I)⁻¹ D_i); Σ is the
    unbiased covariance of the rows D_i and λ is ``tikhonov``. The gradient passes through Σ.

    This is mode "paper". "released", the default, is what the authors' code (StreamLined) computes:
    G is divided by C, and since masks are applied after the reduction, the terms are multiplied by
    the masks' means: of [max_c q_b ≤ its median over the batch] for L_instance and of [Σ_b q_c ≤
    its median over the classes] for L_direction, with q the teacher's softmax; both are about 1/2.
    Its weights are 0.1 for cross-entropy and 0.9; 0.5 and 0.5 for resnet32x4 → resnet8x4. Where
    student and teacher agree, the root has no derivative and the gradient is 0.
    """

    needs = Needs(batch="global", min_batch=2)  # a covariance needs two rows
    softens = True
    defaults = {"ce": 0.1, "weight": 0.9, "temperature": 4.0, "tikhonov": 0.1, "mode": "released"}
    choices = {"mode": ("released", "paper")}
    presets = {"paper": {"mode": "paper"}}
    search = {
        "ce": Uniform(0, 1),
        "weight": LogUniform(0.09, 9),
        "temperature": LogUniform(1, 16),
        "tikhonov": LogUniform(0.01, 1),
    }

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        s, t = student.logits, teacher.logits
        instance = kl_divergence(self.soften(s), self.soften(t), self.options.temperature)
        if self.options.mode == "paper":
            return {"instance": instance, "direction": self._direction(s, t)}
        q = F.softmax(t, dim=1)
        samples = up_to_median(q.amax(dim=1)).to(q.dtype).mean()
        classes = up_to_median(q.sum(dim=0)).to(q.dtype).mean()
        direction = self._direction(s, t, scale=1 / s.shape[1])
        return {"instance": samples * instance, "direction": classes * direction}

    def _direction(self, student: Tensor, teacher: Tensor, scale: float = 1.0) -> Tensor:
        s, t = unit(student), unit(teacher)
        difference = scale * (s @ s.T - t @ t.T)
        ridge = self.options.tikhonov * torch.eye(len(s), dtype=s.dtype, device=s.device)
        # cholesky_ex does not synchronise to check for success; Σ + λ I is positive definite.
        root = torch.linalg.cholesky_ex(torch.cov(difference.T) + ridge).L
        # With Σ + λ I = L Lᵀ, the norm of L⁻¹ D_i is the root of D_iᵀ (Σ + λ I)⁻¹ D_i.
        whitened = torch.linalg.solve_triangular(root, difference.T, upper=False)
        return torch.linalg.vector_norm(whitened, dim=0).mean()
