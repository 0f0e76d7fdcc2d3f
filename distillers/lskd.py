"""Logit standardisation: divide logits by their own standard deviation before soft labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datasets import Info

from .base import Unsupported
from .compose import Wrapper
from .needs import Needs
from .registry import register

EPS = 1e-7  # added to the standard deviation, as in the authors' code


@register(
    "lskd",
    title="LSKD",
    paper="Sun et al., CVPR 2024",
    arxiv="2403.01427",
    reference="Logit Standardization in Knowledge Distillation",
)
class LSKD(Wrapper):
    """N(z) = (z − mean_C z) / (std_C z + 1e-7) for the logits z (B, C) of both networks.

    Applied in every KL term and only there: not in the cross-entropy, nor in MLKD's correlations.
    The standard deviation is unbiased; gradient passes through mean and deviation. Equal logits
    become zeros without a gradient (dividing by 1e-7 would blow it up).

    As in the authors' code, the base temperature becomes 2, the weight of KD and MLKD 9, and DKD's
    α and β are multiplied by 9; the preset "imagenet" sets the weight of cross-entropy to 1 (as for
    ResNet34 → ResNet18; 0.5 for ResNet50 → MobileNetV1). The authors tune 2 and 9 per pair:
    temperatures 2 to 4, weights 1 to 18. With any other method "+kd" keeps weight 1 and
    temperature 4.
    """

    needs = Needs(min_classes=3)  # two standardised logits are 1/√2 and -1/√2 whatever they were
    presets = {"imagenet": {"ce": 1.0}}

    @classmethod
    def adapted(cls, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        if method == "kd":
            return {"kd": 9.0, "kd_temperature": 2.0}
        if method == "dkd":
            factors = {option: 9 * options[option] for option in ("alpha", "beta")}
            return {**factors, "temperature": 2.0}
        if method == "mlkd":
            return {"weight": 9.0, "temperature": 2.0}
        return {}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        if not (self.softens or self.options.kd):
            raise Unsupported(
                f"lskd changes KL terms of logits, but {self.name} has none; "
                f"expected lskd+{self.name}+kd"
            )
        super().setup(student, teacher, info)

    def soften(self, logits: Tensor) -> Tensor:
        return standardised(super().soften(logits))


def standardised(logits: Tensor) -> Tensor:
    """Logits (B, C) with rows of mean 0 and, up to 1e-7, standard deviation 1."""
    deviation = logits.std(dim=1, keepdim=True)
    centered = logits - logits.mean(dim=1, keepdim=True)
    return centered / (deviation + EPS).masked_fill(deviation == 0, torch.inf)
