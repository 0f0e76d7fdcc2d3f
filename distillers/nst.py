"""Neuron selectivity transfer: match the distribution of the channels' spatial patterns."""

from __future__ import annotations

import torch
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .connectors import pool_to_smaller, stage_pairs
from .losses import unit
from .needs import Needs
from .registry import register


@register(
    "nst",
    title="NST",
    paper="Huang & Wang, 2017",
    arxiv="1707.01219",
    reference="Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
)
class NST(Distiller):
    """Sum over stages of the squared MMD between the channels of student and teacher.

    A channel is represented by its normalised map f (h·w); k(f, g) = (f · g)² is the paper's
    polynomial kernel with d = 2 and c = 0; per sample

        MMD² = mean k(t, t) + mean k(s, s) − 2 mean k(s, t),

    with means over all pairs of channels, then over the batch. Widths may differ; the larger map is
    first pooled to the smaller, and stages are paired in order as in `AT`. Weight 50 as in
    RepDistiller and mdistiller. A dead channel is a zero vector and gets no gradient.
    """

    needs = Needs(features=True)
    defaults = {"weight": 50.0}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        pairs = stage_pairs(student, teacher)
        return torch.stack([discrepancy(*pool_to_smaller(s, t)) for s, t in pairs]).sum()


def discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the batch of MMD² between the channels of maps (B, c, h, w) and (B, c', h, w)."""
    s, t = unit(student.flatten(2)), unit(teacher.flatten(2))  # (B, channels, h·w)
    return _kernel(t, t) + _kernel(s, s) - 2 * _kernel(s, t)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """Mean of (a_i · b_j)² over the batch and all pairs of (B, c, h·w) and (B, c', h·w)."""
    return (a @ b.mT).square().mean()
