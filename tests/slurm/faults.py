"""What clusters do to jobs: one function per fault. Each submits a matrix and disturbs it.

What follows is the same for all (`verdict.play`): wait until nothing is in the queue, at most one
more `submit`, and compare with an undisturbed local run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.cluster import submitted
from results import records
from tests.slurm import faults_kept_going as _kept
from tests.slurm import faults_of_clusters as _clusters
from tests.slurm import faults_of_disks as _disks
from tests.slurm import faults_of_files as _files
from tests.slurm import faults_of_nodes as _nodes
from tests.slurm import faults_of_people as _people
from tests.slurm.accounts import KILLED
from tests.slurm.dev_cluster import wait_until
from tests.slurm.matrices import (
    Size,
    bad_teacher,
    long_students,
    two_teachers,
    usual,
    with_plugin,
)
from tests.slurm.scenario import TEACHER, MissedError, Scenario

# ---- to single jobs ------------------------------------------------------------------------------


def scancel(s: Scenario) -> None:
    """Some of the tasks, running or waiting."""
    s.submit()
    s.random_moment()
    tasks = s.tasks()
    chosen = s.rng.sample(tasks, s.rng.randint(1, len(tasks))) if tasks else []
    for task in chosen:
        s.hit(task, "CANCELLED")
    cancelled = [s.cluster.once("scancel", task.id) for task in chosen]
    if not any(cancelled):
        raise MissedError("nothing was left to cancel")
    s.note(f"{len(chosen)} of {len(tasks)} tasks", len(chosen) - 1)
    s.perhaps_submit_soon()


def requeue(s: Scenario) -> None:
    """One running task, as an administrator does it."""
    s.submit()
    task = s.rng.choice(s.random_moment())
    s.hit(task, "REQUEUED")
    if not s.cluster.once("scontrol", "requeue", task.job):
        raise MissedError(f"{task.id} had ended")


def sigkill(s: Scenario) -> None:
    """One running task's Python, as the kernel does it when memory runs out."""
    s.submit()
    task = s.rng.choice(s.random_moment())
    s.hit(task, *KILLED)
    if not s.cluster.kill_python(task):
        raise MissedError(f"{task.id} had no Python any more")
    s.perhaps_submit_soon()


def time_limit(s: Scenario) -> None:
    """At least twice for one task. SLURM warns, the job saves and puts itself into the queue."""
    s.submit()
    s.wait_for_queue()
    starts = max((len(record.starts) for _, record in records.scan(s.runs)), default=1)
    if starts < 3:
        raise MissedError("the limit was not hit twice")
    s.note(f"{starts - 1} slots were too short", starts - 1, since=s.begun)


def time_limit_unheard(s: Scenario) -> None:
    """Once, and the warning does not reach the job: SLURM kills it."""
    seconds = s.rng.randint(0, 20)
    s.first = (*s.first, "--setup", f"sleep {seconds}")
    s.submit()
    s.wait_for_queue()
    s.note(f"after {seconds} s asleep, killed at the limit")
    s.flags = ("--time", "10")


# ---- to the teacher ------------------------------------------------------------------------------


def teacher_fails(s: Scenario) -> None:
    """It diverges."""
    s.submit()
    s.wait_for_queue()
    s.note("diverged", since=s.begun)


def teacher_purged(s: Scenario) -> None:
    """It diverges, and SLURM has forgotten its job before the next submit."""
    teacher_fails(s)
    _wait_for_purge(s)
    s.submit()


def teacher_cancelled(s: Scenario) -> None:
    """Its job is cancelled and forgotten by SLURM before the next submit."""
    s.submit()
    for task in s.random_moment(TEACHER):
        if s.role(task) == TEACHER:
            s.hit(task, "CANCELLED")
            s.cluster.once("scancel", task.id)
    s.wait_for_queue()
    _wait_for_purge(s)


def _wait_for_purge(s: Scenario) -> None:
    for array in {str(sent.job) for sent in submitted.load(s.runs)}:
        _wait_for_one(s, array)


