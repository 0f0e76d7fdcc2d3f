"""Decoupled KD: one term for the target class against the rest, one for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import hard_labels, kl_divergence, kl_rows, linear_warmup
from .needs import Needs
from .registry import register
from .spaces import LogUniform

Divergence = Callable[[Tensor, Tensor, float], Tensor]


@register(
    "dkd",
    title="DKD",
    paper="Zhao et al., CVPR 2022",
    arxiv="2203.08679",
    reference="Decoupled Knowledge Distillation",
)
class DKD(Distiller):
    """w(epoch) · (α TCKD + β NCKD), both with factor T², mean over the batch (eq. 7).

    TCKD: KL divergence between teacher's and student's (p_y, 1 − p_y). NCKD: KL divergence between
    the softmaxes over the classes other than y. The logit of "not y" is the logsumexp of the other
    logits, so TCKD is a KL divergence over two logits, finite for any input; mdistiller takes the
    logarithm of 1 − p_y instead. With two classes NCKD would be 0: set β to 0.

    The warm-up w = min(epoch / warmup, 1) lasts ``warmup`` epochs of 240, or ``warmup_absolute``
    epochs if given. mdistiller uses β = 6 or 2 for some pairs, 2 for ImageNet ResNet50 → MobileNet.
    """

    softens = True
    defaults = {
        "alpha": 1.0,
        "beta": 8.0,
        "temperature": 4.0,
        "warmup": 20.0,
        "warmup_absolute": None,
    }
    presets = {"imagenet": {"beta": 0.5, "temperature": 1.0, "warmup_absolute": 1.0}}
    optional = {"warmup_absolute": float}
    search = {
        "alpha": LogUniform(0.1, 10),
        "beta": LogUniform(0.8, 80),
        "temperature": LogUniform(1, 16),
    }

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        return replace(cls.needs, min_classes=3 if options["beta"] else 1)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        return self._parts(student, teacher, batch, kl_divergence)

    def row_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        return self._parts(student, teacher, batch, kl_rows)

    def _parts(
        self, student: Outputs, teacher: Outputs, batch: Batch, divergence: Divergence
    ) -> dict[str, Tensor]:
        options = self.options
        target, others = decoupled_kl(
            self.soften(student.logits),
            self.soften(teacher.logits),
            hard_labels(batch.labels),
            self.temperature(options.temperature, batch.epoch),
            divergence,
        )
        ramp = linear_warmup(batch.epoch, self.scaled(options.warmup, options.warmup_absolute))
        return {"tckd": ramp * options.alpha * target, "nckd": ramp * options.beta * others}


def decoupled_kl(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    divergence: Divergence = kl_divergence,
) -> tuple[Tensor, Tensor]:
    """(TCKD, NCKD) of logits (B, C) and class numbers (B,), with factor T².

    Batch means with `kl_divergence`, per sample, (B,), with `kl_rows`.
    """
    binary_s, others_s = _decouple(student / temperature, labels)
    binary_t, others_t = _decouple(teacher / temperature, labels)
    scale = temperature**2
    return (
        scale * divergence(binary_s, binary_t, 1.0),
        scale * divergence(others_s, others_t, 1.0),
    )


def _decouple(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, 2) of "y" and "not y", and those (B, C − 1) of the other classes."""
    target = labels[:, None]
    # Columns from y on shift by one, which skips y: a gather of fixed shape, unlike a mask.
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, columns + (columns >= target).long())
    binary = torch.cat([logits.gather(1, target), others.logsumexp(dim=1, keepdim=True)], dim=1)
    return binary, others
