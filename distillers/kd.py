"""Knowledge distillation by softened logits."""

from __future__ import annotations

from .base import Distiller
from .registry import register


@register(
    "kd",
    title="KD",
    paper="Hinton, Vinyals & Dean, NIPS-W 2014",
    arxiv="1503.02531",
    reference="Distilling the Knowledge in a Neural Network",
)
class KD(Distiller):
    """T² KL(softmax(z_t / T) ‖ softmax(z_s / T)) beside the cross-entropy; logits (B, C).

    The base class computes the term (its option ``kd``), so there is no own one. The weights
    0.1 / 0.9 at T = 4 are RepDistiller's and mdistiller's for CIFAR-100.
    """

    defaults = {"ce": 0.1, "kd": 0.9, "weight": 0.0}
    presets = {"imagenet": {"ce": 0.5, "kd": 0.5, "kd_temperature": 1.0}}
