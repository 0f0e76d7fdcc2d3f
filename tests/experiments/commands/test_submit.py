"""`submit` as typed, on a fake SLURM."""

from __future__ import annotations

import json

import pytest

from experiments.cluster import arrays
from tests.experiments import cli
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Place, titles

YES = ("--yes", "--no-timing")


def submit(place: Place, *more: str) -> cli.Called:
    return place.call("submit", *YES, *more)


def test_everything_is_sent_and_said(fake, place):
    said = submit(place)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"{place.matrix}: 7 runs: 7 to do"
    assert lines[1].startswith("to send: 5 jobs in 2 arrays, time unknown")
    assert lines[-3:-1] == [
        f"sent {FIRST}: 3 runs in 3 jobs",
        f"sent {SECOND}: 4 runs in 2 jobs, after job {TEACHER_TASK}",
    ]
    assert lines[-1].startswith("check progress: python ") and f"status {place.matrix}" in lines[-1]
    assert titles(fake) == ["0-2", f"0-1 after {TEACHER_TASK}"]


def test_a_second_time_there_is_nothing_to_send(fake, place):
    submit(place)
    said = submit(place)
    assert said.code == 0
    assert said.out == f"{place.matrix}: 7 runs: 7 pending\nnothing to send\n"
    assert len(fake.jobs) == 2


def test_nothing_is_left_to_do(fake, done):
    assert submit(done).out == f"{done.matrix}: 7 runs: 7 done\nnothing to send\n"
    assert fake.calls("sbatch") == []


def test_the_time_is_predicted_from_what_has_run(fake, done):
    for path in (done.runs / "fake").rglob("result.json"):
        if path.parent.name.startswith("1-"):
            path.unlink()
    said = submit(done)
    assert "to send: 1 job in 1 array, about " in said.out
    assert "time limit 15 minutes" in said.out


def test_a_dry_run_shows_every_script_and_writes_nothing(fake, place):
    before = cli.listing(place.folder)
    said = place.call("submit", "--dry-run", "--no-timing", "--partition", "short")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("#!/bin/bash") == 2
    assert "# ---- 4 runs in 2 jobs, beginning with resnet14 -> resnet8" in said.out
    assert said.out.count("#SBATCH --partition=short\n") == 2
    assert "#SBATCH --dependency=afterok:TEACHER\n" in said.out
    assert cli.listing(place.folder) == before
    assert fake.calls("sbatch") == []


def test_a_dry_run_names_the_teacher_that_is_under_way(fake, place):
    submit(place)
    fake.move(SECOND, "CANCELLED")
    said = place.call("submit", "--dry-run", "--no-timing")
    assert f"#SBATCH --dependency=afterok:{TEACHER_TASK}\n" in said.out


def test_a_dry_run_needs_no_slurm(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place.folder))
    said = place.call("submit", "--dry-run", "--no-timing")
    assert (said.code, said.out.count("#!/bin/bash")) == (0, 2)
    said = submit(place)
    assert said.code == 2
    assert said.err.startswith("error: sbatch: not found. Is this the login node")


def test_without_a_terminal_a_yes_must_be_given(fake, place):
    said = place.call("submit", "--no-timing")
    assert said.code == 1
    assert said.err == "aborted: no terminal to ask at; pass --yes to confirm\n"
    assert "to send: 5 jobs" in said.out
    assert fake.jobs == [] and place.sent == []


@pytest.mark.parametrize(("answer", "jobs"), [("y", 2), ("YES ", 2), ("", 0), ("n", 0)])
def test_a_person_is_asked(fake, place, monkeypatch, answer, jobs):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert place.call("submit", "--no-timing").code == (0 if jobs else 1)
    assert len(fake.jobs) == jobs


def test_site_matrix_and_command_line(fake, place, tmp_path):
    (tmp_path / "cluster.yaml").write_text("partition: a\naccount: a\nqos: a\nsetup: [one]\n")
    place.write(slurm={"partition": "b", "account": "b", "setup": ["two"], "array_parallelism": 2})
    flags = ["--partition", "short", "--setup", "three", "--sbatch", "nice=5", "--time", "0:20:00"]
    submit(place, "--site", str(tmp_path / "cluster.yaml"), *flags, "--mem", "4G", "--cpus", "2")
    options = fake.jobs[0]["options"]
    found = {key: options[key] for key in ("partition", "account", "qos", "nice", "time", "mem")}
    assert found == {
        "partition": "short",
        "account": "b",
        "qos": "a",
        "nice": "5",
        "time": "20",
        "mem": "4G",
    }
    assert options["array"] == "0-2%2"
    assert "\none\ntwo\nthree\n" in fake.jobs[0]["script"]


def inside(place: Place, name: str) -> Place:
    folder = place.folder / name
    folder.mkdir()
    return Place(folder).write()


def test_runs_may_be_in_a_folder_with_a_percent_sign(fake, place):
    assert submit(inside(place, "50% off, %j %A")).code == 0
    assert "/50%% off, %%j %%A/" in fake.jobs[0]["options"]["output"]


@pytest.mark.parametrize("name", ["a\\b", "a\nb"], ids=ascii)
def test_a_folder_whose_logs_slurm_cannot_write_is_refused(fake, place, name):
    said = submit(inside(place, name))
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "SLURM cannot write logs to such a path" in said.err
    assert fake.calls("sbatch") == []


