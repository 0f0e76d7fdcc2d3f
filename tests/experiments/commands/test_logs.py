"""logs and retry."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import pytest

from experiments.rundir.status import State, count_states
from tests.experiments import cli, fake_slurm_commands, sending
from tests.experiments.sending import FIRST, SECOND, Place, claimed


def logs(place: Place, run: object, *more: str) -> cli.Called:
    return cli.call("logs", str(run), "--runs", str(place.runs), *more)


# ---- logs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        lambda place, run: run.id,
        lambda place, run: run.id[:5],
        lambda place, run: run.directory(place.runs),
        lambda place, run: run.directory(place.runs).name,
        lambda place, run: f"{run.directory(place.runs).name[:8]}…",
    ],
    ids=["id", "beginning", "path", "name", "shortened"],
)
def test_a_run_by_its_name(done, name):
    (run, _) = done.specs("kd")
    said = logs(done, name(done, run))
    assert said.code == 0
    directory = run.directory(done.runs)
    assert said.out.startswith(f"{directory}: done\n\n==> {directory / 'history.csv'}\n")
    assert "\nmain,2," in said.out


def test_a_relative_path(done, monkeypatch):
    (run, _) = done.specs("kd")
    monkeypatch.chdir(run.directory(done.runs).parent)
    assert logs(done, run.directory(done.runs).name).code == 0


def test_names_of_several_runs_and_of_none(done):
    said = logs(done, "")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert re.match(r"error: logs : 7 runs begin like this, e\.g\. /", said.err)
    said = logs(done, "zzz")
    assert said.code == 2
    assert said.err.startswith(f"error: logs zzz: no such run in {done.runs}; `status MATRIX")


def test_what_was_put_aside_is_no_run(done):
    (run, _) = done.specs("kd")
    directory = run.directory(done.runs)
    shutil.copytree(directory, directory.with_name(f"{directory.name}.stale-1"))
    assert logs(done, run.id).code == 0


def test_the_error_and_every_jobs_log_oldest_first(fake, place):
    (run, _) = place.specs("vanilla")
    for text in ("of the first job", "of the second"):
        sending.send(place)
        sent = next(s for s in reversed(place.sent) if s.task_of(run.id) is not None)
        number = sent.task_of(run.id)
        sent.log(number).write_text(f"what it printed\n{text}\n")
        fake.move(f"{sent.job}_{number}", "NODE_FAIL")
    place.fail(run)
    out = logs(place, run.id).out
    parts = ["failed", "error.txt\nValueError: no such thing", "of the first job", "of the second"]
    at = [out.index(part) for part in parts]
    assert at == sorted(at)
    assert "Traceback" in out
    short = logs(place, run.id, "--lines", "1").out
    assert "of the second" in short and "what it printed" not in short


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (lambda directory: None, "not done"),
        (lambda directory: (directory / "error.txt").write_text("no"), State.FAILED),
        (claimed, State.RUNNING),
    ],
    ids=["nothing", "failed", "claimed"],
)
def test_the_state_of_a_run(place, make, state):
    (run, _) = place.specs("vanilla")
    make(place.directory(run))
    assert logs(place, run.id).out.startswith(f"{run.directory(place.runs)}: {state}\n")


# ---- logs of runs that never began ---------------------------------------------------------------


def ended(fake, task: str, state: str, code: str = "0:0") -> None:
    with fake.state() as content:
        for _, found in fake_slurm_commands.tasks(content, [task]):
            found.update(state=state, code=code, node="n1")
        fake_slurm_commands.look_after(content)


@pytest.fixture
def sent(fake, place) -> tuple[Place, str, sending.SubmittedArray]:
    """Everything was sent; a run that has its task alone, and its array."""
    array, _ = sending.send(place)
    return place, array.tasks[1][0], array


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        (
            "FAILED",
            "127:0",
            "FAILED, exit code 127: a command of --setup, or python, was not found",
        ),
        ("FAILED", "0:9", "FAILED, killed by SIGKILL: out of memory?"),
        ("FAILED", "1:0", "FAILED, exit code 1: see its log"),
        ("OUT_OF_MEMORY", "0:125", "OUT_OF_MEMORY: it used more memory than --mem gave"),
        ("NODE_FAIL", "0:0", "NODE_FAIL: its node failed"),
        ("TIMEOUT", "0:0", "TIMEOUT: its time limit passed"),
    ],
)
def test_a_run_that_never_began_is_found_by_what_was_sent(fake, sent, state, code, words):
    """Its directory was never made: the first day's failures."""
    place, run, array = sent
    ended(fake, f"{FIRST}_1", state, code)
    array.log(1).write_text("bash: line 9: modul: command not found\n")
    for name in (run, run[:6], f"{run[:6]}…"):
        said = logs(place, name)
        assert said.code == 0, said.err
        first, second, *_ = said.out.splitlines()
        assert first == f"{run}: never began"
        assert second.startswith(f"job {FIRST}_1 ended: {words} (sent 2")
        assert f"\n==> {array.log(1)}\nbash: line 9: modul: command not found\n" in said.out


def test_a_job_that_was_killed_before_its_script_has_no_log(fake, sent):
    place, run, _ = sent
    ended(fake, f"{FIRST}_1", "NODE_FAIL")
    said = logs(place, run).out
    assert "no log: its script never began" in said and "==>" not in said


