"""A development cluster of one's own to break, and what SLURM says there."""

from __future__ import annotations

import copy
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.slurm.accounts import COMMAND, TIMES, Start, starts

TOOL = Path(__file__).resolve().parents[2] / "tools/slurm_dev.sh"
PROGRAMS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
QUEUE = ("squeue", "-h", "-r", "-o", "%F|%K|%A|%T|%j|%N|%R")
PORTS = range(20_000, 32_000, 40)  # first ones of blocks; below those for clients
PATIENCE = 120.0  # seconds for SLURM's commands while its controller is away


class FaultError(RuntimeError):
    """A fault could not be injected, or waiting for its consequences took too long."""


@dataclass(frozen=True)
class Task:
    """An array task in the queue; ``job`` is its own job id once it has started."""

    array: str
    index: str
    job: str
    state: str
    name: str
    node: str
    reason: str

    @property
    def is_stuck(self) -> bool:
        """Held by SLURM after a node failed to start it."""
        return self.state == "PENDING" and "requeued held" in self.reason

    @property
    def is_behind(self) -> bool:
        """Waiting for another job."""
        return self.state == "PENDING" and "Dependency" in self.reason

    @property
    def id(self) -> str:
        return f"{self.array}_{self.index}"

    @property
    def is_running(self) -> bool:
        return self.state == "RUNNING"


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"{absent[0]} is not installed: tools/slurm_dev.sh install"
    return None if os.geteuid() == 0 else "a development cluster needs root"


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def version() -> str:
    """ "slurm-wlm 22.05.8"."""
    program = shutil.which("slurmctld", path=_path())
    return subprocess.run(
        [program or "slurmctld", "-V"], capture_output=True, text=True
    ).stdout.strip()


def wait_until(
    condition: Callable[[], bool], seconds: float, what: str, every: float = 0.5
) -> None:
    """Raise FaultError where it does not come true in time."""
    patience = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > patience:
            raise FaultError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(every)


