"""How the processes of one job meet: children of the main process, or tasks of a SLURM job."""

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

RANK, ADDRESS = "KD_RANK", "KD_ADDRESS"  # environment of the main process's children
POLL_SECONDS = 0.5


def meet(
    size: int, device: str, command: Sequence[str], folder: Path | None
) -> tuple[ProcessGroup, str]:
    """Join the processes of a job; returns their group and the device of this process.

    command  starts another process of this job, if the main process has to
    folder   of a SLURM array, where its tasks exchange an address; None outside SLURM

    Raises Broken if the main process does not appear within TIMEOUT.
    """
    if size == 1:
        return SINGLE, device
    rank, local = _place(folder)
    own = _device(device, local)
    if folder is None or int(os.environ.get("SLURM_STEP_NUM_NODES", 1)) == 1:
        # On one node. Gloo would look up the host name, which may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if rank == 0:
        store = dist.TCPStore("localhost", 0, size, True, TIMEOUT, wait_for_workers=False)
        if folder is None:
            _start_others(size, f"localhost:{store.port}", command)
        else:
            records.write_atomic(_address_file(folder), f"{socket.gethostname()}:{store.port}")
    else:
        address = os.environ[ADDRESS] if folder is None else _wait_for(_address_file(folder))
        host, port = address.rsplit(":", maxsplit=1)
        store = dist.TCPStore(host, int(port), size, False, TIMEOUT)
    return DistributedGroup(rank, size, store, torch.device(own)), own


def _place(folder: Path | None) -> tuple[int, int]:
    """Rank of this process in the job, and on its machine."""
    if folder is not None:
        return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_LOCALID"])
    rank = int(os.environ.get(RANK, 0))
    return rank, rank


def _device(device: str, local: int) -> str:
    """One GPU per process, whether the process sees all GPUs of the machine or only its own."""
    if device != "cuda":
        return device
    index = local % torch.cuda.device_count()
    torch.cuda.set_device(index)
    return f"cuda:{index}"


def _address_file(folder: Path) -> Path:
    """A file for this start of this task: a requeued task must not find its old address."""
    keys = ("SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return folder / ("address-" + "-".join(os.environ.get(key, "0") for key in keys))


def _wait_for(path: Path) -> str:
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while not path.exists():
        if time.monotonic() > deadline:
            raise Broken(f"{path}: timed out waiting for the main process of this job")
        time.sleep(POLL_SECONDS)
    return path.read_text(encoding="utf-8")


def _start_others(size: int, address: str, command: Sequence[str]) -> None:
    """Start the other processes. None of them outlives this one, nor this one any of them."""
    for rank in range(1, size):
        own = {RANK: str(rank), ADDRESS: address, QUEUE_PID: str(os.getpid())}
        child = subprocess.Popen(
            command,
            env={**os.environ, **own},
            stdout=subprocess.DEVNULL,  # the main process reports
            # Ctrl-C is for the main process, which then agrees with them on where to stop.
            start_new_session=True,
        )
        threading.Thread(target=_exit_if_child_fails, args=(child,), daemon=True).start()


def _exit_if_child_fails(child: subprocess.Popen[bytes]) -> None:
    """End the job: the others would wait for the child. The next start resumes the last save."""
    if child.wait() != 0:  # a child returns 0 even if runs fail: so it crashed
        os._exit(1)  # this is a thread: sys.exit would end no more than that


def exit_with_parent() -> None:
    """In a child: end once the main process is gone, even while waiting for it."""
    if RANK in os.environ:
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
