"""Train a tiny cohort, and kill this process (SIGKILL) at the n-th moment of a kind.

    python -m tests.experiments.kill_driver RUNS KIND N

KIND: step (between backward and update), checkpoint-temp (the new file is written, but not renamed
yet), checkpoint (just renamed), starts (the log of starts is just renamed), evaluation,
result-before / result-after its publication, none. On a disk without hard links: undecided /
decided (before and after the result's decision, see `results.exclusive`).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.rundir import start_log
from experiments.rundir.layout import CHECKPOINT
from experiments.rundir.outcome import Outcome
from experiments.train import networks, trainer
from tests.experiments import tiny

COHORT = ("vanilla", "kd", "crd", "gk_dfd")


class Bomb:
    """Goes off at its n-th trigger."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def before(function: Callable[..., Any], bomb: Bomb, when: Callable[..., bool]) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when(*args):
            bomb()
        return function(*args, **kwargs)

    return wrapped


def after(function: Callable[..., Any], bomb: Bomb, when: Callable[..., bool]) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        if when(*args):
            bomb()
        return value

    return wrapped


def arm(kind: str, bomb: Bomb) -> None:
    always = lambda *args: True  # noqa: E731
    if kind == "step":
        torch.optim.SGD.step = before(torch.optim.SGD.step, bomb, always)
    elif kind == "checkpoint-temp":
        os.replace = before(os.replace, bomb, lambda a, b: Path(b).name == CHECKPOINT)
    elif kind == "checkpoint":
        os.replace = after(os.replace, bomb, lambda a, b: Path(b).name == CHECKPOINT)
    elif kind == "starts":
        os.replace = after(os.replace, bomb, lambda a, b: Path(b).name == start_log.FILE)
    elif kind == "evaluation":
        networks._scores = before(networks._scores, bomb, always)
    elif kind == "result-before":
        os.link = before(os.link, bomb, always)
    elif kind == "result-after":
        os.link = after(os.link, bomb, always)
    elif kind in ("undecided", "decided"):
        os.link = no_link
        is_decision = lambda a, b: str(b).endswith(".decided")  # noqa: E731
        os.rename = (before if kind == "undecided" else after)(os.rename, bomb, is_decision)


def no_link(source: Path, target: Path) -> None:
    """What a file system without hard links answers."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))


if __name__ == "__main__":
    runs, kind, n = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    arm(kind, Bomb(n))
    job = tiny.cohort(runs, COHORT)
    states = trainer.train(job)
    sys.exit(0 if set(states.values()) == {Outcome.DONE} else 1)
