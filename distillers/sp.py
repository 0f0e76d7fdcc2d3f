"""Similarity-preserving KD: samples that the teacher finds alike are alike for the student."""

from __future__ import annotations

from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import unit
from .needs import Needs
from .registry import register


@register(
    "sp",
    title="SP",
    paper="Tung & Mori, ICCV 2019",
    arxiv="1907.09682",
    reference="Similarity-Preserving Knowledge Distillation",
)
class SP(Distiller):
    """‖G_s − G_t‖²_F / B², G (B, B) = Q Qᵀ with every row over its Euclidean norm.

    Q (B, c·h·w): the last stage's map, flattened per sample. The paper sums over pairs of layers
    (section "Method"); RepDistiller and mdistiller take the last stage alone, as here, and its
    weight is 3000. A sample whose map is zero has a zero row, without a gradient (the references
    divide by 1e-12 there).
    """

    needs = Needs(features=True, batch="global")
    defaults = {"weight": 3000.0}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert student.features is not None and teacher.features is not None  # needs.features
        difference = similarities(student.features[-1]) - similarities(teacher.features[-1])
        return difference.square().mean()


def similarities(features: Tensor) -> Tensor:
    """(B, B) with rows of norm 1, from maps (B, c, h, w)."""
    vectors = features.flatten(1)
    return unit(vectors @ vectors.T)
