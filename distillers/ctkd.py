"""Curriculum temperature: the temperature of soft labels is learned adversarially."""

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
from .spaces import LogUniform


@register(
    "ctkd",
    title="CTKD",
    paper="Li et al., AAAI 2023",
    arxiv="2211.16231",
    reference="Curriculum Temperature for Knowledge Distillation",
)
class CTKD(Wrapper):
    """Hinton's term (``kd``) at T = ``initial_temperature`` + ``temperature_range`` · sigmoid(θ).

    θ is a scalar, initially 1 (T = 15.6), trained with the student. Its gradient passes through
    both softmaxes and T² and is multiplied by −λ, so that T makes the task harder. λ rises from 0
    to 1 as (1 − cos(π e / E)) / 2 over the first E epochs e (from 1): ``curriculum`` epochs of 240,
    or ``curriculum_absolute`` if given. This is the global variant; the code of the variant with a
    temperature per sample is not public.

    DKD uses the same T, and its β becomes 2, as in the authors' CIFAR-100 runs. They have no
    ImageNet run with DKD; there β is DKD's own. With PKT, SP, VID, CRD and SRRL they weight
    cross-entropy by 0.1 and Hinton's term by 0.9; set ``ce`` and ``kd`` for that.
    """

    defaults = {
        "initial_temperature": 1.0,
        "temperature_range": 20.0,
        "curriculum": 10.0,
        "curriculum_absolute": None,
    }
    presets = {"imagenet": {"ce": 1.0, "kd": 1.0, "curriculum_absolute": 5.0}}
    optional = {"curriculum_absolute": float}
    search = {"initial_temperature": LogUniform(1, 4), "temperature_range": LogUniform(5, 40)}

    @classmethod
    def adapted(cls, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"beta": 2.0} if method == "dkd" else {}

    @classmethod
    def preset(cls, name: str, method: str) -> Mapping[str, Any]:
        if (name, method) == ("imagenet", "dkd"):  # DKD has its own KL terms, so kd stays 0
            return {"beta": 0.5, "curriculum_absolute": 5.0}
        return super().preset(name, method)

    @classmethod
    def ignores(cls, method: str) -> set[str]:
        return {"kd_temperature"} | ({"temperature"} if method == "dkd" else set())

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        super().setup(student, teacher, info)
        if not self.options.kd and self.name != "dkd":
            raise Unsupported(
                "ctkd needs Hinton's term, but kd is 0; expected ctkd+NAME+kd or ctkd+dkd"
            )
        self.theta = nn.Parameter(torch.ones(1))

    def temperature(self, fixed: float, epoch: int) -> Tensor:
        """T, a scalar tensor; its gradient is reversed before it reaches θ."""
        theta, options = self.theta[0], self.options
        # The value of θ with the gradient −λ: a gradient reversal layer without a Function.
        reversed_theta = theta.detach() - self._lambda(epoch) * (theta - theta.detach())
        return options.initial_temperature + options.temperature_range * reversed_theta.sigmoid()

    def _lambda(self, epoch: int) -> float:
        epochs = self.scaled(self.options.curriculum, self.options.curriculum_absolute)
        return (1 - math.cos(math.pi * min(epoch / epochs, 1.0))) / 2 if epochs > 0 else 1.0
