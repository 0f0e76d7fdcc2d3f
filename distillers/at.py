"""Attention transfer: where in the image the student's activation lies, stage by stage."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .connectors import pool_to_smaller
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
    in order, and what one network has more of is left out, as in the tables of RepDistiller.

    The paper (section 3.1, eq. 2) takes |F|^p and half the norm of the difference; RepDistiller and
    mdistiller the above, whose weight is 1000. At the even powers in use F^p = |F|^p.
    """

    needs = Needs(features=True)
    defaults = {"weight": 1000.0, "power": 2}
    presets = {"imagenet": {"weight": 1000.0}}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert student.features is not None and teacher.features is not None  # needs.features
        pairs = zip(student.features[1:], teacher.features[1:], strict=False)
        return torch.stack([self._distance(*pool_to_smaller(s, t)) for s, t in pairs]).sum()

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        return F.mse_loss(self._attention(student), self._attention(teacher))

    def _attention(self, features: Tensor) -> Tensor:
        """(B, h·w) with rows of norm 1."""
        return F.normalize(features.pow(self.options.power).mean(dim=1).flatten(1), dim=1)
