"""ABKD: KD with the α-β-divergence instead of the Kullback-Leibler divergence."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .registry import register
from .spaces import LogUniform, Uniform


@register(
    "abkd",
    title="ABKD",
    paper="Wang et al., ICML 2025",
    arxiv="2505.04560",
    reference="ABKD: Pursuing a Proper Allocation of the Probability Mass in Knowledge "
    "Distillation via α-β-Divergence",
)
class ABKD(Distiller):
    """mean_B D(q ‖ p) of the softmaxes p, q of logits (B, C) at ``temperature``, without T².

    D = −1/(αβ) Σ_c [q^α p^β − α/(α+β) q^(α+β) − β/(α+β) p^(α+β)]; where αβ(α+β) = 0, its limit:

    β = 0       1/α² Σ [q^α log(q^α / p^α) − q^α + p^α]; at α = 1 the forward KL(q ‖ p)
    α = 0       1/β² Σ [p^β log(p^β / q^β) − p^β + q^β]; at β = 1 the reverse KL(p ‖ q)
    α + β = 0   1/α² Σ [log(p^α / q^α) + q^α / p^α − 1]
    α = β = 0   ½ Σ (log q − log p)²

    ghwang-s/abkd divides the first three by |α| or |β| instead of their squares, which is the same
    at ±1. Powers are computed from log-probabilities, so any logits are safe with α, β ≥ 0; with a
    negative exponent a tiny probability can overflow. α (hardness), β (confidence) and the weight
    are tuned per pair; the defaults are for resnet56 → resnet20, the authors' README example.
    """

    softens = True
    defaults = {"weight": 32.0, "alpha": 0.8, "beta": 0.3, "temperature": 4.0}
    ranges = {"alpha": (-math.inf, math.inf), "beta": (-math.inf, math.inf)}
    search = {
        "weight": LogUniform(3.2, 320),
        "alpha": Uniform(0.1, 1.2),  # both from the divergence's forward to its reverse side
        "beta": Uniform(0.1, 1.2),
        "temperature": LogUniform(1, 16),
    }

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        options = self.options
        log_p = F.log_softmax(self.soften(student.logits) / options.temperature, dim=1)
        log_q = F.log_softmax(self.soften(teacher.logits) / options.temperature, dim=1)
        return ab_divergence(log_q, log_p, options.alpha, options.beta).mean()


def ab_divergence(log_q: Tensor, log_p: Tensor, alpha: float, beta: float) -> Tensor:
    """D(q ‖ p) per sample, (B,), of log-probabilities (B, C)."""
    if alpha == 0 and beta == 0:
        return (log_q - log_p).square().sum(dim=1) / 2
    if beta == 0:
        return _extended_kl(alpha * log_q, alpha * log_p) / alpha**2
    if alpha == 0:
        return _extended_kl(beta * log_p, beta * log_q) / beta**2
    both = alpha + beta
    if both == 0:
        ratio = alpha * (log_q - log_p)
        # expm1, since exp(x) − 1 loses its digits near 0, where student and teacher agree.
        return (torch.expm1(ratio) - ratio).sum(dim=1) / alpha**2
    cross = (alpha * log_q + beta * log_p).exp()
    ends = alpha / both * (both * log_q).exp() + beta / both * (both * log_p).exp()
    return (ends - cross).sum(dim=1) / (alpha * beta)


def _extended_kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Σ [a log(a / b) − a + b] per sample, (B,), for positive a, b (B, C) of any sum."""
    a, b = log_a.exp(), log_b.exp()
    return (a * (log_a - log_b) - a + b).sum(dim=1)
