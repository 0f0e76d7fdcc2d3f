"""What clusters do to jobs: one function per fault. Each submits a matrix and disturbs it.

What follows is the same for all (`verdict.play`): wait until nothing is in the queue, at most one
more `submit`, and compare with an undisturbed local run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.cluster import submitted
from results import records
from tests.slurm import faults_kept_going, faults_of_clusters, faults_of_files, faults_of_people
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

INJECT = Path(__file__).resolve().parent / "inject"
DISK, INODES = 24 << 20, 3000  # bytes, files
SUBMIT_SECONDS = 6.0  # about what a submit takes
FINAL_FILES = (("weights", 1 << 18), ("result.json", 1 << 12))  # less than their bytes


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
    _perhaps_soon(s)


def _perhaps_soon(s: Scenario) -> None:
    """The one `submit` that is allowed, while jobs still run or end."""
    if s.rng.random() < 0.5:
        more = s.rng.uniform(0, 10.0)
        time.sleep(more)
        s.note(f"submitted again after {more:.0f} s", 0)
        s.submit()


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
    _perhaps_soon(s)


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


# ---- to nodes and controller ---------------------------------------------------------------------


def preemption(s: Scenario) -> None:
    """A job of the higher partition takes the node of a running task for some seconds."""
    s.submit()
    task = s.rng.choice(s.random_moment())
    seconds = s.rng.randint(2, 15)
    s.hit(task, "PREEMPTED", node=task.node)
    where = ("-p", "urgent", "-w", task.node, "--exclusive", "-t", "5", "-o", "/dev/null")
    s.cluster.call("sbatch", "-J", "urgent", *where, "--wrap", f"sleep {seconds}")
    s.note(f"{task.node} is taken for {seconds} s", 0)
    s.wait_for_queue()


def node_loss(s: Scenario) -> None:
    """The node of a running task dies without a word, is found down, and comes back."""
    _without(s, lambda node: s.cluster.tool("kill-node", node))


def slurmd_loss(s: Scenario) -> None:
    """The slurmd of a running task dies and its node is set down: the task starts elsewhere, and
    its former process still computes."""
    _without(s, s.cluster.kill_slurmd)


def _without(s: Scenario, kill: Callable[[str], None]) -> None:
    s.submit()
    task = s.rng.choice(s.random_moment())
    node = task.node
    s.hit(task, "NODE_FAIL", node=node)
    kill(node)
    s.cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=fault")
    away = s.rng.uniform(2, 15)
    time.sleep(away)
    s.cluster.tool("start-node", node)
    s.note(f"{node} was away for {away:.0f} s", 0)


def controller(s: Scenario) -> None:
    """slurmctld dies and is started again: once while submit is at work, once while jobs run."""
    submitter = threading.Thread(target=s.submit)
    submitter.start()
    arrays, more = s.rng.randrange(4), s.rng.uniform(0, 3.0)
    wait_until(lambda: _sending(s) >= arrays or not submitter.is_alive(), 300, "submit", every=0.01)
    time.sleep(more)
    s.note(f"{more:.2f} s after submit came to array {arrays}")
    s.cluster.restart_controller()
    submitter.join()
    if not s.tasks():  # it could not send anything: this is the one more submit
        s.submit()
    s.random_moment()
    s.cluster.restart_controller()


def _sending(s: Scenario) -> int:
    """How many arrays a submit has come to; 0 once it is the only one at work, -1 before."""
    folder = s.runs / ".slurm"
    return len(list(folder.glob("*/array.json"))) if folder.exists() else -1


# ---- to the submitter ----------------------------------------------------------------------------

SBATCH = """#!/bin/bash
# The real one, and at the {number}. call its caller dies before it hears of the job's id.
echo >>{count}
{real} "$@"
code=$?
(($(wc -l <{count}) != {number})) || kill -KILL $PPID
exit $code
"""


def submitter_killed(s: Scenario) -> None:
    """Between sbatch and saving the id, at one of the three arrays."""
    number = s.rng.randint(1, 3)
    wrapper = s.folder / "bin" / "sbatch"
    wrapper.parent.mkdir()
    count, real = s.folder / "calls", shutil.which("sbatch")
    wrapper.write_text(SBATCH.format(number=number, count=count, real=real))
    wrapper.chmod(0o755)
    s.submit({"PATH": f"{wrapper.parent}:{os.environ['PATH']}"})
    s.note(f"at array {number} of 3")
    _perhaps_soon(s)


def submitters(s: Scenario) -> None:
    """Two or three at once."""
    count = s.rng.choice([2, 3])
    threads = [threading.Thread(target=s.submit) for _ in range(count)]
    gaps = [0.0] + [s.rng.uniform(0, SUBMIT_SECONDS / 3) for _ in threads[1:]]
    for thread, gap in zip(threads, gaps, strict=True):
        time.sleep(gap)
        thread.start()
    for thread in threads:
        thread.join()
    s.note(f"{count} within {sum(gaps):.1f} s")


# ---- to the disk ---------------------------------------------------------------------------------


@contextmanager
def small_disk(runs: Path) -> Iterator[None]:
    """A file system of its own for the runs directory, for as long as this lasts."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},nr_inodes={INODES}", "runs", runs], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", runs], check=True)


