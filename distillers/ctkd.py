"""Curriculum temperature: the temperature of soft labels is learned, against the student."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datasets import Info

from .base import Unsupported
from .compose import Wrapper
from .registry import register


@register(
    "ctkd",
    title="CTKD",
    paper="Li et al., AAAI 2023",
    arxiv="2211.16231",
    reference="Curriculum Temperature for Knowledge Distillation",
)
class CTKD(Wrapper):
    """Hinton's term (``kd``) at T = ``initial_temperature`` + ``temperature_range`` · sigmoid(θ).

    θ is one number, at first 1 (T = 15.6), trained with the student: the gradient comes to it
    through both soft-maxes and T², times −λ, so that T makes the task harder. λ rises from 0 to 1
    along (1 − cos(π e / E)) / 2 in the first E epochs e (from 1): ``curriculum`` epochs of 240, or
    ``curriculum_absolute`` if given. This is the global variant; the code of the one with a
    temperature per sample is not public.

    DKD's T is this one, too, and its β becomes 2, as in the authors' CIFAR-100 runs; for ImageNet
    they have none with DKD, so β is DKD's there. Beside PKT, SP, VID, CRD and SRRL they weigh
    cross-entropy 0.1 and Hinton's term 0.9, which is for ``ce`` and ``kd`` to say.
    """

    defaults = {
        "initial_temperature": 1.0,
        "temperature_range": 20.0,
        "curriculum": 10.0,
        "curriculum_absolute": None,
    }
    presets = {"imagenet": {"ce": 1.0, "kd": 1.0, "curriculum_absolute": 5.0}}
    optional = {"curriculum_absolute": float}

    @classmethod
    def adapted(cls, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"beta": 2.0} if method == "dkd" else {}

    @classmethod
    def preset(cls, name: str, method: str) -> Mapping[str, Any]:
        if (name, method) == ("imagenet", "dkd"):  # which is without Hinton's term
            return {"beta": 0.5, "curriculum_absolute": 5.0}
        return super().preset(name, method)

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        super().setup(student, teacher, info)
        if not self.options.kd and self.name != "dkd":
            raise Unsupported(
                "ctkd needs Hinton's term, whose kd is 0; expected ctkd+NAME+kd or ctkd+dkd"
            )
        self.theta = nn.Parameter(torch.ones(1))

    def temperature(self, fixed: float, epoch: int) -> Tensor:
        """T, (); its gradient is turned round before it reaches θ."""
        theta, options = self.theta[0], self.options
        turned = theta.detach() - self._lambda(epoch) * (theta - theta.detach())
        return options.initial_temperature + options.temperature_range * turned.sigmoid()

    def _lambda(self, epoch: int) -> float:
        epochs = self.scaled(self.options.curriculum, self.options.curriculum_absolute)
        return (1 - math.cos(math.pi * min(epoch / epochs, 1.0))) / 2 if epochs > 0 else 1.0
