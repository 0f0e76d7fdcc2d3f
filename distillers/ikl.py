"""Improved KL: match logit differences between classes, and soft labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .losses import hard_labels, is_class, linear_warmup
from .needs import Needs
from .registry import register
from .spaces import LogUniform


@register(
    "ikl",
    title="IKL-KD",
    paper="Cui et al., NeurIPS 2024",
    arxiv="2305.13948",
    reference="Decoupled Kullback-Leibler Divergence Loss",
)
class IKL(Distiller):
    """w(epoch) · (wmse_weight · wMSE + cross_entropy_weight · H), of logits (B, C).

    H = −mean_B Σ_c q_c log p_c with the softmaxes at ``temperature``, without T². wMSE = mean_B ¼
    Σ_jk v_j v_k (Δt_jk − Δs_jk)² with Δz_jk = z_j − z_k (eqs. 7, 10); this is half the variance of
    z_t − z_s under v. Its weight is α in the paper and BETA in the authors' code, H's is β and
    ALPHA. v is a softmax at ``class_temperature``, raised to the power ``exponent`` γ:

    weighting "sample"  the teacher's softmax for this sample
    weighting "class"   the mean of the teacher's softmaxes over all samples of its class in the
                        previous epoch; uniform in the first (eq. 9). Needs two buffers (C, C)

    γ ≠ 1 is the generalised loss of the authors' sequel (GKL, arXiv 2503.08038): numerator and
    Σ_jk v_j v_k are then each summed over the batch before the division.

    jiequancui/DKL trains CIFAR-100 with "sample" at temperature 100 (v is almost uniform), ImageNet
    with "class" at 1. Its weights differ per pair; these are for resnet32x4 → resnet8x4, and on
    ImageNet for ResNet34 → ResNet18. A class without samples in an epoch keeps its v (in the
    authors' code it becomes NaN). The warm-up w = min(epoch / warmup, 1) lasts ``warmup`` epochs of
    240, or ``warmup_absolute`` epochs if given.
    """

    softens = True
    defaults = {
        "wmse_weight": 8.0,
        "cross_entropy_weight": 1.0,
        "temperature": 4.0,
        "weighting": "sample",
        "class_temperature": 100.0,
        "exponent": 1.0,
        "warmup": 20.0,
        "warmup_absolute": None,
    }
    choices = {"weighting": ("sample", "class")}
    optional = {"warmup_absolute": float}
    _imagenet = {
        "wmse_weight": 0.5,
        "temperature": 1.0,
        "weighting": "class",
        "class_temperature": 1.0,
        "warmup_absolute": 1.0,
    }
    _gkl = {"wmse_weight": 16.0, "weighting": "class", "class_temperature": 4.0, "exponent": 0.05}
    presets = {
        "imagenet": _imagenet,
        "gkl": _gkl,
        "gkl_imagenet": {**_imagenet, "exponent": 0.6, "warmup_absolute": 5.0},
    }
    search = {  # the class temperature and the exponent: class weighting only
        "wmse_weight": LogUniform(0.8, 80),
        "cross_entropy_weight": LogUniform(0.1, 10),
        "temperature": LogUniform(1, 16),
    }

    class_means: Tensor  # (C, C): row y is v of class y
    class_sums: Tensor  # (C, C): sums over this epoch's samples
    summed_epoch: Tensor  # the epoch that class_sums belong to

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        coupled = options["weighting"] == "class" or options["exponent"] != 1
        return Needs(batch="global" if coupled else "local")

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        super().setup(student, teacher, info)
        if self.options.weighting == "class":
            shape = info.num_classes, info.num_classes
            self.register_buffer("class_means", torch.full(shape, 1 / info.num_classes))
            self.register_buffer("class_sums", torch.zeros(shape))
            self.register_buffer("summed_epoch", torch.tensor(0))

    @torch.no_grad()
    def on_epoch(self, epoch: int) -> None:
        # The epochs are equal after a resume within an epoch: its sums are to be continued.
        if self.options.weighting != "class" or epoch == self.summed_epoch:
            return
        # Every softmax sums to 1, so the sum of a row is its class's number of samples.
        counts = self.class_sums.sum(dim=1, keepdim=True)
        means = self.class_sums / counts.clamp(min=1e-6)
        self.class_means.copy_(torch.where(counts > 0, means, self.class_means))
        self.class_sums.zero_()
        self.summed_epoch.fill_(epoch)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        options, terms = self.options, {}
        s, t = self.soften(student.logits), self.soften(teacher.logits)
        ramp = linear_warmup(batch.epoch, self.scaled(options.warmup, options.warmup_absolute))
        if options.wmse_weight:
            weights = self._class_weights(t, hard_labels(batch.labels)).pow(options.exponent)
            terms["wmse"] = ramp * options.wmse_weight * weighted_mse(s, t, weights)
        if options.cross_entropy_weight:
            soft = F.softmax(t / options.temperature, dim=1)
            entropy = F.cross_entropy(s / options.temperature, soft)
            terms["soft"] = ramp * options.cross_entropy_weight * entropy
        return terms

    def _class_weights(self, teacher: Tensor, labels: Tensor) -> Tensor:
        """v (B, C) before the power; adds to the class sums where gradients are enabled."""
        soft = F.softmax(teacher / self.options.class_temperature, dim=1)
        if self.options.weighting == "sample":
            return soft
        if torch.is_grad_enabled():
            own = is_class(labels, soft.shape[1]).to(soft.dtype)
            self.class_sums += own.T @ soft
        return self.class_means[labels].to(soft.dtype)


def weighted_mse(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """¼ Σ_bjk v_bj v_bk (Δt_bjk − Δs_bjk)² / Σ_bjk v_bj v_bk of logits and weights v, (B, C) each.

    Computed as Σ_jk v_j v_k (d_j − d_k)² = 2 Σ_l v_l Σ_k v_k (d_k − d̄)², d̄ the mean of d under v.
    """
    total, difference = weights.sum(dim=1), student - teacher
    mean = (weights * difference).sum(dim=1) / total
    spread = (weights * (difference - mean[:, None]).square()).sum(dim=1)
    return (total * spread).sum() / 2 / total.square().sum()
