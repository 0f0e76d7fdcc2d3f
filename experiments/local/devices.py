"""The devices of this machine, and how many workers share one."""

from __future__ import annotations

import math
import os
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


def slots(
    device: str,
    workers: int | None,
    threads: int,
    processes: int = 1,
    per_gpu: int = 1,
) -> list[str]:
    """One device name per concurrent job: every GPU, or the CPU ``cores // threads`` times.

    A job of several ``processes`` takes as many GPUs ("cuda:0,1"), or as many times ``threads``.
    ``per_gpu`` jobs share each of these; the first jobs get devices of their own. On a CPU they
    share the same cores, which gains nothing: it is there to try things out.
    Raises InputError if this machine has fewer GPUs than one job takes, and for several processes
    together with several jobs per GPU.
    """
    check_sharing(per_gpu, processes)
    if device == "cuda":
        count = torch.cuda.device_count()
        if count < processes:
            raise InputError(
                f"processes: {plural(processes, 'process', 'processes')} need as many GPUs, "
                f"but this machine has {count}"
            )
        groups = [range(i, i + processes) for i in range(0, count - processes + 1, processes)]
        names = ["cuda:" + ",".join(map(str, group)) for group in groups] * per_gpu
        return names[:workers] if workers else names
    return ["cpu"] * (workers or per_gpu * max(1, _cores() // (threads * processes)))


def check_sharing(per_gpu: int, processes: int) -> None:
    """Refuse to share a GPU among workers that need several: each process of a job takes one."""
    if per_gpu > 1 and processes > 1:
        raise InputError(
            f"--workers-per-gpu (slurm.workers_per_gpu): {per_gpu} with processes: {processes}: "
            f"one of them must be 1, since every process of a job takes a GPU of its own"
        )


def visible(device: str) -> str:
    """What CUDA_VISIBLE_DEVICES is for a process that sees only ``device`` ("cuda:0,1", "cpu")."""
    kind, _, indices = device.partition(":")
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    mine = indices.split(",") if kind == "cuda" else []
    return ",".join(given[int(index)] if given != [""] else index for index in mine)


def _cores() -> int:
    """The cores that this process may use; a container or a job may restrict them."""
    return cores.usable()
