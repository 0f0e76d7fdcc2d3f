"""`status`, `submit --wait` and `cancel` as typed, on a fake SLURM."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.cluster import queue_status
from experiments.commands import submit
from experiments.rundir.status import State, count_states
from tests.experiments import cli
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Place, claimed

YES = ("--yes", "--no-timing")


def send(place: Place, *more: str) -> cli.Called:
    return place.call("submit", *YES, *more)


def rows(called: cli.Called) -> dict[str, str]:
    """The table of `status`: "resnet14 -> resnet8 KD" -> where it stands."""
    lines = called.out.splitlines()
    rule = next(line for line in lines if line.startswith("---"))
    ends = [len(part) for part in rule.split("  ")]
    first, second = ends[0] + 2, ends[0] + ends[1] + 4
    table = lines[lines.index(rule) + 1 :]
    return {
        f"{line[:first].strip()} {line[first:second].strip()}": line[second:].strip()
        for line in table
    }


# ---- status --------------------------------------------------------------------------------------


def test_status_says_what_slurm_adds(fake, place):
    send(place)
    fake.move(TEACHER_TASK, "RUNNING", "n1")
    fake.move(f"{FIRST}_1", "TIMEOUT")
    said = place.call("status")
    assert said.out.splitlines()[0] == f"{place.matrix}: 7 runs: 1 running, 5 pending, 1 lost"
    found = rows(said)
    pair = "resnet14 -> resnet8"
    assert found["resnet14 teacher"] == f"0/1 done; running: job {TEACHER_TASK} on n1"
    assert found[f"{pair} KD"] == (
        f"0/2 done; pending: job {SECOND}_0: Dependency; pending: job {SECOND}_1: Dependency"
    )
    (lost,) = place.sent[0].tasks[1]
    assert found[f"{pair} Student alone"] == (
        f"0/2 done; lost: job {FIRST}_1 ended: TIMEOUT (logs {lost}); "
        f"pending: job {FIRST}_2: Priority"
    )


def test_status_goes_on_where_slurm_does_not_answer_and_says_so(fake, place):
    send(place)
    fake.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    said = place.call("status")
    assert said.code == 0
    assert said.out.splitlines()[0] == f"{place.matrix}: 7 runs: 7 to do"
    assert said.err == (
        "note: SLURM did not answer; showing what the disk says "
        "(squeue: slurm_load_jobs error: Unable to contact slurm controller)\n"
    )


def test_status_each_names_runs_for_logs(fake, place):
    send(place)
    fake.move(f"{FIRST}_1", "OUT_OF_MEMORY")
    lines = place.call("status", "--each").out.splitlines()
    assert len(lines) == 3 + 7
    (lost,) = place.sent[0].tasks[1]
    (line,) = [line for line in lines if line.startswith(lost)]
    assert f"lost: job {FIRST}_1 ended: OUT_OF_MEMORY (logs {lost})" in line


def test_another_person_sees_the_same(fake, place, monkeypatch):
    """Without a right to write, and with other jobs of his own."""
    send(place)
    (run, _) = place.specs("kd")
    claimed(place.directory(run))
    mine = place.call("status").out
    before = cli.listing(place.folder)
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    monkeypatch.setattr(Path, "touch", refused)
    assert place.call("status").out == mine
    assert cli.listing(place.folder) == before


def refused(*_: object, **__: object) -> None:
    raise OSError(30, "Read-only file system")


# ---- wait ----------------------------------------------------------------------------------------


def watching(monkeypatch, *events) -> None:
    """What happens between the looks of --wait."""
    left = list(events)

    class Clock:
        @staticmethod
        def sleep(seconds: float) -> None:
            left.pop(0)()

    monkeypatch.setattr(submit, "time", Clock)


def test_wait_follows_until_all_has_ended(fake, place, monkeypatch):
    tasks = [TEACHER_TASK, f"{FIRST}_1", f"{FIRST}_2", f"{SECOND}_0", f"{SECOND}_1"]
    watching(monkeypatch, *[lambda task=task: fake.run(task) for task in tasks])
    said = send(place, "--wait")
    assert said.code == 0
    assert said.out.endswith(f"{place.matrix}: 7 runs: 7 done\n")
    assert said.out.count(": done: top-1 ") == 7
    assert "[7/7] " in said.out


def test_wait_ends_with_1_where_something_is_not_done(fake, place, monkeypatch):
    watching(monkeypatch, lambda: fake.move(FIRST, "TIMEOUT"))
    said = send(place, "--wait")
    assert said.code == 1
    assert f": lost: job {FIRST}_1 ended: TIMEOUT" in said.out
    assert said.out.endswith(f"{place.matrix}: 7 runs: 7 lost\n")


def test_who_stops_waiting_stops_nothing_else(fake, place, monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    watching(monkeypatch, interrupt)
    said = send(place, "--wait")
    assert said.code == 1
    assert "no longer watching; the jobs continue" in said.out
    assert len(fake.queue) == 5


# ---- cancel --------------------------------------------------------------------------------------


def test_cancel_takes_everything_of_the_matrix_out_of_the_queue(fake, place):
    send(place)
    fake.move(TEACHER_TASK, "RUNNING", "n1")
    said = place.call("cancel", "--yes")
    assert said.code == 0
    assert said.out.startswith(f"5 jobs: {FIRST}_0, {FIRST}_1, {FIRST}_2, {SECOND}_0, {SECOND}_1\n")
    assert fake.queue == {}
    assert place.call("cancel", "--yes").out == "none of these runs is in the queue\n"
    states = count_states(queue_status.statuses(place.plan()).values())
    assert states == {State.LOST: 7}


def test_cancel_asks(fake, place):
    send(place)
    said = place.call("cancel")
    assert said.code == 1
    assert "no terminal to ask at; pass --yes" in said.err
    assert len(fake.queue) == 5


def test_cancel_of_a_part_says_who_shares_its_jobs(fake, place):
    """And spares the teacher, which others wait for."""
    send(place)
    said = place.call("cancel", "--yes", "--methods", "kd", "--trials", "1")
    (kd,) = [run for run in place.specs("kd") if run.trial == 1]
    task = f"{SECOND}_{place.sent[1].task_of(kd.id)}"
    assert said.out.startswith(f"1 job: {task}\n1 other run shares these jobs and is cancelled")
    assert task not in fake.queue and len(fake.queue) == 4


def test_cancel_of_all_its_students_takes_the_teacher_along(fake, place):
    send(place)
    said = place.call("cancel", "--yes", "--methods", "kd", "fitnet")
    assert said.out.startswith(f"3 jobs: {TEACHER_TASK}, {SECOND}_0, {SECOND}_1\ncancelled")
    assert set(fake.queue) == {f"{FIRST}_1", f"{FIRST}_2"}


def test_cancel_needs_slurm(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place.folder))
    said = place.call("cancel", "--yes")
    assert said.code == 2
    assert said.err.startswith("error: sbatch: not found")
