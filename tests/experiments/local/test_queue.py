"""The local queue: order, slots, deaths of workers, stopping. Workers here are small scripts."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.local import devices
from experiments.local import queue as local_queue
from experiments.local.progress import Progress
from experiments.local.queue import DEATHS_ALLOWED
from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.plan import jobs
from experiments.rundir.status import State, Status
from experiments.worker.job import Job
from tests.experiments import tiny

TEACHER = tiny.spec("vanilla").model_copy(update={"student": "resnet14"})

# Tells of each of its runs what BEHAVIOUR (a JSON file: run id -> action) says.
SCRIPT = """
import json, os, pathlib, signal, sys, time
behaviour = json.loads(pathlib.Path(sys.argv[2]).read_text())
log = pathlib.Path(sys.argv[2]).with_suffix(".log")
for spec in json.loads(pathlib.Path(sys.argv[1]).read_text())["specs"]:
    key = f"{spec['student']} {spec['method']} {spec['trial']}"
    run, action = behaviour[key]
    print("what a plugin prints", flush=True)
    with log.open("a") as file:
        print(time.time(), "start", key, file=file)
    if action == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "die once":
        behaviour[key] = [run, "done"]
        pathlib.Path(sys.argv[2]).write_text(json.dumps(behaviour))
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "wait":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        print(json.dumps({"run": run, "stage": "main", "epoch": 1, "train_loss": 1.0}), flush=True)
        time.sleep(60)
    if action == "slow":
        time.sleep(0.3)
    while action == "together" and log.read_text().count(" start ") < 2:
        time.sleep(0.05)
    state = {"state": "failed", "error": "told to"} if action == "fail" else {"state": "done"}
    print(json.dumps({"run": run, **state}), flush=True)
    with log.open("a") as file:
        print(time.time(), "end", key, file=file)
"""


def spec(method: str, trial: int = 0) -> RunSpec:
    made = tiny.spec(method).model_copy(update={"trial": trial})
    if made.teacher:
        made = made.model_copy(update={"teacher": TeacherSpec(name="resnet14", run=TEACHER.id)})
    return made


def key(of: RunSpec) -> str:
    return f"{of.student} {of.method} {of.trial}"


@pytest.fixture
def drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[bool, str, list[tuple[float, str, str]]]]:
    """Run specs with the given actions; returns (finished, output, the workers' log)."""
    script, behaviour = tmp_path / "fake_worker.py", tmp_path / "behaviour.json"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script)]
    monkeypatch.setattr(local_queue, "command", lambda path, as_json: [*command, path, behaviour])

    def run(
        actions: dict[RunSpec, str], slots: int = 1, size: int | None = None, **more: Any
    ) -> tuple[bool, str, list[tuple[float, str, str]]]:
        told = {key(of): [of.id, action] for of, action in actions.items()}
        behaviour.write_text(json.dumps(told))
        template = Job((), tmp_path / "runs", tmp_path, {}, None, ())
        statuses = [Status(of, State.TODO) for of in actions]
        files = {"resnet14": tmp_path / "file.pth"}
        tasks = jobs.tasks(statuses, template, files, size, **more)
        finished = local_queue.run(tasks, ["cpu"] * slots, Progress(statuses))
        lines = (tmp_path / "behaviour.log").read_text().splitlines()
        log = [(float(t), what, name) for t, what, name in (s.split(" ", 2) for s in lines)]
        return finished, capsys.readouterr().out, log

    return run


def hashable(items: dict[str, str], file_teacher: bool = False) -> dict[RunSpec, str]:
    specs = {name: spec(*_parsed(name)) for name in items}
    if file_teacher:
        given = TeacherSpec(name="resnet14", sha256="0" * 64)
        specs = {
            name: s.model_copy(update={"teacher": given}) if s.teacher else s
            for name, s in specs.items()
        }
    return {_Keyed(**specs[name].model_dump()): action for name, action in items.items()}


class _Keyed(RunSpec):
    """A spec that can be the key of a dictionary."""

    def __hash__(self) -> int:
        return hash(self.id)


def _parsed(name: str) -> tuple[str, int]:
    method, _, trial = name.partition(" ")
    return method, int(trial or 0)


def with_teacher(action: str, **students: str) -> dict[RunSpec, str]:
    return {_Keyed(**TEACHER.model_dump()): action, **hashable(students)}


def test_teachers_come_first(drive: Callable) -> None:
    finished, _, log = drive(with_teacher("slow", kd="done", at="done"), slots=3, size=1)
    ends = {name: t for t, what, name in log if what == "end"}
    starts = {name: t for t, what, name in log if what == "start"}
    assert finished
    assert min(starts["resnet8 kd 0"], starts["resnet8 at 0"]) >= ends["resnet14 vanilla 0"]


