"""Which devices this machine can train on at once."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch

from experiments.errors import InputError
from experiments.rundir.status import State, Status


def default_size(statuses: Sequence[Status], slots: int) -> int | None:
    """Cohorts as large as keeps all slots busy: about two per slot, unlimited for a single one."""
    todo = sum(s.state == State.TODO for s in statuses)
    return None if slots == 1 else max(1, math.ceil(todo / (2 * slots)))


def slots(device: str, workers: int | None, threads: int, processes: int = 1) -> list[str]:
    """One device name per job at a time: every GPU, or ``cores // threads`` times the CPU.

    A job of several ``processes`` takes as many GPUs ("cuda:0,1"), or so many times the threads.
    Raises InputError where this machine has fewer GPUs than one job takes.
    """
    if device == "cuda":
        count = torch.cuda.device_count()
        if count < processes:
            raise InputError(f"processes: {processes} need as many GPUs; this machine has {count}")
        groups = [range(i, i + processes) for i in range(0, count - processes + 1, processes)]
        found = ["cuda:" + ",".join(map(str, group)) for group in groups]
        return found[:workers] if workers else found
    return ["cpu"] * (workers or max(1, _cores() // (threads * processes)))


def _cores() -> int:
    """The cores this process may use, which a container or a job may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
