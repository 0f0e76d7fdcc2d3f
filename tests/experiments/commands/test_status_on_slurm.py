"""`status`, `submit --wait` and `cancel` as typed, on a fake SLURM."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import looks, questions, queue_status
from experiments.commands import follow
from experiments.commands import status as status_command
from experiments.matrix.run_spec import RunSpec
from experiments.rundir import status as run_status
from experiments.rundir.status import State, count_states
from tests.experiments import cli, fake_slurm_commands, sending
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


DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


def test_status_says_first_that_slurm_does_not_answer(fake, place):
    """What was sent is unknown, not "to do"."""
    send(place)
    place.fail(place.specs("vanilla")[0])
    fake.refuse("squeue", DOWN)
    fake.set(accounting=False)
    said = place.call("status")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[:2] == [
        f"SLURM does not answer (squeue: {DOWN}): 6 runs sent to it are unknown, "
        "the others are as the disk says",
        f"{place.matrix}: 7 runs: 1 failed, 6 unknown",
    ]
    assert rows(said)["resnet14 teacher"] == (
        f"0/1 done; unknown: SLURM does not answer; it was last sent as job {TEACHER_TASK}"
    )
    assert place.call("status", "--exit-code").code == 1
    place.call("retry")
    assert place.call("status", "--exit-code").code == 3


def test_a_controller_that_never_answered_is_one_that_does_not_answer(fake, place):
    """Without its configuration nobody knows whose jobs these are: they are not "to do"."""
    send(place)
    slurm.config.cache_clear()
    for command in ("scontrol", "squeue", "sacct"):
        fake.refuse(command, DOWN)
    said = place.call("status")
    assert said.out.startswith(f"SLURM does not answer (scontrol: {DOWN}): 7 runs sent to it are")
    assert "7 runs: 7 unknown" in said.out
    assert place.call("table").err.startswith("note: SLURM did not answer")


def test_a_held_job_of_a_run_that_is_done_keeps_nobody_waiting(fake, place, finished):
    """A controller that forgot a start sends the task again, the node refuses, SLURM holds it."""
    send(place)
    place.finish(place.teacher, finished)
    fake.move(TEACHER_TASK, "PENDING", "launch failed requeued held")
    said = rows(place.call("status"))
    waits = f"pending: job {SECOND}_0: waits for {TEACHER_TASK}, which is held; submit releases it"
    assert any(waits in text for text in said.values()), said
    said = place.call("submit", "--yes")
    assert said.code == 0 and f"released {TEACHER_TASK}" in said.out
    assert ["scontrol", "release", TEACHER_TASK] in fake.calls("scontrol")
    fake.move(TEACHER_TASK, "RUNNING", "n1")
    assert "which is held" not in place.call("status").out


def test_a_finished_matrix_is_shown_whether_or_not_slurm_answers(fake, place, finished):
    """Nothing is asked about its runs; who asks about runs that left the matrix gets no answer."""
    send(place)
    for spec in place.plan().expansion.runs:
        place.finish(spec, finished)
    slurm.config.cache_clear()
    fake.set(refuse={command: [0, DOWN] for command in ("scontrol", "squeue", "sacct")})
    said = place.call("status")
    assert (said.code, said.err) == (0, "") and "7 runs: 7 done" in said.out
    assert place.call("cancel", "--yes").out == "none of these runs is in the queue\n"
    refused = place.write(trials=1).call("cancel", "--yes", "--removed")
    assert (refused.code, refused.out) == (2, "") and "Unable to contact" in refused.err


def test_nothing_is_sent_or_cancelled_while_slurm_does_not_answer(fake, place):
    send(place)
    fake.refuse("squeue", DOWN)
    for verb in ("cancel", "submit"):
        said = place.call(verb, "--yes")
        assert (said.code, said.err) == (2, f"error: squeue: {DOWN}\n")
    slurm.config.cache_clear()
    fake.refuse("scontrol", DOWN)
    said = place.call("cancel", "--yes")
    assert (said.code, said.err) == (2, f"error: scontrol: {DOWN}\n")
    assert len(fake.queue) == 5 and fake.calls("scancel") == []


def test_nothing_was_sent_so_nobody_has_to_answer(fake, place):
    slurm.config.cache_clear()
    fake.refuse("scontrol", DOWN)
    assert place.call("status").out.startswith(f"{place.matrix}: 7 runs: 7 to do\n")


# ---- status: the job of the claim ----------------------------------------------------------------


def claim_of(place: Place, run: RunSpec, task: str) -> None:
    """The worker of an array task began and beats no more; nobody knows yet."""
    holder = {"host": "n1", "pid": 7, "started": "5"}
    holder["slurm"] = {"cluster": "fake", "job": "1", "task": task, "restart": 0}
    (place.directory(run) / "claim-0001").write_text(json.dumps(holder))


def test_a_killed_worker_and_a_next_job_that_died_before_its_claim(fake, place):
    """False "running": the first job's claim is fresh, the second ended in its --setup."""
    run = place.specs("vanilla")[0]
    send(place)
    task = next(f"{s.job}_{s.task_of(run.id)}" for s in place.sent if s.task_of(run.id) is not None)
    claim_of(place, run, task)
    fake.move(task, "RUNNING", "n1")
    assert "running" in place.call("status", "--each").out
    fake.move(FIRST, "CANCELLED by 0")
    fake.move(SECOND, "CANCELLED by 0")
    send(place)
    again = next(s for s in reversed(place.sent) if s.task_of(run.id) is not None)
    last = f"{again.job}_{again.task_of(run.id)}"
    assert f"{run.id}" in str(again.tasks)  # submit sent it although its claim is fresh
    fail(fake, last, 3)
    said = place.call("status", "--each").out
    (line,) = [line for line in said.splitlines() if line.startswith(run.id)]
    assert f"lost: job {last} ended: FAILED, exit code 3" in line
    sent = len(place.sent)
    assert "nothing to send" not in send(place).out
    assert run.id in str(place.sent[sent:])


