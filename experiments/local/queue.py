"""Run a list of jobs on this machine: one worker process per slot, a device or a share of one."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

from datasets.loaders import SHARED_BY
from experiments.local import mps
from experiments.local.devices import visible
from experiments.matrix.run_spec import RunSpec
from experiments.plan.jobs import Task
from experiments.rundir import blocked, start_log
from experiments.rundir.outcome import Outcome
from experiments.train.memory import WORKERS_PER_GPU
from experiments.worker import choosing, plugins
from experiments.worker.job import REFUSED, Job, command
from experiments.worker.signals import QUEUE_PID

DEATHS_ALLOWED = 2  # of one job's workers; then its runs are reported as lost


class Reporter(Protocol):
    """Who is told what happens; `Progress` is one."""

    def epoch(self, spec: RunSpec, row: dict[str, Any]) -> None: ...
    def ended(self, spec: RunSpec, event: Mapping[str, Any]) -> None: ...
    def note(self, line: str) -> None: ...
    def tick(self) -> None: ...


class LocalQueue:
    """Runs tasks; `run` returns when all have ended, or after a stop request.

    devices  one name per worker that may run at once; several workers may share a device
    more     what the environment of a device's workers has in addition, by device (`mps`)
    """

    # What asks it to stop. SIGHUP: the terminal is gone.
    SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(
        self,
        waiting: Sequence[Task],
        devices: Sequence[str],
        progress: Reporter,
        more: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.waiting, self.free, self.progress = list(waiting), list(devices), progress
        self.devices, self.more = list(devices), more or {}
        self.together = min(len(self.devices), len(self.waiting))  # workers at once
        self.running: dict[int, tuple[Task, str, subprocess.Popen[str]]] = {}
        self.events: queue.Queue[tuple[int, dict[str, Any] | int]] = queue.Queue()
        self.states: dict[str, str] = {}  # run id -> how it ended
        # By the ids that they were planned with, in a job of SLURM perhaps by other code.
        self.specs = {task.job.id_of(spec): spec for task in waiting for spec in task.job.specs}
        self.stops = self.stops_passed_on = 0
        self.started = 0

    def run(self) -> bool:
        """Run all tasks. Returns False if a signal stopped it; every worker has then saved."""
        with (
            handling(self._count_stop, self.SIGNALS),
            tempfile.TemporaryDirectory(prefix="kd-jobs-") as folder,
        ):
            self._start_ready(Path(folder))
            while self.running:
                self._pass_stops_on()
                try:
                    pid, event = self.events.get(timeout=1.0)
                except queue.Empty:
                    self.progress.tick()
                    continue
                if isinstance(event, dict):
                    self._report(pid, event)
                else:
                    self._ended(pid, event)
                    self._start_ready(Path(folder))
        return self.stops == 0

    # ---- starting ------------------------------------------------------------------------------

    def _start_ready(self, folder: Path) -> None:
        """Give every free device the first job that need not wait for a run of this queue."""
        while not self.stops and self.free:
            task = next((t for t in self.waiting if not self._is_early(t)), None)
            if task is None:
                return
            self.waiting.remove(task)
            if missing := self._missing(task):
                self._block(task, missing)
                continue
            task = self._settled(task)
            if task.job.specs:
                self._start(task, self._idlest(), folder)

    def _idlest(self) -> str:
        """Take the free slot whose device has the fewest workers now."""
        busy = Counter(device for _, device, _ in self.running.values())
        chosen = min(self.free, key=lambda device: busy[device])
        self.free.remove(chosen)
        return chosen

    def _is_early(self, task: Task) -> bool:
        """Whether a run that it waits for has not ended yet."""
        awaited = (run for runs in (task.after, task.after_end) for run in runs)
        return any(run in self.specs and run not in self.states for run in awaited)

    def _missing(self, task: Task) -> str | None:
        """The first run that must be done for it, and has ended otherwise."""
        ends = ((run, self.states.get(run, Outcome.DONE)) for run in task.after)
        return next((run for run, state in ends if state != Outcome.DONE), None)

    def _block(self, task: Task, missing: str) -> None:
        """Block the students of a missing teacher; runs without a teacher are queued separately."""
        alone = tuple(spec for spec in task.job.specs if not spec.teacher)
        if alone:
            job = task.job.only(alone).taught_by(())
            self.waiting.insert(0, replace(task, job=job, after=()))
        for spec in task.job.specs:
            if spec.teacher:
                reason = f"its teacher (run {missing}): {self.states[missing]}"
                self._settle(task.job, spec, Outcome.BLOCKED, reason)

    def _settled(self, task: Task) -> Task:
        """The task with the runs that its placeholders stand for; without a choice: blocked."""
        if not task.job.choices:
            return task
        plugins.load(task.job.plugins)  # in a job of SLURM nobody has yet
        found = choosing.settled(task.job, choosing.chosen(task.job))
        for spec, reason in found.refused:
            blocked.store(task.job.directory(spec), reason)
            self._settle(task.job, spec, Outcome.BLOCKED, reason)
        own = [run for run in found.stood_for if run in self.specs]  # they are queued themselves
        for run, placeholder in found.stood_for.items():
            del self.specs[task.job.id_of(placeholder)]
            if run in own:
                end = {"state": self.states.get(run, Outcome.HELD), "error": f"it is run {run}"}
                self.progress.ended(placeholder, end)
            else:
                self.specs[run] = placeholder
        rest = [spec for spec in found.job.specs if found.job.id_of(spec) not in own]
        return replace(task, job=found.job.only(rest))

    def _start(self, task: Task, device: str, folder: Path) -> None:
        self.started += 1
        path = folder / f"{self.started}.json"
        replace(task.job, device=device.partition(":")[0]).write(path)
        process = subprocess.Popen(
            command(path, as_json=True),
            stdout=subprocess.PIPE,
            stderr=self._stderr(),
            encoding="utf-8",
            errors="replace",  # a plugin, or a library it uses, may print anything
            env=self._environment(device),
            # Ctrl-C then reaches only this process, which asks the workers to stop.
            start_new_session=True,
        )
        self.running[process.pid] = (task, device, process)
        assert process.stdout is not None
        listener = (process.pid, process.stdout, process)
        threading.Thread(target=self._listen, args=listener, daemon=True).start()

    def _stderr(self) -> int | None:
        """Where a worker's errors go: to this process's own."""
        return None

    def _environment(self, device: str) -> dict[str, str]:
        """A worker's environment: what all have, and how many it shares its GPU and cores with."""
        shared = {WORKERS_PER_GPU: str(self.devices.count(device))} if device != "cpu" else {}
        shared[SHARED_BY] = str(self.together)
        return {**_environment(device), **shared, **self.more.get(device, {})}

    def _listen(self, pid: int, lines: IO[str], process: subprocess.Popen[str]) -> None:
        try:
            for line in filter(str.strip, lines):
                self.events.put((pid, _event(line)))
        finally:
            self.events.put((pid, process.wait()))

    # ---- workers' reports ----------------------------------------------------------------------

    def _report(self, pid: int, event: dict[str, Any]) -> None:
        run = event.pop("run", "")
        spec = self.specs.get(run)
        if spec is None:
            self._note(self.running[pid][0], str(event.get("note", event)))
        elif "state" not in event:
            self.progress.epoch(spec, event)
        else:
            self.states[run] = event["state"]
            self.progress.ended(spec, event)

    def _note(self, task: Task, line: str) -> None:
        """Pass on what a task's worker printed."""
        self.progress.note(line)

    def _ended(self, pid: int, code: int) -> None:
        """A worker has ended. Its unfinished runs get another worker, then one worker each."""
        task, device, _ = self.running.pop(pid)
        self.free.append(device)
        left = tuple(s for s in task.job.specs if task.job.id_of(s) not in self.states)
        if not left or self.stops:
            return
        again = task.job.only(left)  # without the runs that have ended
        if code == REFUSED:  # the worker has printed why
            for spec in left:
                self._settle(again, spec, "not run", "its job was refused; repeat the command")
        elif len(left) > 1 and (task.deaths + 1 >= DEATHS_ALLOWED or _without_progress(again)):
            # One worker each shows which run is the cause, and lets the others finish.
            alone = [task.job.only((spec,)) for spec in left]
            self.waiting[:0] = [replace(task, job=job) for job in alone]
        elif task.deaths + 1 < DEATHS_ALLOWED:
            self.waiting.insert(0, replace(task, job=again, deaths=task.deaths + 1))
        else:
            reason = f"its worker died ({_death(code)}); repeat the command"
            self._settle(again, left[0], "lost", reason)

    def _settle(self, job: Job, spec: RunSpec, state: str, error: str) -> None:
        self.states[job.id_of(spec)] = state
        self.progress.ended(self.specs[job.id_of(spec)], {"state": state, "error": error})

    # ---- stopping ------------------------------------------------------------------------------

    def _count_stop(self, number: int, frame: Any) -> None:
        self.stops += 1

    def _pass_stops_on(self) -> None:
        """At the first stop workers save; at the second they are killed (the last save is safe)."""
        if self.stops == self.stops_passed_on:
            return
        self.stops_passed_on = self.stops
        order = signal.SIGTERM if self.stops == 1 else signal.SIGKILL
        if self.stops == 1:
            self.progress.note("stopping: every run saves after its current step …")
        for _, _, process in self.running.values():
            process.send_signal(order)


