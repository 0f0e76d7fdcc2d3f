"""Running a matrix on this machine: a queue of jobs, a worker process per GPU or group of cores."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch

from . import census, cohorts, worker
from .census import Status
from .progress import Progress
from .spec import RunSpec
from .teachers import weights_of
from .worker import Job

DEATHS_ALLOWED = 2  # of one job's workers; then its runs are reported as lost


@dataclass
class Task:
    """A job of the queue. ``after`` is the id of the teacher's run that must be done before it."""

    job: Job
    after: str | None = None
    deaths: int = 0


def tasks(
    statuses: Sequence[Status], template: Job, teacher_files: dict[str, Path], size: int | None
) -> list[Task]:
    """The jobs of all runs that are to do: teachers first, then cohorts of at most ``size`` runs.

    ``template`` carries what all jobs have in common; ``teacher_files`` the given teachers' weights
    by the teacher's name.
    """
    wanted = {s.spec.teacher.run for s in statuses if s.spec.teacher and s.spec.teacher.run}
    made = [s for s in statuses if s.spec.id in wanted]
    first = [Task(replace(template, specs=(s.spec,))) for s in made if s.state == census.TODO]
    directories = {s.spec.id: s.spec.directory(template.runs) for s in made}
    rest = [s for s in statuses if s.state == census.TODO and s.spec.id not in wanted]
    later = []
    for group in cohorts.cohorts(rest, size):
        specs = tuple(status.spec for status in group)
        teacher = next((spec.teacher for spec in specs if spec.teacher), None)
        weights, after = None, None
        if teacher and teacher.run:
            weights, after = weights_of(directories[teacher.run]), teacher.run
        elif teacher:
            weights = teacher_files[teacher.name]
        later.append(Task(replace(template, specs=specs, teacher=weights), after))
    return first + later


def default_size(statuses: Sequence[Status], slots: int) -> int | None:
    """Cohorts as large as keeps all slots busy: about two per slot, unlimited for a single one."""
    todo = sum(s.state == census.TODO for s in statuses)
    return None if slots == 1 else max(1, math.ceil(todo / (2 * slots)))


def slots(device: str, workers: int | None, threads: int) -> list[str]:
    """One device name per worker: all GPUs, or ``cores // threads`` times the CPU."""
    if device == "cuda":
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        return found[:workers] if workers else found
    return ["cpu"] * (workers or max(1, _cores() // threads))


def _cores() -> int:
    """The cores this process may use, which a container or a job may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(waiting: list[Task], devices: list[str], progress: Progress) -> bool:
    """Work the queue off. Ctrl-C or SIGTERM lets every worker save; then the answer is False."""
    return _Queue(waiting, devices, progress).run()


class _Queue:
    def __init__(self, waiting: list[Task], devices: list[str], progress: Progress) -> None:
        self.waiting, self.free, self.progress = waiting, list(devices), progress
        self.running: dict[int, tuple[Task, str, subprocess.Popen[str], Path]] = {}
        self.events: queue.Queue[tuple[int, dict[str, Any] | int]] = queue.Queue()
        self.states: dict[str, str] = {}  # run id -> how it ended
        self.specs = {spec.id: spec for task in waiting for spec in task.job.specs}
        self.stops = 0

    def run(self) -> bool:
        with _signals(self._stop), tempfile.TemporaryDirectory(prefix="kd-jobs-") as folder:
            self._start_ready(Path(folder))
            while self.running:
                try:
                    pid, event = self.events.get(timeout=1.0)
                except queue.Empty:
                    continue
                if isinstance(event, dict):
                    self._report(event)
                else:
                    self._ended(pid, event)
                    self._start_ready(Path(folder))
        return self.stops == 0

    def _start_ready(self, folder: Path) -> None:
        """Give every free device the first job whose teacher is there."""
        for task in list(self.waiting):
            if self.stops or not self.free:
                return
            if task.after in self.specs and task.after not in self.states:
                continue  # its teacher is still to come
            self.waiting.remove(task)
            if self.states.get(task.after or "", "done") != "done":
                self._block(task)
                continue
            self._start(task, self.free.pop(0), folder)

    def _block(self, task: Task) -> None:
        for spec in task.job.specs:
            self._settle(spec, worker.BLOCKED, f"its teacher (run {task.after}) is not there")

    def _start(self, task: Task, device: str, folder: Path) -> None:
        path = folder / f"{len(self.states)}-{id(task)}.json"
        replace(task.job, device=device.partition(":")[0]).write(path)
        process = subprocess.Popen(
            worker.command(path, as_json=True),
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(device),
            start_new_session=True,  # Ctrl-C reaches this process only, which then asks them
        )
        self.running[process.pid] = (task, device, process, path)
        assert process.stdout is not None
        listener = (process.pid, process.stdout, process)
        threading.Thread(target=self._listen, args=listener, daemon=True).start()

    def _listen(self, pid: int, lines: IO[str], process: subprocess.Popen[str]) -> None:
        for line in lines:
            self.events.put((pid, _event(line)))
        self.events.put((pid, process.wait()))

    def _report(self, event: dict[str, Any]) -> None:
        if "note" in event:
            self.progress.note(event["note"])
            return
        spec = self.specs[event.pop("run")]
        if "state" not in event:
            self.progress.epoch(spec, event)
            return
        self.states[spec.id] = event["state"]
        self.progress.ended(spec, event["state"], worker.describe(spec, event))

    def _ended(self, pid: int, code: int) -> None:
        task, device, _, _ = self.running.pop(pid)
        self.free.append(device)
        left = [spec for spec in task.job.specs if spec.id not in self.states]
        if not left or self.stops:
            return
        if task.deaths + 1 < DEATHS_ALLOWED:  # what it saved is there: another worker goes on
            self.waiting.insert(0, replace(task, deaths=task.deaths + 1))
            return
        for spec in left:
            self._settle(spec, "lost", f"its worker died ({_death(code)}); give the command again")

    def _settle(self, spec: RunSpec, state: str, error: str) -> None:
        self.states[spec.id] = state
        self.progress.ended(spec, state, f"{spec}: {state}: {error}")

    def _stop(self, number: int, frame: Any) -> None:
        """First: everybody saves. Second: now (what was saved is safe)."""
        self.stops += 1
        order = signal.SIGTERM if self.stops == 1 else signal.SIGKILL
        if self.stops == 1:
            self.progress.note("stopping after the current step, everything is saved …")
        for _, _, process, _ in self.running.values():
            process.send_signal(order)


def _event(line: str) -> dict[str, Any]:
    """A worker's report; anything else it prints (a plugin may) is shown as it is."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "run" in event else {"note": line.rstrip()}


def _death(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment(device: str) -> dict[str, str]:
    """A worker sees its own GPU only; cuBLAS gets the workspace that ``deterministic`` asks for.

    Threads that wait soon give up their core: with libgomp's default of spinning, one other busy
    process made a step on two threads ten times slower (measured; 10000 costs little when alone).
    """
    kind, _, index = device.partition(":")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    own = "" if kind != "cuda" else visible[int(index)] if visible != [""] else index
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": own,
        "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000"),
    }


@contextlib.contextmanager
def _signals(handler: Any) -> Iterator[None]:
    """SIGINT and SIGTERM go to ``handler`` inside."""
    names = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, handler) for name in names]
    try:
        yield
    finally:
        for name, old in zip(names, before, strict=True):
            signal.signal(name, old)
