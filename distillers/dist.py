"""DIST: match predictions by their correlation, per sample and per class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .needs import Needs
from .registry import register
from .spaces import LogUniform

EPS = 1e-8  # added to the product of the norms, as in the authors' code


@register(
    "dist",
    title="DIST",
    paper="Huang et al., NeurIPS 2022",
    arxiv="2205.10536",
    reference="Knowledge Distillation from A Stronger Teacher",
)
class DIST(Distiller):
    """τ² (β · inter + γ · intra) of the softmaxes p, q (B, C) of the logits over τ.

    inter = 1 − mean over samples of ρ(p_b, q_b); intra = 1 − mean over classes of ρ(p_·c, q_·c);
    ρ(u, v) is Pearson's correlation, with 1e-8 added to the product of the norms as in the authors'
    code. A constant row or column has ρ = 0 and no gradient (dividing by 1e-8 would blow it up).

    Weight 2 and τ = 4 are the authors' for CIFAR-100 (their configuration "dist_t4").
    """

    # A class is correlated over the whole batch. Two numbers have the correlation 1 or -1.
    needs = Needs(batch="global", min_classes=3)
    defaults = {"weight": 2.0, "beta": 1.0, "gamma": 1.0, "temperature": 4.0}
    presets = {"imagenet": {"temperature": 1.0}}
    search = {  # the weight would scale both parts once more
        "beta": LogUniform(0.1, 10),
        "gamma": LogUniform(0.1, 10),
        "temperature": LogUniform(1, 16),
    }

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        temperature = self.options.temperature
        p, q = (F.softmax(o.logits / temperature, dim=1) for o in (student, teacher))
        scale = temperature**2
        return {
            "inter": scale * self.options.beta * (1 - pearson(p, q).mean()),
            "intra": scale * self.options.gamma * (1 - pearson(p.T, q.T).mean()),
        }


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlations (m,) of the rows of two (m, n) matrices."""
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return (a * b).sum(dim=1) / (norms + EPS).masked_fill(norms == 0, torch.inf)