def _wait_for_one(s: Scenario, array: str) -> None:
    wait_until(lambda: s.cluster.is_forgotten(array), 300, f"{array} is not purged", every=2.0)


# ---- all of them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    account   states of which SLURM's accounts must have one, or the fault has not happened; where
              it hits a known task, the scenario's `hits` say so more strictly
    clusters  on the same accounts; the second one is dev2
    disturbs  others on the same cluster, so it gets one of its own
    """

    title: str
    inject: Callable[[Scenario], None]
    content: Callable[[Size], dict[str, Any]] = usual
    flags: tuple[str, ...] = ("--cohort-size", "2")
    first: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    disturbs: bool = False
    clusters: int = 1
    small_disk: bool = False
    blocked: bool = False  # the students stay undone, and are said to be

    @property
    def name(self) -> str:
        return self.inject.__name__


_SLOW = ("--setup", f"export FAULT_SLOW='2 2' PYTHONPATH='{_files.INJECT}'")  # only time passes
_DEAF = ("--setup", "export FAULT_DEAF=1")
_NODES = ("--cpus", "8", "--cohort-size", "2")  # a node for every job

ALL = (
    Fault("time limit hit twice", time_limit, long_students, ("--time", "1", *_SLOW),
          account=("REQUEUED", "TIMEOUT")),
    Fault("time limit, warning not received", time_limit_unheard, long_students,
          first=("--time", "1", *_SLOW, *_DEAF), account=("TIMEOUT",)),
    Fault("scancel of tasks", scancel),
    Fault("scontrol requeue", requeue),
    Fault("SIGKILL of python", sigkill),
    Fault("killed, and the next job dies before claiming", _people.dies_before_claiming),
    Fault("submitter SIGKILLed after sbatch", _people.submitter_killed, two_teachers),
    Fault("two or three submitters at once", _people.submitters, two_teachers),
    Fault("two submitters and a local run at once", _people.submitters_and_run),
    Fault("sbatch hangs", _people.sbatch_hangs, two_teachers),
    Fault("matrix edited while jobs wait", _people.edited_matrix),
    Fault("plugin edited while jobs wait", _people.edited_plugin, with_plugin),
    Fault("disk full during training", _disks.disk_full, small_disk=True),
    Fault("disk full during the final write", _disks.disk_full_at_the_end, small_disk=True),
    Fault("inodes gone during training", _files.inodes_gone, small_disk=True),
    Fault("runs directory read-only for a time", _files.read_only),
    Fault("clocks three hours off, a worker killed", _files.clocks),
    Fault("checkpoint cut in half", _files.checkpoint_cut),
    Fault("teacher's weights cut in half", _files.weights_cut),
    Fault("teacher's weights purged", _files.weights_purged),
    Fault("teacher fails", teacher_fails, bad_teacher, blocked=True, account=("FAILED",)),
    Fault("teacher failed and purged", teacher_purged, bad_teacher, blocked=True,
          account=("FAILED",)),
    Fault("teacher cancelled and purged", teacher_cancelled),
    Fault("--keep-going: workers killed", _kept.workers_killed),
    Fault("--keep-going: a node ends every job", _kept.bad_node, account=("FAILED",),
          disturbs=True),
    Fault("--keep-going: slurmctld restarted", _kept.controller_restarted, disturbs=True),
    Fault("pre-emption", _nodes.preemption, flags=_NODES, disturbs=True),
    Fault("node lost", _nodes.node_loss, disturbs=True),
    Fault("slurmd killed, its node set down", _nodes.slurmd_loss, disturbs=True),
    Fault("stopped worker woken after its task started elsewhere", _people.zombie, disturbs=True),
    Fault("slurmctld restarted", _nodes.controller, two_teachers, disturbs=True),
    Fault("slurmctld away while people ask", _people.controller_away, disturbs=True),
    Fault("sent to another cluster, cancelled, sent again", _clusters.other_cluster,
          disturbs=True, clusters=2),
)  # fmt: skip