def test_students_of_a_failed_teacher_are_blocked(drive: Callable) -> None:
    finished, output, log = drive(with_teacher("fail", kd="done"))
    assert finished
    assert "blocked" in output and TEACHER.id in output
    assert not any("kd" in name for _, _, name in log)


def chain(*actions: str) -> dict[RunSpec, str]:
    """A teacher, its student, the student of that, and so on, with the action of each."""
    specs = [TEACHER]
    for trial in range(1, len(actions)):
        above = TeacherSpec(name=specs[-1].student, run=specs[-1].id)
        specs.append(spec("kd", trial).model_copy(update={"teacher": above}))
    keyed = [_Keyed(**one.model_dump()) for one in specs]
    return dict(zip(keyed, actions, strict=True))


def test_a_chain_is_trained_link_by_link(drive: Callable) -> None:
    finished, _, log = drive(chain("slow", "slow", "done"), slots=3)
    assert finished
    assert [(what, name) for _, what, name in sorted(log)] == [
        (what, name)
        for name in ("resnet14 vanilla 0", "resnet8 kd 1", "resnet8 kd 2")
        for what in ("start", "end")
    ]


def test_what_follows_a_failed_link_is_blocked(drive: Callable) -> None:
    links = chain("done", "fail", "done", "done")
    finished, output, log = drive(links, slots=2)
    _, failed, blocked, _ = links
    assert finished
    assert f"its teacher (run {failed.id}): failed" in output
    assert f"its teacher (run {blocked.id}): blocked" in output
    assert [name for _, what, name in log if what == "end"] == [
        "resnet14 vanilla 0",
        "resnet8 kd 1",
    ]


def test_who_waits_for_an_end_starts_after_it_however_it_was(drive: Callable) -> None:
    actions = hashable({"vanilla": "fail", "vanilla 1": "slow", "vanilla 2": "done"})
    first, second, last = actions
    ends = {last.id: (first.id, second.id)}
    finished, _, log = drive(actions, slots=3, size=1, needs_end=lambda s: ends.get(s.id, ()))
    times = {(what, name): t for t, what, name in log}
    assert finished
    before = [times["end", f"resnet8 vanilla {n}"] for n in (0, 1)]
    assert times["start", "resnet8 vanilla 2"] >= max(before)


def test_never_more_workers_than_slots(drive: Callable) -> None:
    _, _, log = drive(hashable({f"vanilla {n}": "together" for n in range(5)}), slots=2, size=1)
    active, most = 0, 0
    for _, what, _ in sorted(log):
        active += 1 if what == "start" else -1
        most = max(most, active)
    assert most == 2
    assert sum(what == "end" for _, what, _ in log) == 5


def test_another_worker_goes_on_where_one_died(drive: Callable) -> None:
    finished, output, log = drive(hashable({"vanilla": "die once"}))
    assert finished and "done" in output and "what a plugin prints\n" in output
    assert [what for _, what, _ in log] == ["start", "start", "end"]


def test_what_kills_two_workers_is_lost_and_the_others_go_on(drive: Callable) -> None:
    finished, output, log = drive(hashable({"vanilla": "die", "vanilla 1": "done"}), size=1)
    assert finished
    assert "lost: its worker died (SIGKILL); repeat the command" in output
    assert sum(name == "resnet8 vanilla 0" for _, _, name in log) == DEATHS_ALLOWED
    assert any(what == "end" and name == "resnet8 vanilla 1" for _, what, name in log)


def test_one_killer_does_not_lose_its_company(drive: Callable) -> None:
    """After two deaths every run gets a worker of its own, and whose fault it was shows."""
    finished, output, log = drive(hashable({"vanilla": "die", "kd 0": "done"}, file_teacher=True))
    assert finished
    assert output.count("lost: its worker died") == 1
    assert any(what == "end" and name == "resnet8 kd 0" for _, what, name in log)


def test_a_baseline_needs_no_teacher(drive: Callable) -> None:
    _, output, log = drive(with_teacher("fail", kd="done", vanilla="done"))
    assert output.count("blocked") == 1
    assert any(what == "end" and name == "resnet8 vanilla 0" for _, what, name in log)


def test_a_stop_reaches_the_workers_and_starts_no_more(
    drive: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Progress, "epoch", lambda *_: os.kill(os.getpid(), signal.SIGTERM), raising=True
    )
    finished, output, log = drive(hashable({"vanilla": "wait", "vanilla 1": "done"}), size=1)
    assert not finished
    assert "every run saves" in output
    assert [name for _, _, name in log] == ["resnet8 vanilla 0"]


@pytest.mark.parametrize(("slots", "todo", "expected"), [(1, 9, None), (2, 27, 7), (4, 3, 1)])
def test_default_cohort_size_keeps_all_slots_busy(
    slots: int, todo: int, expected: int | None
) -> None:
    statuses = [Status(spec("kd", trial), State.TODO) for trial in range(todo)]
    assert devices.default_size(statuses, slots) == expected