def _event(line: str) -> dict[str, Any]:
    """A worker's report; anything else that it prints (a plugin may) is passed on as a note."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "run" in event else {"note": line.rstrip()}


def _without_progress(job: Job) -> bool:
    """Whether some run's last start ended before it saved a step; after two of them it fails."""
    return any(start_log.failures(spec.directory(job.runs)) for spec in job.specs)


def _death(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _environment(device: str) -> dict[str, str]:
    """A worker's environment.

    It sees only its own GPUs, and cuBLAS has the workspace that ``deterministic`` requires. Waiting
    threads give up their core soon: with libgomp's default of spinning, one other busy process made
    a step on two threads ten times slower (measured; 10000 costs little when alone).
    """
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": visible(device),
        "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000"),
        "PYTHONIOENCODING": "utf-8",  # as the queue reads it, whatever the terminal has
        QUEUE_PID: str(os.getpid()),
    }


@contextlib.contextmanager
def handling(handler: Any, names: Sequence[signal.Signals] = LocalQueue.SIGNALS) -> Iterator[None]:
    """Send these signals to ``handler``; those that nohup ignores stay ignored."""
    before = {name: signal.getsignal(name) for name in names}
    heard = {name: old for name, old in before.items() if old is not signal.SIG_IGN}
    for name in heard:
        signal.signal(name, handler)
    try:
        yield
    finally:
        for name, old in heard.items():
            signal.signal(name, old)


def run(waiting: list[Task], devices: list[str], progress: Reporter) -> bool:
    """Run the jobs. Returns False after Ctrl-C or SIGTERM, when every worker has saved."""
    with mps.daemons(devices, progress.note) as more:
        return LocalQueue(waiting, devices, progress, more).run()
