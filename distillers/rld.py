"""Refined logit distillation: ignore what a wrong teacher says about the target class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import hard_labels, is_class, kl_divergence, linear_warmup, log_softmax_without
from .needs import Needs
from .registry import register
from .spaces import LogUniform


@register(
    "rld",
    title="RLD",
    paper="Sun et al., ICCV 2025",
    arxiv="2408.07703",
    reference="Knowledge Distillation with Refined Logits",
)
class RLD(Distiller):
    """w(epoch) · (α L_SCD + β L_MCD) of logits (B, C), both with factor T², mean over the batch.

    L_SCD (sample confidence): KL divergence between the teacher's (q_m, 1 − q_m), m its most
    probable class, and the student's (p_y, 1 − p_y), y the label, at ``confidence_temperature``.
    L_MCD (masked correlation): KL divergence between the softmaxes at ``temperature`` over the
    classes whose teacher logit is below that of y; so classes that a wrong teacher ranks above y
    are dropped too. Where no class is below, it is 0.

    The logit of "not y" is the logsumexp of the other logits, which is finite for any input; the
    authors (zju-SWJ/RLD) take the logarithm of 1 − p. Their README trains CIFAR-100 with
    temperature 4 for both terms; their configuration files, and ImageNet, have 1 in L_SCD (preset
    "configs"). β is 2 for ImageNet ResNet50 → MobileNet. The warm-up w = min(epoch / warmup, 1)
    lasts ``warmup`` epochs of 240, or ``warmup_absolute`` epochs if given. For soft labels y is
    their most probable class. With two classes L_MCD would be 0:
    set β to 0.
    """

    softens = True
    defaults = {
        "alpha": 1.0,
        "beta": 8.0,
        "temperature": 4.0,
        "confidence_temperature": 4.0,
        "warmup": 20.0,
        "warmup_absolute": None,
    }
    optional = {"warmup_absolute": float}
    presets = {
        "configs": {"confidence_temperature": 1.0},
        "imagenet": {
            "beta": 0.5,
            "temperature": 1.0,
            "confidence_temperature": 1.0,
            "warmup_absolute": 1.0,
        },
    }
    search = {
        "alpha": LogUniform(0.1, 10),
        "beta": LogUniform(0.8, 80),
        "temperature": LogUniform(1, 16),
        "confidence_temperature": LogUniform(1, 16),
    }

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        return replace(cls.needs, min_classes=3 if options["beta"] else 1)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        options, labels = self.options, hard_labels(batch.labels)
        s, t = self.soften(student.logits), self.soften(teacher.logits)
        ramp = linear_warmup(batch.epoch, self.scaled(options.warmup, options.warmup_absolute))
        confidence = confidence_loss(s, t, labels, options.confidence_temperature)
        correlation = correlation_loss(s, t, labels, options.temperature)
        return {
            "confidence": ramp * options.alpha * confidence,
            "correlation": ramp * options.beta * correlation,
        }


def confidence_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """L_SCD of logits (B, C) and class numbers (B,)."""
    binary_s = _one_against_rest(student / temperature, labels)
    binary_t = _one_against_rest(teacher / temperature, teacher.argmax(dim=1))
    return temperature**2 * kl_divergence(binary_s, binary_t, 1.0)


def _one_against_rest(logits: Tensor, classes: Tensor) -> Tensor:
    """Logits (B, 2) of "this class" and "any other"."""
    one = is_class(classes, logits.shape[1])
    # Not −inf: with a single class the logsumexp must stay finite.
    rest = logits.masked_fill(one, torch.finfo(logits.dtype).min).logsumexp(dim=1)
    return torch.stack([logits.gather(1, classes[:, None])[:, 0], rest], dim=1)


def correlation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """L_MCD of logits (B, C) and class numbers (B,)."""
    dropped = teacher >= teacher.gather(1, labels[:, None])
    log_p = log_softmax_without(student / temperature, dropped)
    log_q = log_softmax_without(teacher / temperature, dropped)
    return temperature**2 * (log_q.exp() * (log_q - log_p)).sum(dim=1).mean()
