"""Kills and full disks, simulated within this process."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.rundir import claims
from experiments.train import trainer
from experiments.train.cohort import Cohort


class Killed(BaseException):
    """Stands in for SIGKILL: no handler catches it, and nothing is cleaned up."""


def kill_at(job: Cohort, update: int) -> None:
    """Train a cohort and kill it just before the n-th update of any of its members."""
    left = update
    step = torch.optim.SGD.step

    def bomb(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(torch.optim.SGD, "step", bomb)
        trainer.train(job)
    for spec in job.specs:  # their holder, this process, is still alive
        claims.remove_all(spec.directory(job.runs))


@contextlib.contextmanager
def full_disk(name: str, nth: int = 1, number: int = errno.ENOSPC) -> Iterator[None]:
    """From the n-th write of a file of this name on, no write succeeds."""
    sync, left = os.fsync, nth

    def refuse(descriptor: int) -> None:
        nonlocal left
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        left -= left > 0 and path.name.startswith(f".{name}.")
        if left == 0 and path.name.endswith(".tmp"):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        yield
