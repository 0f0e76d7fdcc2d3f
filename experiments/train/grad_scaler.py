"""Gradients between the backward pass and the update: averaged, clipped, unscaled."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from experiments.train.distributed import ProcessGroup


class Scaler(torch.amp.GradScaler):
    """torch's gradient scaler, which also averages over processes and clips the norm.

    All of it is here because every method's `step` calls the scaler, whatever its optimiser.
    """

    def __init__(
        self, device: torch.device, half: bool, group: ProcessGroup, clip_norm: float
    ) -> None:
        super().__init__(device.type, enabled=half)
        self.group, self.clip_norm = group, clip_norm
        self.used = False

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> float | None:
        """Update the parameters; skipped if scaled gradients overflowed in any process."""
        self.used = True
        self.group.average_gradients(optimizer)
        if self.clip_norm:
            self.unscale_(optimizer)
            params = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(params, self.clip_norm)
        return super().step(optimizer, *args, **kwargs)

    def check_used(self, method: str) -> None:
        """Raise RuntimeError if a method's own `step` bypassed this scaler and the run needs it."""
        if not self.used and (self.clip_norm or self.group.size > 1):
            raise RuntimeError(
                f"{method}: its step() never calls scaler.step(optimizer), which averages "
                f"gradients over processes and limits them to clip_norm"
            )