def fail(fake, task: str, code: int, signal: int = 0, state: str = "FAILED") -> None:
    """A task ends with an exit code and a signal, on n1."""
    with fake.state() as state_of:
        for _, found in fake_slurm_commands.tasks(state_of, [task]):
            found.update(state=state, code=f"{code}:{signal}", node="n1")
        fake_slurm_commands.look_after(state_of)


# ---- status: the disk is read again --------------------------------------------------------------


def test_a_job_that_ended_well_while_slurm_was_asked_is_not_lost(
    fake, place, finished, monkeypatch
):
    """The disk is read before squeue: the result may come in between."""
    send(place)
    run = place.specs("vanilla")[0]
    task = f"{FIRST}_{place.sent[0].task_of(run.id)}"
    ask = questions.ask

    def slow(tasks):
        place.finish(run, finished)
        fake.move(task, "COMPLETED")
        return ask(tasks)

    monkeypatch.setattr(questions, "ask", slow)
    said = place.call("status").out
    assert "lost" not in said and f"{place.matrix}: 7 runs: 1 done, 6 pending" in said


def test_what_is_read_again_is_only_what_would_be_lost(fake, place, monkeypatch):
    send(place)
    run = place.specs("vanilla")[0]
    fail(fake, f"{FIRST}_{place.sent[0].task_of(run.id)}", 1)
    read = counted(monkeypatch)
    place.call("status")
    assert len(read) == 7 + 1 and read[-1] == run.id


def counted(monkeypatch) -> list[str]:
    """The runs whose directories are read, in order."""
    read: list[str] = []
    original = run_status.read_status

    def reading(spec, runs):
        read.append(spec.id)
        return original(spec, runs)

    monkeypatch.setattr(run_status, "read_status", reading)
    return read


# ---- status: how jobs ended ----------------------------------------------------------------------


def test_a_line_for_each_array_and_end_says_where_to_look(fake, place):
    send(place)
    place.sent[0].log(1).write_text("module: command not found\n")
    fail(fake, f"{FIRST}_1", 127)
    fail(fake, f"{FIRST}_2", 127)
    fail(fake, TEACHER_TASK, 0, 9)
    said = place.call("status").out.splitlines()
    assert (
        f"jobs {FIRST}_1, {FIRST}_2 on n1 (2 runs lost): FAILED, exit code 127: a command of "
        f"--setup, or python, was not found; log {place.sent[0].log(1)}" in said
    )
    assert (
        f"job {TEACHER_TASK} on n1 (1 run lost): FAILED, killed by SIGKILL: out of memory?; no "
        "log: its script never began, or could not write there" in said
    )
    each = place.call("status", "--each").out
    (run,) = place.sent[0].tasks[1]
    (line,) = [line for line in each.splitlines() if line.startswith(run)]
    assert "exit code 127" in line and line.endswith(f"log {place.sent[0].log(1)}")
    assert f"jobs {FIRST}_1" not in each


