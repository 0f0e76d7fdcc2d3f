"""`submit --keep-going`: it alone sees to it that everything ends well."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.slurm.accounts import KILLED
from tests.slurm.calling import Called
from tests.slurm.dev_cluster import Task, wait_until
from tests.slurm.scenario import QUEUE_SECONDS, MissedError, Scenario

BAD_NODE = "n1"  # SLURM gives jobs of an empty cluster to its first node
AVOIDED = f"avoid it (--exclude={BAD_NODE})"


def workers_killed(s: Scenario) -> None:
    """One worker to three, one after another."""
    with _kept_going(s):
        _kill(s, s.rng.choice(s.random_moment()))
        for _ in range(s.rng.randrange(3)):
            wait_until(lambda: bool(s.running()) or s.is_all_done(), QUEUE_SECONDS, "nothing runs")
            time.sleep(s.rng.uniform(0, 4.0))
            running = s.running()
            if running:
                _kill(s, s.rng.choice(running))
                s.note("another one")


def _kill(s: Scenario, task: Task) -> None:
    s.hit(task, *KILLED)
    if not s.cluster.kill_python(task):
        raise MissedError(f"{task.id} had no Python any more")


def bad_node(s: Scenario) -> None:
    """Every job that comes to one node ends there at once: after three of them it is avoided."""
    s.first = (*s.first, "--setup", f'[ "$SLURMD_NODENAME" != {BAD_NODE} ] || exit 3')
    with _kept_going(s) as calls:
        pass
    ended = [start for start in s.cluster.starts(s.prefix) if start.node == BAD_NODE]
    s.note(f"{len(ended)} jobs ended at once on {BAD_NODE}", len(ended), since=s.begun)
    if AVOIDED not in calls[0].said:
        s.wrong.append(f"{BAD_NODE} was not avoided:\n{calls[0].said}")


def controller_restarted(s: Scenario) -> None:
    """slurmctld is away for some looks."""
    with _kept_going(s):
        s.random_moment()
        s.cluster.stop_controller()
        try:
            time.sleep(s.rng.uniform(5.0, 30.0))
        finally:
            s.cluster.restart_controller()
        s.note("it answers again", 0)


@contextmanager
def _kept_going(s: Scenario) -> Iterator[list[Called]]:
    """From the first jobs in the queue until `submit --keep-going` ends; holds how it ended."""
    calls: list[Called] = []
    s.first = (*s.first, "--keep-going")
    submitter = threading.Thread(target=lambda: calls.append(s.submit(seconds=QUEUE_SECONDS)))
    submitter.start()
    try:
        wait_until(lambda: bool(s.tasks()) or not submitter.is_alive(), QUEUE_SECONDS, "no jobs")
        yield calls
    finally:
        submitter.join()
    if calls[0].code:
        s.wrong.append(f"submit --keep-going: exit code {calls[0].code}: {calls[0].said}")
