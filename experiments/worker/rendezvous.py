"""How the processes of one job meet: children of the main process, or tasks of a SLURM job.

They meet at a port of the main process, which strangers may reach: a host has other users, a
network other hosts. So nothing that arrives is unpickled, what the processes store is under names
derived from a random secret of the job, and each proves that it knows the secret before it takes
part. Whoever can connect while a group forms may still keep it from forming: the job then ends, and
its next start resumes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import json
import os
import secrets
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from experiments.train.distributed import SINGLE, TIMEOUT, Broken, DistributedGroup, ProcessGroup
from experiments.worker.signals import QUEUE_PID

RANK, MEETING = "KD_RANK", "KD_MEETING"  # environment of the main process's children
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
    is_local = folder is None or int(os.environ.get("SLURM_STEP_NUM_NODES", 1)) == 1
    if is_local:
        # Gloo would look up the host name, which may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if rank == 0:
        store, meeting = _opened(size, "127.0.0.1" if is_local else socket.gethostname())
        if folder is None:
            _start_others(size, meeting, command)
        else:
            meeting.write(_meeting_file(folder))
    else:
        meeting = Meeting(**json.loads(os.environ[MEETING])) if folder is None else _awaited(folder)
        place = (meeting.host, meeting.port)
        store = dist.TCPStore(*place, size, False, TIMEOUT, wait_for_workers=False)
    own_names = dist.PrefixStore(meeting.prefix, store)
    group = DistributedGroup(rank, size, own_names, torch.device(own), meeting.key)
    if rank == 0 and folder is not None:
        _meeting_file(folder).unlink(missing_ok=True)  # all have joined
    return group, own


@dataclass(frozen=True)
class Meeting:
    """Where the processes of a job meet, and the secret that they share, in hexadecimal."""

    host: str
    port: int
    secret: str

    @property
    def key(self) -> bytes:
        return bytes.fromhex(self.secret)

    @property
    def prefix(self) -> str:
        """Of the names in the store. A client of torch's can list them, so it is not the secret."""
        return hmac.digest(self.key, b"store", hashlib.sha256).hex()

    def write(self, path: Path) -> None:
        """Store it where only this user can read it."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(vars(self), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> Meeting:
        """The inverse. Raises Broken for a file that others may have written or read."""
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, encoding="utf-8") as file:
            found = os.fstat(handle)
            private = not found.st_mode & 0o077 and found.st_uid == os.getuid()
            if not (stat.S_ISREG(found.st_mode) and private):
                raise Broken(f"{path}: expected a file of this user that others cannot read")
            return cls(**json.load(file))


def _opened(size: int, host: str) -> tuple[dist.TCPStore, Meeting]:
    """A store that listens on one address only, and where to find it."""
    address = _own_address(host)
    listening = socket.create_server((address, 0))
    place = (address or host, listening.getsockname()[1])
    store = dist.TCPStore(
        *place, size, True, TIMEOUT, wait_for_workers=False, master_listen_fd=listening.detach()
    )
    return store, Meeting(*place, secrets.token_hex(32))


def _own_address(host: str) -> str:
    """The IPv4 address of this host, as gloo finds it: from its name.

    All addresses ("") where the name leads to the loopback interface, as in Debian's /etc/hosts:
    other nodes look it up elsewhere.
    """
    with contextlib.suppress(OSError):
        address = socket.gethostbyname(host)
        if host == address or not ipaddress.ip_address(address).is_loopback:
            return address
    return ""


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


def _meeting_file(folder: Path) -> Path:
    """A file for this start of this task: a requeued task must not find its old one."""
    keys = ("SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return folder / ("meeting-" + "-".join(os.environ.get(key, "0") for key in keys))


def _awaited(folder: Path) -> Meeting:
    """What the main process wrote, once it has."""
    path = _meeting_file(folder)
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while not os.path.lexists(path):
        if time.monotonic() > deadline:
            raise Broken(f"{path}: timed out waiting for the main process of this job")
        time.sleep(POLL_SECONDS)
    return Meeting.read(path)


def _start_others(size: int, meeting: Meeting, command: Sequence[str]) -> None:
    """Start the other processes. None of them outlives this one, nor this one any of them."""
    for rank in range(1, size):
        own = {RANK: str(rank), MEETING: json.dumps(vars(meeting)), QUEUE_PID: str(os.getpid())}
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
