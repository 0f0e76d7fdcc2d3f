"""Similarity-preserving KD: samples that are similar for the teacher are so for the student."""

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
    """‖G_s − G_t‖²_F / B², where G (B, B) is Q Qᵀ with normalised rows.

    Q (B, c·h·w): the last stage's map, flattened per sample. The paper sums over pairs of layers
    (section "Method"); RepDistiller and mdistiller use only the last stage, as here, with weight
    3000. A sample whose map is zero has a zero row and no gradient (the references divide by 1e-12
    there).
    """

    needs = Needs(features=True, batch="global")
    defaults = {"weight": 3000.0}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = (similarities(outputs.required.features[-1]) for outputs in (student, teacher))
        return (s - t).square().mean()


def similarities(features: Tensor) -> Tensor:
    """G (B, B), with rows of norm 1, of maps (B, c, h, w)."""
    vectors = features.flatten(1)  # (B, c·h·w)
    return unit(vectors @ vectors.T)
