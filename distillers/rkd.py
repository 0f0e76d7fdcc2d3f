"""Relational KD: match distances and angles between the embeddings of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from datasets import Batch
from models import Outputs

from .base import Distiller
from .graphs import diagonal
from .losses import unit
from .needs import Needs
from .registry import register

NUMBERS_AT_ONCE = 2**24  # limit on the elements of the largest angle tensor: 64 MiB in float32


@register(
    "rkd",
    title="RKD",
    paper="Park et al., CVPR 2019",
    arxiv="1904.05068",
    reference="Relational Knowledge Distillation",
)
class RKD(Distiller):
    """λ_d · SmoothL1 of normalised distances + λ_a · SmoothL1 of angles; embeddings (B, D).

    Distances (section 3.2.1): ‖e_i − e_j‖ over the mean of the non-zero ones, which is not
    detached. Angles (section 3.2.2): cosines between e_j − e_i and e_k − e_i. Means run over all B²
    and B³ entries, including the trivial ones, as in RepDistiller, which also has the weights 25
    and 50.
    """

    needs = Needs(embedding=True, min_batch=3, batch="global")  # an angle needs three points
    defaults = {"distance_weight": 25.0, "angle_weight": 50.0}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        pair = student.required.embedding, teacher.required.embedding
        terms = {}
        if self.options.distance_weight:
            terms["distance"] = self.options.distance_weight * distance_loss(*pair)
        if self.options.angle_weight:
            terms["angle"] = self.options.angle_weight * angle_loss(*pair)
        return terms


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Unweighted distance term of embeddings (B, D_s), (B, D_t)."""
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def _relative_distances(embedding: Tensor) -> Tensor:
    """Distances (B, B) in units of their mean; from the Gram matrix, squares at least 1e-12."""
    squares = embedding.square().sum(dim=1)
    squared = squares[:, None] + squares - 2 * embedding @ embedding.T
    # The slope of the square root is infinite at 0, and rounding may make squares negative.
    distances = squared.clamp(min=1e-12).sqrt().masked_fill(diagonal(embedding), 0.0)
    return distances / (distances.sum() / (distances > 0).sum())


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Unweighted angle term of embeddings (B, D_s), (B, D_t).

    Large batches are processed in chunks of anchors i, which the backward pass recomputes, so that
    memory grows with B² instead of B³.
    """
    size = len(student)
    chunk = max(1, NUMBERS_AT_ONCE // (size * max(size, student.shape[1], teacher.shape[1])))
    if chunk >= size:
        return _angle_sum(student, teacher, student, teacher) / size**3
    anchors = zip(student.split(chunk), teacher.split(chunk), strict=True)
    sums = [
        checkpoint(_angle_sum, student, teacher, *pair, use_reentrant=False) for pair in anchors
    ]
    return torch.stack(sums).sum() / size**3


def _angle_sum(
    student: Tensor, teacher: Tensor, anchors: Tensor, teacher_anchors: Tensor
) -> Tensor:
    """SmoothL1 of the angles at the given anchors, summed."""
    return F.smooth_l1_loss(
        _angles(student, anchors), _angles(teacher, teacher_anchors), reduction="sum"
    )


def _angles(embedding: Tensor, anchors: Tensor) -> Tensor:
    """Cosines (anchors, B, B); between equal embeddings, which have no direction, 0.

    Those get no gradient; dividing by max(norm, 1e-12) instead would multiply it by 1e12.
    """
    directions = unit(embedding[None] - anchors[:, None])  # (anchors, B, D)
    return directions @ directions.mT