def test_slots_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    assert len(devices.slots("cpu", None, threads=2)) == 4
    assert len(devices.slots("cpu", None, threads=16)) == 1
    assert len(devices.slots("cpu", 3, threads=2)) == 3


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with local_queue.handling(lambda *_: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


# ---- what becomes a job --------------------------------------------------------------------------


def planned(
    states: dict[str, str], under_way: tuple[str, ...] = (), crashes: tuple[str, ...] = ()
) -> list[tuple[list[str], str | None]]:
    """The tasks for a teacher ("teacher") and students in these states: (runs, what they await)."""
    specs = {name: TEACHER if name == "teacher" else spec(*_parsed(name)) for name in states}
    statuses = [
        Status(specs[name], state, crashes=int(name in crashes)) for name, state in states.items()
    ]
    template = Job((), Path("runs"), Path("data"), {}, None, ())
    made = jobs.tasks(statuses, template, {}, None, under_way=[specs[n].id for n in under_way])
    names = {specs[name].id: name for name in states}
    return [
        ([names[s.id] for s in task.job.specs], next((names[run] for run in task.after), None))
        for task in made
    ]


TODO, DONE, LOST, RUNNING = State.TODO, State.DONE, State.LOST, State.RUNNING


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, []),
        ({"teacher": DONE, "kd": DONE}, []),
        ({"teacher": DONE, "kd": TODO, "at": TODO}, [(["kd", "at"], "teacher")]),
        ({"teacher": TODO, "kd": TODO}, [(["teacher"], None), (["kd"], "teacher")]),
        ({"teacher": LOST, "kd": LOST}, [(["teacher"], None), (["kd"], "teacher")]),
        ({"teacher": TODO, "kd": DONE}, [(["teacher"], None)]),
        ({"teacher": TODO, "kd": RUNNING}, [(["teacher"], None)]),
        ({"teacher": TODO, "kd": State.PENDING}, [(["teacher"], None)]),
        ({"teacher": State.FAILED, "kd": State.BLOCKED}, []),
        ({"kd": State.FAILED, "at": State.STALE, "rkd": State.UNSUPPORTED}, []),
        (
            {"teacher": DONE, "kd 0": TODO, "kd 1": TODO},
            [(["kd 0"], "teacher"), (["kd 1"], "teacher")],
        ),
    ],
    ids=range(11),
)
def test_what_is_to_do_becomes_jobs_teachers_first(states, expected) -> None:
    assert planned(states) == expected


@pytest.mark.parametrize("state", [RUNNING, State.PENDING])
def test_students_of_a_teacher_made_elsewhere_are_left_unless_somebody_can_wait(state) -> None:
    states = {"teacher": state, "kd": TODO, "vanilla": TODO}
    assert planned(states) == [(["vanilla"], None)]
    assert planned(states, under_way=("teacher",)) == [(["vanilla"], None), (["kd"], "teacher")]


def test_a_baseline_does_not_wait_for_a_teacher_that_is_to_come() -> None:
    """In one cohort with the students it would."""
    states = {"teacher": TODO, "kd": TODO, "vanilla": TODO}
    assert planned(states) == [(["teacher"], None), (["vanilla"], None), (["kd"], "teacher")]
    states["teacher"] = DONE
    assert planned(states) == [(["vanilla", "kd"], "teacher")]


def test_who_has_crashed_before_does_so_alone() -> None:
    states = {"teacher": DONE, "kd": TODO, "at": TODO, "rkd": LOST, "vanilla": TODO}
    assert planned(states, crashes=("at", "vanilla")) == [
        (["kd", "rkd"], "teacher"),
        (["at"], "teacher"),
        (["vanilla"], None),
    ]


def test_a_student_reads_its_teachers_weights_where_its_run_leaves_them() -> None:
    student = spec("kd")
    template = Job((), Path("runs"), Path("data"), {}, None, ())
    statuses = [Status(TEACHER, TODO), Status(student, TODO)]
    first, second = jobs.tasks(statuses, template, {}, None)
    assert first.job.teacher is None
    assert second.job.teacher == TEACHER.directory(Path("runs")) / "weights.safetensors"


def test_a_part_of_a_job_keeps_the_ids_that_its_runs_were_planned_with(tmp_path: Path) -> None:
    """Otherwise code that changed since would go unnoticed in a job that was written again."""
    specs = tuple(spec("vanilla", trial) for trial in range(3))
    path = tmp_path / "job.json"
    Job(specs, tmp_path, tmp_path, {}, None, ()).write(path)
    job = replace(Job.read(path), ids=("a", "b", "c"))
    part = job.only(job.specs[1:])
    part.write(path)
    assert Job.read(path).ids == ("b", "c")
    assert [s.trial for s in Job.read(path).specs] == [1, 2]
    assert Job(specs, tmp_path, tmp_path, {}, None, ()).only(specs[:1]).ids == ()
