"""SLURM's states, reasons and codes in words, and the lines of `status` made of them: all pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import job_lines, job_words
from experiments.cluster.questions import QueueState
from experiments.cluster.queue_status import View
from experiments.rundir.status import STATES, State, Status
from experiments.slurm import Ended
from tests.experiments import tiny

SPEC = tiny.spec("vanilla")


def end(state: str, code: int = 0, signal: int = 0, node: str = "") -> Ended:
    return Ended("kd", state, code, signal, node)


# ---- states --------------------------------------------------------------------------------------

# All of `man squeue`, JOB STATE CODES.
ALL = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "CONFIGURING",
    "COMPLETING",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PENDING",
    "PREEMPTED",
    "RUNNING",
    "RESV_DEL_HOLD",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "REQUEUED",
    "RESIZING",
    "REVOKED",
    "SIGNALING",
    "SPECIAL_EXIT",
    "STAGE_OUT",
    "STOPPED",
    "SUSPENDED",
    "TIMEOUT",
]


@pytest.mark.parametrize("state", ALL)
def test_every_state_of_slurm_is_over_waits_or_runs(state):
    """And each but the plain ones is explained."""
    if slurm.is_over(state):
        assert job_words.cause(end(state))
        return
    said = job_words.present("12_3", state, "why")
    assert said.startswith("job 12_3")
    table = job_words.RUNS if slurm.is_running(state) else job_words.WAITS
    assert (state in table) == (state not in ("PENDING", "RUNNING"))
    if state in table:
        assert f"{state}: " in said and "{" not in said


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("PENDING", "Priority", "job 1_0: Priority"),
        ("PENDING", "", "job 1_0: PENDING"),
        (
            "PENDING",
            "JobHeldUser",
            "job 1_0: JobHeldUser; held by its user: `scontrol release 1_0`",
        ),
        ("PENDING", "{id}", "job 1_0: {id}"),
        (
            "PENDING",
            "QOSMaxJobsPerUserLimit",
            "job 1_0: QOSMaxJobsPerUserLimit; a limit of the quality of service; it starts when "
            "that allows",
        ),
        (
            "PENDING",
            "ReqNodeNotAvail, UnavailableNodes:n1",
            "job 1_0: ReqNodeNotAvail, UnavailableNodes:n1; a node that it needs is not available, "
            "or reserved",
        ),
        (
            "SPECIAL_EXIT",
            "JobHeldUser",
            "job 1_0: SPECIAL_EXIT: held after a special exit: look at its log, then `scontrol "
            "release 1_0`",
        ),
        ("RUNNING", "n1", "job 1_0 on n1"),
        ("RUNNING", "", "job 1_0"),
        (
            "SUSPENDED",
            "n1",
            "job 1_0 on n1, SUSPENDED: suspended by SLURM or an administrator; it goes on when "
            "they resume it",
        ),
    ],
)
def test_what_a_job_does_and_what_to_do(state, reason, said):
    assert job_words.present("1_0", state, reason) == said


# ---- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "how", "cause"),
    [
        (None, "no longer known to SLURM", ""),
        (end("TIMEOUT"), "TIMEOUT", "its time limit passed"),
        (end("TIMEOUT", 0, 15), "TIMEOUT", "its time limit passed"),
        (end("CANCELLED by 0"), "CANCELLED by 0", "cancelled by root"),
        (end("CANCELLED by 4294967294"), "CANCELLED by 4294967294", "cancelled by 4294967294"),
        (Ended("kd", "CANCELLED"), "CANCELLED", "cancelled"),
        (
            end("CANCELLED"),
            "CANCELLED",
            "cancelled by SLURM: the job that it waited for did not end well?",
        ),
        (end("OUT_OF_MEMORY", 0, 125), "OUT_OF_MEMORY", "it used more memory than --mem gave"),
        (end("FAILED", 1), "FAILED, exit code 1", "see its log"),
        (
            end("FAILED", 127),
            "FAILED, exit code 127",
            "a command of --setup, or python, was not found",
        ),
        (end("FAILED", 9, 9), "FAILED, killed by SIGKILL", "out of memory?"),
        (end("FAILED", 1), "FAILED, exit code 1", "see its log"),
        (end("FAILED", 137), "FAILED, killed by SIGKILL", "out of memory?"),
        (end("FAILED", 0, 9), "FAILED, killed by SIGKILL", "out of memory?"),
        (end("FAILED", 139), "FAILED, killed by SIGSEGV", "it crashed"),
        (end("FAILED", 0, 63), "FAILED, killed by signal 63", ""),
        (end("FAILED", 255), "FAILED, exit code 255", "see its log"),
        (end("COMPLETED"), "COMPLETED", "it ended well, but left no result: see its log"),
        (end("SOMETHING_NEW"), "SOMETHING_NEW", "see its log"),
    ],
)
def test_how_a_job_ended_and_why(ended, how, cause):
    assert (job_words.how(ended), job_words.cause(ended)) == (how, cause)


# ---- lines ---------------------------------------------------------------------------------------


def view(*found: tuple[str, str, Ended | None]) -> tuple[dict[str, Status], dict[str, QueueState]]:
    """(state of a run, its task, how that ended), … as a look gives them."""
    statuses, queue = {}, {}
    for number, (state, task, ended) in enumerate(found):
        spec = SPEC.model_copy(update={"trial": number})
        statuses[spec.id] = Status(spec, state)
        queue[spec.id] = QueueState(task, "", "", Path(f"/a b/{task}.out"), "ada", "c", ended)
    return statuses, queue


def test_runs_of_an_array_that_ended_alike_share_a_line():
    found = [(State.LOST, f"7_{i}", end("FAILED", 127, node=f"n{i % 2}")) for i in range(5)]
    found += [
        (State.LOST, "7_5", end("TIMEOUT", node="None assigned")),
        (State.FAILED, "7_6", end("FAILED", 1)),
    ]
    assert job_lines.ends(*view(*found), lambda path: True) == [
        "jobs 7_0, 7_1, 7_2, … (5 in all) on n0, n1 (5 runs lost): FAILED, exit code 127: a "
        "command of --setup, or python, was not found; log '/a b/7_0.out'",
        "job 7_5 (1 run lost): TIMEOUT: its time limit passed; log '/a b/7_5.out'",
        "job 7_6 (1 run failed): FAILED, exit code 1; log '/a b/7_6.out'",
    ]


def test_many_ends_are_few_lines():
    found = [(State.LOST, f"{array}_0", end("TIMEOUT")) for array in range(30)]
    said = job_lines.ends(*view(*found), lambda path: True)
    assert len(said) == job_lines.MOST + 1
    assert said[-1] == "… and 20 more such lines; --each has every run"


@pytest.mark.parametrize("state", [s for s in STATES if s not in (State.LOST, State.FAILED)])
def test_who_is_neither_lost_nor_failed_has_no_line(state):
    statuses, queue = view((state, "7_0", end("COMPLETED")))
    assert job_lines.ends(statuses, queue) == []
    (run,) = statuses
    assert job_lines.of_run(statuses[run], queue[run]) == []


def test_why_runs_were_blocked_stands_in_the_line():
    statuses, queue = view((State.LOST, "7_0", end("FAILED", 4)))
    (run,) = statuses
    blocked = {run: Status(SPEC, State.LOST, blocked="its teacher's weights are cut")}
    (line,) = job_lines.ends(blocked, queue, lambda path: False)
    assert line.startswith(
        "job 7_0 (1 run lost): FAILED, exit code 4: blocked: its teacher's weights are cut; no log"
    )


@pytest.mark.parametrize("state", STATES)
def test_the_exit_code_of_every_state(state):
    code = job_lines.exit_code([Status(SPEC, State.DONE), Status(SPEC, state)])
    expected = {State.DONE: 0, State.UNSUPPORTED: 0}
    to_come = (State.TODO, State.PENDING, State.RUNNING, State.UNKNOWN)
    assert code == expected.get(state, 3 if state in to_come else 1)


def look(*found: str, **more: tuple[str, ...]) -> View:
    """A look at runs in these states, and the errors of who did not answer."""
    statuses, queue = view(*((state, "7_0", None) for state in found))
    return View(statuses, queue, **more)


def test_silence_names_the_error_and_what_is_unknown():
    silent = ("squeue: no",)
    assert job_lines.silence(look(State.UNKNOWN, State.DONE, silent=silent)) == [
        "SLURM does not answer (squeue: no): 1 run sent to it is unknown, the others are as the "
        "disk says"
    ]
    assert job_lines.silence(look(State.DONE, silent=silent)) == [
        "SLURM does not answer (squeue: no): states are as the disk says"
    ]
    assert job_lines.silence(look(State.LOST, lacks=("sacct: no",))) == [
        "SLURM's accounts do not answer (sacct: no): how jobs ended is known for minutes only"
    ]
    assert job_lines.silence(look(State.DONE)) == []
