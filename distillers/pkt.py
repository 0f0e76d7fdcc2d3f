"""Probabilistic knowledge transfer: match the samples' neighbour probabilities within a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .needs import Needs
from .registry import register

EPSILON = 1e-7  # added to norms and inside logarithms, as in RepDistiller


@register(
    "pkt",
    title="PKT",
    paper="Passalis & Tefas, ECCV 2018",
    arxiv="1803.10837",
    reference="Learning Deep Representations with Probabilistic Knowledge Transfer",
)
class PKT(Distiller):
    """Mean over i, j of t_ij · log(t_ij / s_ij), for embeddings (B, D).

    s_ij, t_ij: (cos(e_i, e_j) + 1) / 2 over its sum over j, the paper's probability that i selects
    j as its neighbour, with its cosine kernel. As in RepDistiller and mdistiller, j = i is included
    and the mean runs over B² entries, not B rows; hence the weight 30000. A zero embedding has
    cosine 0 with all others and no gradient.
    """

    needs = Needs(embedding=True, batch="global")
    defaults = {"weight": 30000.0}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = neighbours(student.required.embedding), neighbours(teacher.required.embedding)
        return (t * ((t + EPSILON) / (s + EPSILON)).log()).mean()


def neighbours(embedding: Tensor) -> Tensor:
    """Conditional probabilities (B, B), one distribution per row, of embeddings (B, D)."""
    norm = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
    rows = embedding / (norm + EPSILON).masked_fill(norm == 0, torch.inf)
    similarity = (rows @ rows.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)