def test_a_count_of_gpus_is_that_of_the_processes(fake, place):
    said = submit(place, "--gpus", "a100:2")
    assert said.code == 2
    assert "slurm.gpus: a100:2: a cohort trains on one GPU, and a job has 1 process" in said.err
    place.write(processes=2)
    assert submit(place, "--gpus", "a100:2").code == 0
    assert fake.jobs[0]["options"]["gpus-per-node"] == "a100:2"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mem", "lots"], "error: command line: mem: "),
        (["--gpus", "2"], "error: command line: gpus: expected at most 1: it is for one process"),
        (["--time", "never"], "error: command line: time: expected minutes, or a time such as"),
        (["--sbatch", "array=0-5"], "error: command line: sbatch: array is set by submit itself"),
        (["--sbatch", "arr=0-5"], "error: command line: sbatch: array is set by submit itself"),
        (["--sbatch", "J=x"], "error: command line: sbatch: job-name is set by submit itself"),
        (["--after", "me"], "error: command line: after: expected ids of jobs such as 1234"),
        (["--sbatch", "=5"], "error: --sbatch '=5': expected KEY=VALUE"),
        (["--site", "nowhere.yaml"], "error: nowhere.yaml: cannot be read: no such file"),
        (["--partion", "gpu"], "error: unrecognized arguments: --partion gpu: did you mean --part"),
        (["--cohort-size", "0"], "error: argument --cohort-size: '0': expected a whole number"),
    ],
    ids=range(11),
)
def test_what_is_wrong_is_said_before_anything_is_sent(fake, place, flags, said):
    called = submit(place, *flags)
    assert called.code == 2
    assert called.err.startswith(said)
    assert called.err.count("\n") == 1
    assert not place.runs.exists()


def test_a_refusal_of_sbatch_is_one_line(fake, place):
    fake.refuse("sbatch", "sbatch: error: invalid partition specified: x")
    said = submit(place)
    assert said.code == 2
    assert said.err == "error: sbatch: invalid partition specified: x (nothing was submitted)\n"
    assert place.sent == []


def test_a_job_asks_for_the_gpu_that_this_machine_may_lack(fake, place):
    assert submit(place, "--gpus", "1").code == 0
    assert fake.jobs[0]["options"]["gpus-per-node"] == "1"
    task = json.loads((place.sent[0].folder / "task-0.json").read_text())
    assert task["device"] == "cuda"


@pytest.mark.parametrize("limit", ["cluster", "flag"])
def test_what_the_limits_do_not_admit_is_said_and_sent_by_the_next(fake, place, limit):
    if limit == "cluster":
        fake.set(associations=[["group", "normal", "4", ""]])
        said = submit(place)
    else:
        said = submit(place, "--max-jobs", "4")
    assert "1 more job exceeds your limit of jobs in the queue" in said.out
    assert titles(fake) == ["0-2", f"0-0 after {TEACHER_TASK}"]
    fake.set(associations=[["group", "normal", "", ""]])
    assert "to send: 1 job" in submit(place).out
    assert titles(fake)[2:] == [f"0-0 after {TEACHER_TASK}"]


def test_what_an_earlier_submit_left_is_settled_first(fake, place, monkeypatch):
    submit(place)
    token = json.loads((place.sent[1].folder / "array.json").read_text())
    (place.sent[1].folder / "array.json").write_text(json.dumps({**token, "job": None}))
    said = submit(place)
    assert f"left by an earlier submit: {token['name']}: adopted as job {SECOND}" in said.out
    assert len(fake.jobs) == 2


@pytest.mark.parametrize("flag", ["--retry-failed", "--redo-stale"])
def test_only_when_told_it_tries_again(fake, done, flag):
    (run, _) = done.specs("kd")
    if flag == "--retry-failed":
        (run.directory(done.runs) / "result.json").unlink()
        done.fail(run)
    else:
        done.make_stale(run)
    assert "nothing to send" in submit(done).out
    assert "to send: 1 job in 1 array" in submit(done, flag).out
    (task,) = done.sent[0].tasks
    assert task == (run.id,)


def test_a_teacher_to_be_trained_again_is_waited_for(fake, place):
    """--retry-failed frees its students in the same breath."""
    place.fail(place.teacher)
    said = submit(place, "--retry-failed")
    assert said.code == 0
    assert titles(fake) == ["0-2", f"0-1 after {TEACHER_TASK}"]


# ---- a teacher that ends between the look and sbatch ---------------------------------------------


def once(monkeypatch, action) -> None:
    """Something happens right after the first look at what is to be sent under the lock."""
    complete, left = arrays.plan_submission, [None, action]

    def outlook(*arguments):
        view = complete(*arguments)
        happens = left.pop(0) if left else None
        if happens:
            happens()
        return view

    monkeypatch.setattr(arrays, "plan_submission", outlook)


def test_students_that_slurm_dropped_are_sent_again_with_their_teacher(fake, place, monkeypatch):
    submit(place)
    fake.move(SECOND, "CANCELLED")
    once(monkeypatch, lambda: fake.move(TEACHER_TASK, "NODE_FAIL"))
    said = submit(place)
    assert said.code == 0
    assert "SLURM dropped its students; looking again" in said.out
    third, fourth, fifth = fake.jobs[2:]
    assert {task["state"] for task in third["tasks"]} == {"CANCELLED"}
    assert titles(fake)[3:] == ["0-0", f"0-1 after {fourth['id']}_0"]
    assert {task["state"] for task in fifth["tasks"]} == {"PENDING"}


def test_students_of_a_teacher_that_failed_meanwhile_are_blocked(fake, place, monkeypatch):
    submit(place)
    fake.move(SECOND, "CANCELLED")

    def fails() -> None:
        place.fail(place.teacher)
        fake.move(TEACHER_TASK, "FAILED")

    once(monkeypatch, fails)
    assert submit(place).code == 0
    assert len(fake.jobs) == 3
    assert not [task for task in fake.queue if not task.startswith(FIRST)]
    assert "4 blocked" in place.call("status").out