@dataclass(frozen=True)
class DevCluster:
    """A cluster of tools/slurm_dev.sh in a directory and on ports of its own."""

    folder: Path
    port: int
    clusters: int = 1  # on the same accounts; the second one is dev2
    env: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        own = {"SLURM_DEV_DIR": str(self.folder), "SLURM_DEV_PORT": str(self.port)}
        own["SLURM_DEV_CLUSTERS"] = str(self.clusters)
        conf = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        object.__setattr__(self, "env", {**os.environ, **own, **conf})

    @property
    def second(self) -> DevCluster:
        """The cluster dev2 beside this one: the same, asked of its own controller."""
        other = copy.copy(self)
        conf = {"SLURM_CONF": str(self.folder / "dev2" / "slurm.conf")}
        object.__setattr__(other, "env", {**self.env, **conf})
        return other

    def tool(self, *words: str) -> None:
        """tools/slurm_dev.sh; raises FaultError with its last line."""
        done = self._run(str(TOOL), *words)
        if done.returncode:
            raise FaultError(f"slurm_dev.sh {' '.join(words)}: {done.stderr.strip()[-300:]}")

    def call(self, *command: str) -> str:
        """What a command of SLURM prints, asked again while the controller does not answer."""
        patience = time.monotonic() + PATIENCE
        while (done := self._run(*command)).returncode:
            if time.monotonic() > patience:
                raise FaultError(f"{' '.join(command)}: {done.stderr.strip()}")
            time.sleep(1.0)
        return done.stdout

    def once(self, *command: str) -> bool:
        """Whether a command succeeds: the task it is about may just have ended."""
        return self._run(*command).returncode == 0

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=300)

    def restart_controller(self) -> None:
        """SIGKILL and a new one. An administrator's part is done, too: what SLURM of that time had
        not saved yet makes it start jobs a second time, and it drains a node that refuses."""
        self.tool("restart-controller")
        time.sleep(10.0)
        self.mend()

    def mend(self) -> None:
        """Drained nodes back into service."""
        for line in self.call("sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T").splitlines():
            node, state = line.split()
            if state.startswith("drain"):
                self.once("scontrol", "update", f"nodename={node}", "state=resume")

    # ---- the queue -----------------------------------------------------------------------------

    def tasks(self, prefix: str) -> list[Task]:
        """What is in the queue of jobs whose name begins like this."""
        return _tasks(self.call(*QUEUE), prefix)

    def glance(self, prefix: str) -> list[Task] | None:
        """As `tasks`, asked once; None where the controller does not answer."""
        done = self._run(*QUEUE)
        return None if done.returncode else _tasks(done.stdout, prefix)

    def is_forgotten(self, array: str) -> bool:
        """Whether the controller has purged an array that has ended."""
        done = self._run("scontrol", "show", "job", array)
        return "Invalid job id" in done.stderr

    def accounts(self, prefix: str) -> str:
        """sacct's lines of jobs whose name begins like this."""
        columns = "--format=JobID,JobName%-40,State%-20,ExitCode,NodeList,Start,End"
        since = ("--starttime", "now-6hours", "--duplicates")
        lines = self._run("sacct", "-X", "-n", *since, columns).stdout.splitlines()
        return "\n".join(line for line in lines if prefix in line)

    def starts(self, prefix: str) -> list[Start]:
        """Every start of the tasks of jobs whose name begins like this, by the accounts."""
        times = (f"{name}={value}" for name, value in TIMES.items())
        return starts(self.call("env", *times, *COMMAND), prefix)

    def kill_python(self, task: Task) -> bool:
        """SIGKILL to the worker of an array task; False if it has none (yet, or any more)."""
        return self.signal_python(task, signal.SIGKILL)

    def signal_python(self, task: Task, number: signal.Signals) -> bool:
        """A signal to the worker of an array task, which SLURM knows nothing of."""
        pids = self.workers(task)
        for pid in pids:
            os.kill(pid, number)
        return bool(pids)

    def stop_controller(self) -> None:
        """SIGKILL; `restart_controller` brings it back."""
        for process in processes({f"SLURM_DEV_DAEMON={self.folder}:slurmctld"}):
            if process.words[0] == "slurmctld":
                os.kill(process.pid, signal.SIGKILL)

    def kill_slurmd(self, node: str) -> None:
        """SIGKILL to the daemon of a node; what it has started lives on."""
        for process in processes({f"SLURM_DEV_DAEMON={self.folder}:{node}"}):
            if process.words[0] == "slurmd":
                os.kill(process.pid, signal.SIGKILL)

    def workers(self, task: Task) -> list[int]:
        """The processes of an array task's Python, of all nodes."""
        mine = {f"SLURM_JOB_ID={task.job}", f"SLURM_CONF={self.env['SLURM_CONF']}"}
        found = [p for p in processes(mine) if "python" in p.words[0] and "work" in p.words]
        return [process.pid for process in found]


@dataclass(frozen=True)
class Process:
    """A live process: its number, command line and environment."""

    pid: int
    words: list[str]
    environ: dict[str, str]

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped by a signal; also true of one that has ended."""
        try:
            status = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return True
        return status.rpartition(")")[2].split()[0] in "TZX"


def processes(environ: set[str]) -> Iterator[Process]:
    """Every process with these "NAME=VALUE" in its environment."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            lines = (place / "environ").read_bytes().decode(errors="replace").split("\0")
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if environ <= set(lines):
            pairs = (line.partition("=") for line in lines)
            known = {name: value for name, equals, value in pairs if equals}
            yield Process(int(place.name), words, known)


def _tasks(table: str, prefix: str) -> list[Task]:
    found = [Task(*line.split("|", 6)) for line in table.splitlines()]
    return [task for task in found if task.name.startswith(prefix)]


_given: set[int] = set()  # to clusters of this process, which may not listen yet
_giving = threading.Lock()


def _free_port() -> int:
    """The first of a block of ports where nothing listens; tests start clusters side by side."""
    with _giving:
        for port in random.sample(PORTS, len(PORTS)):
            if port not in _given and not any(map(_listens, (port, port + 1, port + 11))):
                _given.add(port)
                return port
    raise FaultError(f"no free ports from {PORTS.start} to {PORTS.stop}")


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(clusters: int = 1) -> Iterator[DevCluster]:
    """New clusters in a directory and on ports of their own, there for as long as this lasts."""
    folder = Path(tempfile.mkdtemp(prefix="kd-slurm-", dir="/tmp"))  # short: sockets are in it
    cluster = DevCluster(folder, _free_port(), clusters)
    try:
        cluster.tool("start")
        yield cluster
    finally:
        cluster.tool("stop", "--purge")
        shutil.rmtree(folder, ignore_errors=True)
