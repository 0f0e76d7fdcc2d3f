"""Attention transfer: match where in the image the networks are active, stage by stage."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .connectors import pool_to_smaller, stage_pairs
from .losses import attention_map
from .needs import Needs
from .registry import register


@register(
    "at",
    title="AT",
    paper="Zagoruyko & Komodakis, ICLR 2017",
    arxiv="1612.03928",
    reference="Paying More Attention to Attention: Improving the Performance of Convolutional "
    "Neural Networks via Attention Transfer",
)
class AT(Distiller):
    """Sum over stages of the mean squared difference of normalised attention maps.

    q(F) = flatten(mean over channels of F^p) / its Euclidean norm, for F (B, c, h, w); the mean is
    over B·h·w. The larger map is first pooled to the smaller. Stages (without the stem) are paired
    in order; a deeper network's extra stages are ignored, as in RepDistiller's tables.

    The paper (section 3.1, eq. 2) uses |F|^p and half the norm of the difference. The form above is
    that of RepDistiller and mdistiller, with their weight 1000. For even p, F^p = |F|^p.
    """

    needs = Needs(features=True)
    defaults = {"weight": 1000.0, "power": 2}
    presets = {"imagenet": {"weight": 1000.0}}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        losses = []
        for pair in stage_pairs(student, teacher):
            s, t = (attention_map(maps, self.options.power) for maps in pool_to_smaller(*pair))
            losses.append(F.mse_loss(s, t))
        return torch.stack(losses).sum()
