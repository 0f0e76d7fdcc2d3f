"""How the processes of one job find each other: children of the first, or tasks of a SLURM job."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from experiments.train.distributed import SINGLE, TIMEOUT, Broken, DistributedGroup, ProcessGroup
from experiments.worker.signals import QUEUE_PID
from results import records

RANK, ADDRESS = "KD_RANK", "KD_ADDRESS"  # environment of the lead's children
LOOK_SECONDS = 0.5


def meet(
    size: int, device: str, command: Sequence[str], folder: Path | None
) -> tuple[ProcessGroup, str]:
    """The group of this process and the name of its device; returns once all have come.

    command  starts another process of this job, where the lead has to
    folder   of a SLURM array, whose tasks find each other there; None elsewhere
    """
    if size == 1:
        return SINGLE, device
    rank, local = _place(folder)
    own = _device(device, local)
    if folder is None or int(os.environ.get("SLURM_STEP_NUM_NODES", 1)) == 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a node may not know its own name
    if rank == 0:
        store = dist.TCPStore("localhost", 0, size, True, TIMEOUT, wait_for_workers=False)
        if folder is None:
            _start_others(size, f"localhost:{store.port}", command)
        else:
            records.write_atomic(_meeting_point(folder), f"{socket.gethostname()}:{store.port}")
    else:
        store = _store(size, folder)
    return DistributedGroup(rank, size, store, torch.device(own)), own


def _place(folder: Path | None) -> tuple[int, int]:
    """Number of this process in the job, and on its machine."""
    if folder is not None:
        return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_LOCALID"])
    rank = int(os.environ.get(RANK, 0))
    return rank, rank


def _device(device: str, local: int) -> str:
    """Each process has a GPU for itself, whether it sees all of the machine's or only its own."""
    if device != "cuda":
        return device
    index = local % torch.cuda.device_count()
    torch.cuda.set_device(index)
    return f"cuda:{index}"


def _store(size: int, folder: Path | None) -> dist.TCPStore:
    address = os.environ[ADDRESS] if folder is None else _awaited(_meeting_point(folder))
    host, port = address.rsplit(":", maxsplit=1)
    return dist.TCPStore(host, int(port), size, False, TIMEOUT)


def _meeting_point(folder: Path) -> Path:
    """A file of this very start of this very task: a requeued one must not find the old address."""
    keys = ("SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return folder / ("address-" + "-".join(os.environ.get(key, "0") for key in keys))


def _awaited(path: Path) -> str:
    patience = time.monotonic() + TIMEOUT.total_seconds()
    while not path.exists():
        if time.monotonic() > patience:
            raise Broken(f"{path}: the first process of this job has not come")
        time.sleep(LOOK_SECONDS)
    return path.read_text()


def _start_others(size: int, address: str, command: Sequence[str]) -> None:
    """The other processes, which neither outlive this one nor leave it waiting for them."""
    for rank in range(1, size):
        own = {RANK: str(rank), ADDRESS: address, QUEUE_PID: str(os.getpid())}
        child = subprocess.Popen(
            command,
            env={**os.environ, **own},
            stdout=subprocess.DEVNULL,  # the lead reports
            start_new_session=True,  # Ctrl-C reaches the lead, which agrees with them on a stop
        )
        threading.Thread(target=_mourn, args=(child,), daemon=True).start()


def _mourn(child: subprocess.Popen[bytes]) -> None:
    """Without one process the job cannot go on: what was saved is there for the next start."""
    if child.wait() != 0:  # who is not the lead ends so whatever became of the runs
        os._exit(1)


def exit_with_parent() -> None:
    """In a child: end as soon as the lead is gone, even in the middle of waiting for it."""
    if RANK in os.environ:
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)
