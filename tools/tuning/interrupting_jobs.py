"""Train a matrix on a development cluster, with jobs cancelled and requeued in every stage.

For `tools/reports/tuning_check.py`.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.errors import InputError
from results import records
from tests.slurm.dev_cluster import DevCluster, Task, wait_until
from tools.tuning.interrupting import PATIENCE, Play, Stage

WAYS = ("requeue", "scancel")  # in turn, stage by stage
MOST_SUBMITS = 4  # after the last interruption; one should do
AT_ONCE = "2"  # jobs of an array: the nodes are made up, and share the cores of one machine


class OnCluster:
    """A play whose runs are jobs of a development cluster."""

    def __init__(self, play: Play, cluster: DevCluster) -> None:
        self.play, self.cluster = play, cluster
        play.env = {**cluster.env}
        self.submits = 0

    def submit(self) -> None:
        """Raises InputError where it is refused."""
        self.submits += 1
        limits = ("--time", "60", "--array-parallelism", AT_ONCE)
        self.play.call("submit", "--yes", "--device", "cpu", *limits)

    def tasks(self) -> list[Task]:
        return self.cluster.tasks(f"kd-{self.play.source.stem}-")

    def running(self, stage: Stage) -> list[Task]:
        """The tasks that train runs of a stage now."""
        return [t for t in self.tasks() if t.is_running and stage.name in self._stages(t)]

    def _stages(self, task: Task) -> set[str]:
        path = self.play.runs / ".slurm" / task.name / f"task-{task.index}.json"
        return {
            self.play.stage_of(run) for run in json.loads(path.read_text(encoding="utf-8"))["ids"]
        }

    def interrupt(self, stage: Stage, way: str) -> None:
        """Cancel or requeue one task of a stage; after a cancellation, submit again."""
        running = self.running(stage)
        if not running:  # between two jobs
            self.play.missed.append(stage.name)
            return
        task = self.play.rng.choice(running)
        command = ("scancel", task.id) if way == "scancel" else ("scontrol", "requeue", task.job)
        self.play.note(stage, f"{way} of one of {len(running)} jobs")
        if not self.cluster.once(*command):
            self.play.missed.append(stage.name)
        time.sleep(self.play.rng.uniform(0, 5))
        if way == "scancel":
            self.submit()

    def finish(self, wanted: int) -> None:
        """Wait, and send what is missing. Raises InputError where it does not come."""
        for _ in range(MOST_SUBMITS):
            wait_until(lambda: not self.tasks(), PATIENCE, "the queue is not empty", every=1.0)
            if len(list(records.scan(self.play.runs))) >= wanted:
                return
            self.submit()
        raise InputError(f"submit {self.play.source.name}: runs are missing after {self.submits}")


def interrupted(play: Play, cluster: DevCluster, wanted: int) -> int:
    """Submit a matrix, and cancel or requeue a job in the middle of each stage.

    wanted  how many runs have a result in the end

    Returns the number of submits: each scancel takes one.
    """
    jobs = OnCluster(play, cluster)
    jobs.submit()
    moments, ways = play.draw(), itertools.cycle(WAYS)
    while moments:
        stage = play.next(moments, lambda: bool(jobs.tasks()))
        if stage:
            jobs.interrupt(stage, next(ways))
    jobs.finish(wanted)
    return jobs.submits
