"""A SLURM task of several workers: a local queue inside the job, with its rules of stopping."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.local import mps
from experiments.local.queue import LocalQueue, handling
from experiments.matrix.run_spec import RunSpec
from experiments.plan.jobs import Task
from experiments.rundir.outcome import Outcome
from experiments.worker.job import BLOCKED, STOPPED, Job, describe
from experiments.worker.signals import requeue_or_wait

ENDED_WELL = (Outcome.DONE, Outcome.HELD)  # as for a task of one worker


def work(files: list[Path]) -> int:
    """Train the jobs of ``files`` at once, a worker each; returns the exit code of the process.

    It is that of a task of one worker: 1 if a run failed or was lost, BLOCKED if one is blocked,
    STOPPED after a stop request that left something to train. Then the job is handed back to SLURM,
    once all workers have saved.
    """
    tasks = [Task(Job.read(path)) for path in files]
    device = "cuda:0" if tasks[0].job.device == "cuda" else tasks[0].job.device
    queue = PackedQueue(tasks, [device] * len(tasks), Log())
    with handling(queue._count_stop, queue.SIGNALS):  # also while it waits for SLURM in the end
        with mps.daemons(queue.devices, queue.progress.note) as queue.more:
            queue.run()
        ended = [queue.states.get(run) for run in queue.specs]
        if queue.stops and None in ended:
            requeue_or_wait(queue)
            return STOPPED
    bad = {state for state in ended if state not in ENDED_WELL}
    return BLOCKED if bad == {Outcome.BLOCKED} else 1 if bad else 0


class PackedQueue(LocalQueue):
    """Every line of a worker says whose it is. A stop lets workers save, however often it comes.

    Before it kills a job, SLURM may send several signals.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.signal: int | None = None  # the last one
        self.parent = os.getppid()

    def _count_stop(self, number: int, frame: Any) -> None:
        self.stops, self.signal = 1, number

    def _pass_stops_on(self) -> None:
        if os.getppid() != self.parent:  # SLURM's own process is gone
            self.stops = 1
        super()._pass_stops_on()

    def _stderr(self) -> int | None:
        return subprocess.STDOUT

    def _note(self, task: Task, line: str) -> None:
        specs = task.job.specs
        more = f" and {len(specs) - 1} more" if len(specs) > 1 else ""
        self.progress.note(f"[{specs[0]}{more}] {line}")


class Log:
    """Reports as lines of a job's log, like those of a single worker."""

    def epoch(self, spec: RunSpec, row: dict[str, Any]) -> None:
        """A run finished an epoch."""
        self.note(describe(spec, row))

    def ended(self, spec: RunSpec, event: Mapping[str, Any]) -> None:
        """A run ended."""
        self.note(describe(spec, dict(event)))

    def note(self, line: str) -> None:
        """Print a line at once."""
        print(line, flush=True)

    def tick(self) -> None:
        """Nothing moves in a log."""
