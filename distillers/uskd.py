"""Universal self-KD: the student makes its own soft labels from two of its depths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .losses import is_class, log_softmax_without, two_labels
from .needs import Needs
from .registry import register
from .spaces import LogUniform
from .tf_nkd import target_loss

EPS = 1e-6  # added to the share of the other classes, as in the authors' code


@register(
    "uskd",
    title="USKD",
    paper="Yang et al., ICCV 2023",
    arxiv="2303.13005",
    reference="From Knowledge Distillation to Self-Knowledge Distillation: A Unified "
    "Approach with Normalized Loss and Customized Soft Labels",
)
class USKD(Distiller):
    """α L_target + β L_others + μ L_weak, without a teacher; logits z (B, C), p = softmax(z).

    L_target = −mean_B w_b log p_y, w_b = p_y² + 1 − mean_B p_y², detached. L_weak: cross-entropy
    with 0.9 · 1_y + 0.1 / C of a linear head u on the pooled second-to-last map; it trains head and
    map. That map is the second-to-last stage's or, where a convolution follows the stages
    (MobileNetV2, ShuffleNetV2), the last stage's. L_others = −mean_B Σ_{c≠y} v_c log p'_c, with p'
    the softmax over the classes other than y. v, detached, follows Zipf's law: 1 / the rank of c
    among all classes, in descending order of

        softmax(u)_c / (1 − softmax(u)_y + 1e-6) + p_c / (1 − p_y + 1e-6),

    normalised to sum to 1 without y. Both branches of the authors' code (cls_KD) have log p instead
    of p there, since a variable is overwritten: ``rank_space`` "log_probabilities".

    Soft labels: w as in tf-NKD for the two largest shares; elsewhere both of their classes count as
    y (the second only where it comes from mixing two samples, not from label smoothing).
    With two classes L_others would be 0: set β to 0.
    Only for networks with feature maps (the authors' code reads the class token of transformers).
    """

    needs = Needs(teacher=False, features=True, batch="global")
    defaults = {"alpha": 0.1, "beta": 0.1, "mu": 0.1, "rank_space": "probabilities"}
    choices = {"rank_space": ("probabilities", "log_probabilities")}
    presets = {
        "imagenet": {"alpha": 1.0, "beta": 0.1, "mu": 0.005},
        "released": {"rank_space": "log_probabilities"},
    }
    search = {
        "alpha": LogUniform(0.01, 1),
        "beta": LogUniform(0.01, 1),
        "mu": LogUniform(0.005, 0.5),
    }

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        return replace(cls.needs, min_classes=3 if options["beta"] else 1)

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        outputs = self.probe(student)
        features, last = outputs.features or (), outputs.final_map
        if len(features) < 2:
            raise Unsupported(f"{self.name} needs two feature maps of the student")
        # A final map of another width comes from a convolution after the last stage.
        self.depth = -1 if last is not None and last.shape[1] != features[-1].shape[1] else -2
        self.weak_head = nn.Linear(features[self.depth].shape[1], info.num_classes)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        options, logits = self.options, student.logits
        pooled = student.required.features[self.depth].mean(dim=(2, 3))
        weak = F.log_softmax(self.weak_head(pooled), dim=1)
        log_p = F.log_softmax(logits, dim=1)
        classes, shares = two_labels(batch.labels)
        named = torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes, shares > 0)
        zipf = self._zipf(weak, log_p, named)
        others = -(zipf * log_softmax_without(logits, named)).sum(dim=1).mean()
        hot = batch.labels if batch.labels.ndim == 2 else is_class(batch.labels, logits.shape[1])
        smoothed = 0.9 * hot.to(weak.dtype) + 0.1 / logits.shape[1]
        return {
            "target": options.alpha * target_loss(log_p.gather(1, classes), shares, power=2),
            "others": options.beta * others,
            "weak": options.mu * -(smoothed * weak).sum(dim=1).mean(),
        }

    @torch.no_grad()
    def _zipf(self, weak: Tensor, log_p: Tensor, named: Tensor) -> Tensor:
        """v (B, C), 0 at y and of sum 1 elsewhere, from both depths' log-probabilities (B, C)."""
        strong = log_p if self.options.rank_space == "log_probabilities" else log_p.exp()
        score = _over_the_rest(weak.exp(), named) + _over_the_rest(strong, named)
        order = score.argsort(dim=1, descending=True, stable=True)  # ties rank by class number
        ranks = torch.arange(1, score.shape[1] + 1, device=score.device, dtype=score.dtype)
        law = torch.empty_like(score).scatter_(1, order, ranks.reciprocal().expand_as(score))
        law = law.masked_fill(named, 0.0)
        return law / law.sum(dim=1, keepdim=True).clamp(min=EPS)  # zeros if there is no other class


def _over_the_rest(values: Tensor, named: Tensor) -> Tensor:
    rest = 1 - values.masked_fill(~named, 0.0).sum(dim=1, keepdim=True)
    return values / (rest + EPS)
