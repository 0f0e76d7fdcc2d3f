"""Scale decoupled distillation: distil the logits of image regions as well as of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .compose import Wrapper
from .losses import hard_labels
from .needs import Needs
from .registry import register
from .spaces import LogUniform


@register(
    "sdd",
    title="SDD",
    paper="Wei, Luo & Luo, CVPR 2024",
    arxiv="2403.13512",
    reference="Scale Decoupled Distillation",
)
class SDD(Wrapper):
    """(1 / NB) Σ_r Σ_b w_rb ℓ_rb, with the per-sample loss ℓ of KD, DKD or NKD, over N regions r.

    It replaces that method's term. Cross-entropy, and Hinton's term added to DKD or NKD, still use
    the ordinary logits. The map (B, D, h, w) that the global pooling reads is averaged over 4×4
    cells, these over 2×2 cells, and those over the whole, which is the first region. Each network's
    own classifier turns a region's vector into logits (B, C); this also trains the student's.
    ``finest_scale`` 2 drops the 4×4 cells: N = 5 instead of 21. w is ``complementary_weight`` where
    the teacher is right about the region but wrong about the whole or vice versa, else 1.

    On a 7×7 map the cells overlap, so the first region's logits differ from the network's own; on a
    2×2 map each cell occurs four times at 4×4 and once at 2×2. Both are as in the authors' code.

    NKD's T = 4, γ = 8 and warm-up are the authors' (taken from DKD; γ is 6 or 2 for some pairs);
    their code keeps the target class in NKD's second term, as does the preset "sdd". They use
    scale 2 for resnet32x4 → resnet8x4, vgg13 → vgg8, with NKD also for ResNet50 → vgg8 and, on
    ImageNet, for ResNet34 → ResNet18 (preset "imagenet"); ResNet50 → MobileNetV1 has scale 4 and γ
    or β = 2. On ImageNet their SD-KD keeps KD's CIFAR weights and T, apparently by mistake; here
    the preset uses KD's ImageNet values.
    """

    needs = Needs(logits=True, final_map=True, classifier=True)
    defaults = {"finest_scale": 4, "complementary_weight": 2.0}
    choices = {"finest_scale": (2, 4)}
    presets = {"imagenet": {"finest_scale": 2}}
    search = {"complementary_weight": LogUniform(0.2, 20)}

    @classmethod
    def adapted(cls, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"temperature": 4.0, "gamma": 8.0, "warmup": 20.0} if method == "nkd" else {}

    @classmethod
    def preset(cls, name: str, method: str) -> Mapping[str, Any]:
        own = super().preset(name, method)
        if (name, method) == ("imagenet", "nkd"):  # DKD's values; warm-up of 1 epoch in 100
            return {**own, "temperature": 1.0, "gamma": 0.5, "warmup": 2.4}
        return own

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        if type(self).row_loss is Distiller.row_loss:
            raise Unsupported(
                f"sdd needs a loss per sample, which {self.name} does not provide; "
                "expected sdd+kd, sdd+dkd or sdd+nkd"
            )
        super().setup(student, teacher, info)
        if student.classifier is None:
            raise Unsupported(f"sdd needs the student's classifier, which {student.name} lacks")
        # In a tuple, so that the networks' layers do not become sub-modules of this one.
        self.heads = cast("nn.Linear", student.classifier), self.teacher_classifier(teacher)

    def soft_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        if self.name != "kd":
            return super().soft_loss(student, teacher, batch)
        return cast("Tensor", self._over_regions(student, teacher, batch))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor | dict[str, Tensor]:
        if self.name == "kd":  # its only term is Hinton's, see soft_loss
            return super().loss(student, teacher, batch)
        return self._over_regions(student, teacher, batch)

    def _over_regions(
        self, student: Outputs, teacher: Outputs, batch: Batch
    ) -> Tensor | dict[str, Tensor]:
        """Weighted mean, or means by part, of `row_loss` over all regions as a batch of N·B."""
        finest = self.options.finest_scale
        s = region_logits(student, self.heads[0], finest)
        t = region_logits(teacher, self.heads[1], finest).detach()
        weights = 1 + (self.options.complementary_weight - 1) * self._complementary(t, batch)
        samples = replace(batch, labels=torch.cat([batch.labels] * len(s)))
        rows = self.row_loss(Outputs(s.flatten(0, 1)), Outputs(t.flatten(0, 1)), samples)
        if isinstance(rows, Tensor):
            return (weights * rows).mean()
        return {part: (weights * values).mean() for part, values in rows.items()}

    def _complementary(self, teacher: Tensor, batch: Batch) -> Tensor:
        """(N·B,): 1 where the teacher is right for one of region and whole; logits (N, B, C)."""
        right = teacher.argmax(dim=2) == hard_labels(batch.labels)  # (N, B); region 0 is the whole
        return (right != right[:1]).flatten().to(teacher.dtype)


def region_logits(outputs: Outputs, head: nn.Linear, finest_scale: int) -> Tensor:
    """Logits (N, B, C) of the whole, then of the 2×2 and the 4×4 cells, row by row."""
    cells = F.adaptive_avg_pool2d(outputs.required.final_map, 4)
    maps = [F.adaptive_avg_pool2d(cells, 1), F.adaptive_avg_pool2d(cells, 2), cells]
    kept = [pooled.flatten(2) for pooled in maps if pooled.shape[-1] <= finest_scale]
    logits: Tensor = head(torch.cat(kept, dim=2).permute(2, 0, 1))  # of vectors (N, B, D)
    return logits
