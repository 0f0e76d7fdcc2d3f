"""The devices of this machine, and how many runs share one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from datasets import cores
from experiments.errors import InputError
from experiments.rundir.status import State, Status
from experiments.wording import plural


def default_size(statuses: Sequence[Status], slots: int) -> int | None:
    """The cohort size that keeps all slots busy: about two cohorts per slot; None for one slot."""
    todo = sum(s.state == State.TODO for s in statuses)
    return None if slots == 1 else max(1, math.ceil(todo / (2 * slots)))


def slots(device: str, workers: int | None, threads: int, processes: int = 1) -> list[str]:
    """One device name per concurrent job: every GPU, or the CPU ``cores // threads`` times.

    A job of several ``processes`` takes as many GPUs ("cuda:0,1"), or as many times ``threads``.
    Raises InputError if this machine has fewer GPUs than one job takes.
    """
    if device == "cuda":
        count = torch.cuda.device_count()
        if count < processes:
            raise InputError(
                f"processes: {plural(processes, 'process', 'processes')} need as many GPUs, "
                f"but this machine has {count}"
            )
        groups = [range(i, i + processes) for i in range(0, count - processes + 1, processes)]
        names = ["cuda:" + ",".join(map(str, group)) for group in groups]
        return names[:workers] if workers else names
    return ["cpu"] * (workers or max(1, _cores() // (threads * processes)))


def _cores() -> int:
    """The cores that this process may use; a container or a job may restrict them."""
    return cores.usable()
