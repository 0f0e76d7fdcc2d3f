"""Variational information distillation: the student's maps predict the teacher's, with variance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import ABOVE_ZERO, Distiller
from .connectors import pool_to_smaller
from .needs import Needs
from .registry import register

SMALLEST_VARIANCE = 1e-5


@register(
    "vid",
    title="VID",
    paper="Ahn et al., CVPR 2019",
    arxiv="1904.05835",
    reference="Variational Information Distillation for Knowledge Transfer",
)
class VID(Distiller):
    """Sum over stages of −log N(F_t; μ(F_s), σ²) without its constant, mean over all elements:

        ½ ((F_t − μ)² / σ_c² + log σ_c²),   maps F_t (B, c, h, w), one σ_c per channel c

    as in the paper, section 2. μ: three 1×1 convolutions without biases, ReLUs between them, the
    inner ones ``hidden_channels`` wide (None: as the teacher's map). σ² = softplus(λ) + 1e-5, λ
    learned, σ² = ``initial_variance`` at first. Maps are first pooled to the smaller height and
    stages paired in order, as in `AT`. The value may be negative.

    As in RepDistiller λ is trained; mdistiller keeps it in a list that no optimiser sees.
    """

    needs = Needs(features=True)
    defaults = {"initial_variance": 5.0, "hidden_channels": None}
    optional = {"hidden_channels": int}
    ranges = {"initial_variance": (ABOVE_ZERO, math.inf)}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        s, t = self.probe(student), self.probe(teacher, teacher=True)
        assert s.features is not None and t.features is not None  # needs.features
        hidden, variance = self.options.hidden_channels, self.options.initial_variance
        self.predictors = nn.ModuleList(
            Gaussian(source.shape[1], hidden or target.shape[1], target.shape[1], variance)
            for source, target in zip(s.features[1:], t.features[1:], strict=False)
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert student.features is not None and teacher.features is not None  # needs.features
        stages = zip(self.predictors, student.features[1:], teacher.features[1:], strict=False)
        return torch.stack([p(*pool_to_smaller(s, t)) for p, s, t in stages]).sum()


class Gaussian(nn.Module):
    """Predicts a map (B, target, h, w) from (B, source, h, w); called, it gives the mean of −log p.

    ``log_scale`` (target,) is λ: the inverse softplus of the variance less 1e-5.
    """

    def __init__(self, source: int, hidden: int, target: int, variance: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(source, hidden, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(hidden, target, 1, bias=False),
        )
        initial = math.log(math.expm1(variance - SMALLEST_VARIANCE))
        self.log_scale = nn.Parameter(torch.full((target,), initial))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        variance = F.softplus(self.log_scale)[:, None, None] + SMALLEST_VARIANCE
        return ((self.mean(student) - teacher).square() / variance + variance.log()).mean() / 2