def test_a_job_that_waits_is_told_with_its_reason(fake, sent):
    place, run, _ = sent
    with fake.state() as content:
        for _, found in fake_slurm_commands.tasks(content, [f"{FIRST}_1"]):
            found["reason"] = "JobHeldUser"
    assert f"job {FIRST}_1: JobHeldUser; held by its user: `scontrol release {FIRST}_1`" in (
        logs(place, run).out
    )


def test_every_job_of_a_run_is_told(fake, sent):
    place, run, _ = sent
    ended(fake, FIRST, "TIMEOUT")
    ended(fake, SECOND, "CANCELLED by 0")
    sending.send(place)
    said = logs(place, run).out
    assert said.index(f"job {FIRST}_1 ended: TIMEOUT") < said.index("job 107_1: Priority")


@pytest.mark.parametrize("why", ["silent", "missing", "hidden"])
def test_where_slurm_says_nothing_it_is_not_said_to_have(fake, sent, monkeypatch, why):
    place, run, array = sent
    if why == "silent":
        fake.refuse("squeue", "Unable to contact slurm controller")
        fake.set(accounting=False)
    elif why == "missing":
        monkeypatch.setenv("PATH", str(place.folder))
    else:
        fake.set(hidden=[array.user], accounting=False)
        dataclasses.replace(array, user="ada").write()
    expected = {
        "silent": f"job {FIRST}_1: SLURM does not answer (squeue: Unable",
        "missing": f"job {FIRST}_1: SLURM says nothing about it here (sent",
        "hidden": f"job {FIRST}_1: SLURM says nothing about it here (sent",
    }
    said = logs(place, run)
    assert said.code == 0 and expected[why] in said.out


def test_the_beginning_of_several_runs_is_none(fake, sent):
    """Of one that began, and of one that did not."""
    place, run, array = sent
    twin = dataclasses.replace(
        array, folder=array.folder.with_name("kd-twin"), tasks=((run[:4] + "zzzz",),)
    )
    twin.folder.mkdir()
    twin.write()
    for began in (False, True):
        if began:
            (spec,) = [s for s in place.plan().expansion.runs if s.id == run]
            place.directory(spec)
        said = logs(place, run[:4])
        assert said.code == 2
        assert said.err.startswith(f"error: logs {run[:4]}: 2 runs begin like this, e.g. ")
        assert logs(place, run).code == 0
    assert logs(place, "").code == 2


def test_why_a_run_was_blocked_is_shown(fake, sent):
    place, run, _ = sent
    (spec,) = [s for s in place.plan().expansion.runs if s.id == run]
    (place.directory(spec) / "blocked.txt").write_text("its teacher's weights are cut\n")
    ended(fake, f"{FIRST}_1", "FAILED", "4:0")
    said = logs(place, run).out
    assert "FAILED, exit code 4: its runs were blocked" in said
    assert "blocked.txt\nits teacher's weights are cut\n" in said


def test_a_fresh_claim_of_a_job_that_has_ended_is_a_lost_run(fake, sent):
    place, run, _ = sent
    (spec,) = [s for s in place.plan().expansion.runs if s.id == run]
    job = {"cluster": "fake", "job": "1", "task": f"{FIRST}_1", "restart": 0}
    claim = {"host": "n1", "pid": 7, "started": "5", "slurm": job}
    (place.directory(spec) / "claim-0001").write_text(json.dumps(claim))
    fake.move(f"{FIRST}_1", "RUNNING", "n1")
    assert logs(place, run).out.startswith(f"{spec.directory(place.runs)}: running\n")
    ended(fake, f"{FIRST}_1", "FAILED", "0:9")
    assert logs(place, run).out.startswith(f"{spec.directory(place.runs)}: lost\n")


def test_of_a_finished_run_slurm_is_not_asked(fake, done):
    before = len(fake.calls())
    assert logs(done, done.specs("kd")[0].id).code == 0
    assert len(fake.calls()) == before


# ---- retry ---------------------------------------------------------------------------------------


def test_what_failed_is_tried_again_and_the_error_kept_aside(place):
    runs = place.specs("vanilla")
    for run in runs:
        place.fail(run)
    said = place.call("retry")
    assert said.code == 0
    assert said.out == "2 runs will be tried again by the next `run` or `submit`\n"
    for run in runs:
        directory = run.directory(place.runs)
        assert [path.name for path in directory.iterdir()] == ["error.txt.broken"]
        assert "no such thing" in (directory / "error.txt.broken").read_text()
    assert place.call("retry").out.startswith("0 runs")


def test_only_what_is_named_is_tried_again(place):
    for run in [*place.specs("vanilla"), *place.specs("kd")]:
        place.fail(run)
    place.call("retry", "--methods", "kd", "--trials", "1")
    states = place.plan().statuses()
    found = {(s.spec.method, s.spec.trial): s.state for s in states.values()}
    assert found["kd", 1] == State.TODO
    assert found["kd", 0] == found["vanilla", 0] == State.FAILED


def test_students_of_a_failed_teacher_are_free_again(place):
    place.fail(place.teacher)
    assert count_states(place.plan().statuses().values())[State.BLOCKED] == 4
    place.call("retry")
    assert count_states(place.plan().statuses().values()) == {State.TODO: 7}


def test_stale_runs_only_when_told(done):
    directory = done.make_stale(done.specs("kd")[0])
    assert done.call("retry").out.startswith("0 runs")
    assert done.call("retry", "--redo-stale").out.startswith("1 run will")
    assert not directory.exists()
    assert (directory.with_name(f"{directory.name}.stale-1") / "result.json").exists()
