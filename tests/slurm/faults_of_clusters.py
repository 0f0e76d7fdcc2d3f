"""Sites with several clusters: jobs go to another one than commands ask by default."""

from __future__ import annotations

import time

from tests.slurm.dev_cluster import wait_until
from tests.slurm.scenario import MissedError, Scenario


def other_cluster(s: Scenario) -> None:
    """Jobs go to dev2 from a shell of dev: they are sent once, found, cancelled and sent again.

    Numbers of jobs begin at 1 on both: an address without its cluster means another job.
    """
    s.env = {"SLURM_CONF": s.cluster.env["SLURM_CONF"]}  # of the commands
    s.cluster = s.cluster.second  # where the jobs are
    s.flags = (*s.flags, "--sbatch", "clusters=dev2")
    sent = s.submit()
    if sent.code or not s.tasks():
        s.wrong.append(f"nothing came to dev2: exit code {sent.code}: {sent.said}")
        return
    _check_sent_once(s)
    time.sleep(s.rng.uniform(0, 2.0))  # no later: two commands take as long as all the jobs
    tasks = s.tasks()
    for task in tasks:
        s.hit(task, "CANCELLED")
    done = s.command("cancel", "--yes")
    if not tasks:
        raise MissedError("nothing was left to cancel")
    if done.code:
        s.wrong.append(f"cancel: exit code {done.code}: {done.said}")
    wait_until(lambda: not s.tasks(), 60, "tasks on dev2 are left after cancel")
    s.note(f"cancel of {len(tasks)} tasks", len(tasks))


def _check_sent_once(s: Scenario) -> None:
    """A second submit finds what waits and runs there, and sends nothing."""
    arrays = {task.array for task in s.tasks()}
    again = s.submit()
    more = {task.array for task in s.tasks()} - arrays
    if again.code or more:
        s.wrong.append(f"submitted twice: exit code {again.code}, {len(more)} more: {again.said}")