def test_failed_runs_have_a_line_with_their_jobs_log(fake, place):
    send(place)
    run = place.specs("vanilla")[0]
    task = f"{FIRST}_{place.sent[0].task_of(run.id)}"
    place.fail(run)
    fail(fake, task, 1)
    place.sent[0].log(1).write_text("Traceback\n")
    said = place.call("status").out
    assert (
        f"job {task} on n1 (1 run failed): FAILED, exit code 1; log {place.sent[0].log(1)}" in said
    )


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda place, fake: None, 3),
        (lambda place, fake: send(place), 3),
        (lambda place, fake: place.fail(place.teacher), 1),
        (lambda place, fake: (send(place), fake.move(FIRST, "TIMEOUT")), 1),
        (lambda place, fake: (place.directory(place.teacher) / "blocked.txt").write_text("so"), 1),
    ],
    ids=["to do", "pending", "failed", "lost", "refused"],
)
def test_the_exit_code_is_for_scripts(fake, place, prepare, code):
    prepare(place, fake)
    assert place.call("status", "--exit-code").code == code
    assert place.call("status").code == 0


def test_the_exit_code_of_what_is_done(fake, done):
    assert done.call("status", "--exit-code").code == 0
    done.make_stale(done.specs("kd")[0])
    assert done.call("status", "--exit-code").code == 1


# ---- looking again and again ---------------------------------------------------------------------


def test_looks_read_only_what_is_not_done_and_become_rare(fake, place, finished, monkeypatch):
    send(place)
    (first, second) = place.specs("vanilla")
    place.finish(first, finished)
    now = [0.0]
    look = looks.Looks(place.plan(), 10.0, clock=lambda: now[0])
    look()
    read = counted(monkeypatch)
    pauses = []
    for _ in range(7):
        look()
        pauses.append(look.pause)
    assert len(read) == 7 * 6 and first.id not in read
    assert pauses == [15.0, 22.5, 33.75, 50.625, 60.0, 60.0, 60.0]
    place.finish(second, finished)
    assert look().statuses[second.id].state == State.DONE
    assert look.pause == 10.0
    read.clear()
    look()
    assert len(read) == 5
    now[0] = looks.AFRESH_SECONDS
    read.clear()
    look()
    assert len(read) == 7


def test_a_wait_survives_a_controller_that_is_down_for_a_while(fake, place, monkeypatch):
    def down() -> None:
        fake.refuse("squeue", DOWN)
        fake.set(accounting=False)

    def up() -> None:
        fake.set(accounting=True)
        with fake.state() as state:
            state["refuse"].clear()

    def end() -> None:
        fake.move(FIRST, "TIMEOUT")

    watching(monkeypatch, down, lambda: None, up, end)
    said = send(place, "--wait")
    assert said.out.count("SLURM does not answer, watching on") == 1
    assert said.out.endswith(f"{place.matrix}: 7 runs: 7 lost\n")


def test_status_goes_on_watching_until_ctrl_c(fake, place, monkeypatch):
    """At equal intervals where they were asked for, else rarer while nothing changes."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(status_command.time, "sleep", sleep)
    said = place.call("status", "--watch")
    assert said.code == 130 and said.out.count("7 runs: 7 to do") == 3
    assert slept == [5.0, 7.5, 11.25] and "again in 8 seconds" in said.out
    slept.clear()
    place.call("status", "--watch", "20")
    assert slept == [20, 20, 20]


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

    monkeypatch.setattr(follow, "time", Clock)


def test_wait_follows_until_all_has_ended(fake, place, monkeypatch):
    tasks = [TEACHER_TASK, f"{FIRST}_1", f"{FIRST}_2", f"{SECOND}_0", f"{SECOND}_1"]
    watching(monkeypatch, *[lambda task=task: fake.run(task) for task in tasks])
    said = send(place, "--wait")
    assert said.code == 0
    assert said.out.endswith(f"{place.matrix}: 7 runs: 7 done\n")
    assert said.out.count(": done: top-1 ") == 7
    assert "[7/7] " in said.out


def test_who_waits_releases_what_slurm_holds_a_few_times(fake, place, monkeypatch):
    """A node refused the task: nothing else would ever start it. It may refuse every time."""

    def refuse() -> None:
        fake.move(TEACHER_TASK, "PENDING", "launch failed requeued held")

    watching(monkeypatch, *[refuse] * 5, lambda: fake.move(FIRST, "CANCELLED"))
    said = send(place, "--wait")
    assert said.out.count(f"released {TEACHER_TASK}: SLURM held it because a node could") == 3
    assert fake.calls("scontrol").count(["scontrol", "release", TEACHER_TASK]) == 3


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


def test_what_sbatch_has_not_answered_is_unknown(fake, place):
    """It may be in the queue: neither "to do" nor "pending" would be true for certain."""
    sending.send(place)
    for entry in place.sent:
        replace(entry, job=None).write()
    told = place.call("status", "--exit-code")
    assert (told.code, told.err) == (3, "")
    assert (
        "7 unknown" in told.out
        and "sbatch has not answered yet" in place.call("status", "--each").out
    )
