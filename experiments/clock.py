"""Who spent which part of a cohort's time."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch

from .learner import Learner


class Clock:
    """Shares the time that no learner spent alone (batches, teacher, waiting) among all present."""

    def __init__(self, learners: Iterable[Learner], device: torch.device) -> None:
        self.learners = list(learners)
        self.device = device
        self._restart()

    def _restart(self) -> None:
        self.start = time.perf_counter()
        self.own = sum(learner.seconds for learner in self.learners)

    def settle(self) -> None:
        """Wait for the device once, then divide what is left of the wall time evenly."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        spent = sum(learner.seconds for learner in self.learners) - self.own
        shared = time.perf_counter() - self.start - spent
        for learner in self.learners:
            learner.seconds += max(shared, 0.0) / len(self.learners)
        self._restart()
