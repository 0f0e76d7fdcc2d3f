"""The training recipe: optimiser, schedule and numerics, as plain data.

The defaults are RepDistiller's for CIFAR-100 (240 epochs of SGD, batch 64, lr 0.05 × 0.1 at
150/180/210, weight decay 5e-4 on everything).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

SWITCHES = ("channels_last", "compile", "tf32", "deterministic")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Recipe(BaseModel):
    """How one run is trained. A field enters the run's identity where it is not at its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    version: ClassVar[int] = 1  # raised when the same recipe gives other numbers

    epochs: int = Field(240, ge=1)
    batch_size: int = Field(64, ge=1)
    lr: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["step", "cosine"] = "step"
    # step: the rate drops after these epochs (strict=False: YAML has lists only)
    milestones: tuple[int, ...] = Field((150, 180, 210), strict=False)
    gamma: float = Field(0.1, gt=0)
    warmup_epochs: int = Field(0, ge=0)  # linear, from zero
    eval_every: int = Field(1, ge=1)  # epochs between two test evaluations; the last always is one
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    tf32: bool = False
    deterministic: bool = False  # refuse CUDA kernels whose sums depend on timing
    threads: int = Field(1, ge=1)  # of one run on a CPU

    @model_validator(mode="after")
    def _schedule_fits(self) -> Recipe:
        """A milestone past the last epoch would silently train at one rate, …"""
        late = [m for m in self.milestones if m >= self.epochs]
        if self.schedule == "step" and late:
            raise ValueError(
                f"milestones {late} lie at or past the last epoch ({self.epochs}); "
                f"give milestones that fit, [] for none, or schedule: cosine"
            )
        if list(self.milestones) != sorted({m for m in self.milestones if m > 0}):
            raise ValueError(f"milestones {list(self.milestones)}: expected rising epochs from 1")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs}: expected less than epochs")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0")
        return self

    def rate(self, epoch: int, step: int, steps: int, base: float | None = None) -> float:
        """The learning rate at ``step`` (from 0) of ``epoch`` (from 1).

        step: base · gamma^#{m in milestones: epoch > m}. cosine: from base to zero, step by step.
        ``steps`` is the number of steps per epoch; ``base`` replaces the recipe's own rate.
        """
        base = self.lr if base is None else base
        done = epoch - 1 + step / steps
        if done < self.warmup_epochs:
            return base * (done + 1 / steps) / self.warmup_epochs
        if self.schedule == "step":
            return base * self.gamma ** sum(epoch > m for m in self.milestones)
        progress = (done - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        return base * (1 + math.cos(math.pi * progress)) / 2

    def optimizer(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """SGD over ``params``, weight decay on all of them as in the references."""
        return torch.optim.SGD(
            params,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )

    @property
    def dtype(self) -> torch.dtype:
        """What the networks compute in; parameters and losses stay float32."""
        return PRECISIONS[self.precision]

    def summary(self) -> str:
        """One line for a table's caption."""
        rate = f"lr {self.lr:g} cosine to 0"
        if self.schedule == "step":
            drops = "/".join(map(str, self.milestones))
            rate = f"lr {self.lr:g}" + (
                f" × {self.gamma:g} after {drops}" if drops else " constant"
            )
        parts = [
            f"{self.epochs} epochs",
            f"batch {self.batch_size}",
            f"SGD{' Nesterov' if self.nesterov else ''} {self.momentum:g}",
            rate,
            *([f"{self.warmup_epochs} warm-up"] if self.warmup_epochs else []),
            f"weight decay {self.weight_decay:g}",
            self.precision,
            *(name for name in SWITCHES if getattr(self, name)),
            *([f"{self.threads} threads"] if self.threads > 1 else []),
        ]
        return ", ".join(parts)


@functools.lru_cache(maxsize=2**10)  # a matrix has few recipes, and a run's id asks for its own
def differences(recipe: Recipe) -> dict[str, Any]:
    """The fields that are not at their default: what a run's id sees of its recipe."""
    standard = Recipe().model_dump(mode="json")
    return {k: v for k, v in recipe.model_dump(mode="json").items() if v != standard[k]}