def disk_full(s: Scenario) -> None:
    """The disk is full from a random moment until nothing is in the queue any more."""
    s.submit()
    s.random_moment()
    ballast = s.runs / "ballast"
    _fill(ballast, s.rng.randrange(1 << 19))
    s.wait_for_queue()
    ballast.unlink()


def _fill(ballast: Path, free: int) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=64K"], capture_output=True)
    os.truncate(ballast, max(0, ballast.stat().st_size - free))


def disk_full_at_the_end(s: Scenario) -> None:
    """The disk is full when a run that has taken its last step writes its weights or result."""
    pattern, size = s.rng.choice(FINAL_FILES)
    number, free, ballast = s.rng.randint(1, 3), s.rng.randrange(size), s.runs / "ballast"
    fill = f"export FAULT_FILL='.{pattern}. {number} {free} {ballast} {s.folder / 'count'}'"
    s.first = ("--setup", f"export PYTHONPATH='{INJECT}'", "--setup", fill)
    s.submit()
    s.wait_for_queue()
    s.note(f"{pattern} of run {number} to end, at most {free} bytes free")
    if not ballast.exists():
        raise MissedError("nobody filled the disk")
    ballast.unlink()


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


_SLOW = ("--setup", f"export FAULT_SLOW='2 2' PYTHONPATH='{INJECT}'")  # only time passes
_DEAF = ("--setup", "export FAULT_DEAF=1")
_NODES = ("--cpus", "8", "--cohort-size", "2")  # a node for every job

_files, _people, _kept = faults_of_files, faults_of_people, faults_kept_going

ALL = (
    Fault("time limit hit twice", time_limit, long_students, ("--time", "1", *_SLOW),
          account=("REQUEUED", "TIMEOUT")),
    Fault("time limit, warning not received", time_limit_unheard, long_students,
          first=("--time", "1", *_SLOW, *_DEAF), account=("TIMEOUT",)),
    Fault("scancel of tasks", scancel),
    Fault("scontrol requeue", requeue),
    Fault("SIGKILL of python", sigkill),
    Fault("killed, and the next job dies before claiming", _people.dies_before_claiming),
    Fault("submitter SIGKILLed after sbatch", submitter_killed, two_teachers),
    Fault("two or three submitters at once", submitters, two_teachers),
    Fault("two submitters and a local run at once", _people.submitters_and_run),
    Fault("sbatch hangs", _people.sbatch_hangs, two_teachers),
    Fault("matrix edited while jobs wait", _people.edited_matrix),
    Fault("plugin edited while jobs wait", _people.edited_plugin, with_plugin),
    Fault("disk full during training", disk_full, small_disk=True),
    Fault("disk full during the final write", disk_full_at_the_end, small_disk=True),
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
    Fault("pre-emption", preemption, flags=_NODES, disturbs=True),
    Fault("node lost", node_loss, disturbs=True),
    Fault("slurmd killed, its node set down", slurmd_loss, disturbs=True),
    Fault("stopped worker woken after its task started elsewhere", _people.zombie, disturbs=True),
    Fault("slurmctld restarted", controller, two_teachers, disturbs=True),
    Fault("slurmctld away while people ask", _people.controller_away, disturbs=True),
    Fault("sent to another cluster, cancelled, sent again", faults_of_clusters.other_cluster,
          disturbs=True, clusters=2),
)  # fmt: skip
