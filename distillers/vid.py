"""Variational information distillation: predict the teacher's maps with a learned variance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import ABOVE_ZERO, Distiller
from .connectors import pool_to_smaller, stage_pairs
from .needs import Needs
from .registry import register
from .spaces import LogUniform

SMALLEST_VARIANCE = 1e-5  # as in RepDistiller


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

    as in the paper, section 2. μ: three 1×1 convolutions without biases, with ReLUs between them
    and ``hidden_channels`` inside (None: as many as the teacher's map). σ² = softplus(λ) + 1e-5
    with λ learned, initially σ² = ``initial_variance``. Maps are first pooled to the smaller height
    and stages paired in order, as in `AT`. The value may be negative.

    As in RepDistiller, λ is trained; in mdistiller it is not registered, so no optimiser sees it.
    """

    needs = Needs(features=True)
    defaults = {"initial_variance": 5.0, "hidden_channels": None}
    optional = {"hidden_channels": int}
    ranges = {"initial_variance": (ABOVE_ZERO, math.inf)}
    search = {"weight": LogUniform(0.1, 10)}  # the variance is trained

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        hidden, variance = self.options.hidden_channels, self.options.initial_variance
        self.predictors = nn.ModuleList(
            Gaussian(source.shape[1], hidden or target.shape[1], target.shape[1], variance)
            for source, target in stage_pairs(*self.probe_pair(student, teacher))
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        stages = zip(self.predictors, stage_pairs(student, teacher), strict=True)
        return torch.stack([predict(*pool_to_smaller(*pair)) for predict, pair in stages]).sum()


class Gaussian(nn.Module):
    """Predicts a map (B, target, h, w) from a map (B, source, h, w); its value is the mean −log p.

    ``log_scale`` (target,) is λ: the inverse softplus of the variance minus 1e-5.
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
        # The inverse of softplus, so that σ² starts at ``variance``.
        initial = math.log(math.expm1(variance - SMALLEST_VARIANCE))
        self.log_scale = nn.Parameter(torch.full((target,), initial))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        variance = F.softplus(self.log_scale)[:, None, None] + SMALLEST_VARIANCE
        return ((self.mean(student) - teacher).square() / variance + variance.log()).mean() / 2
