"""What is sent to SLURM, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.cluster import dropping, preview, sbatch
from experiments.cluster.arrays import Limits
from experiments.environment import CHECKOUT
from experiments.matrix.slurm_options import SlurmOptions
from experiments.worker.job import Job
from tests.experiments import sending
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Place, settings, titles


def folders(place: Place) -> list[str]:
    return [path.name for path in (place.runs / ".slurm").iterdir() if path.is_dir()]


# ---- what is sent --------------------------------------------------------------------------------


def test_the_teacher_first_and_its_students_after_its_task(fake, place):
    first, second = sending.send(place)
    assert titles(fake) == ["0-2", f"0-1 after {TEACHER_TASK}"]
    assert [first.job, second.job] == [FIRST, SECOND] == [job["id"] for job in fake.jobs]
    assert first.task_of(place.teacher.id) == 0
    assert second.after == (TEACHER_TASK,)
    students = {spec.id for method in ("kd", "fitnet") for spec in place.specs(method)}
    assert {run for task in second.tasks for run in task} == students
    assert place.sent == [first, second]


def test_a_finished_teacher_is_waited_for_by_nobody(fake, place, finished):
    place.finish(place.teacher, finished)
    sending.send(place)
    assert titles(fake) == ["0-1"]  # the baselines join the cohorts of their trials


def test_a_teacher_in_the_queue_is_waited_for_and_not_sent_again(fake, place):
    sending.send(place)
    fake.move(SECOND, "CANCELLED")
    for state in ("PENDING", "RUNNING"):
        fake.move(TEACHER_TASK, state, "n1")
        sending.send(place)
        assert titles(fake)[-1] == f"0-1 after {TEACHER_TASK}"
        fake.move(fake.jobs[-1]["id"], "CANCELLED")
    assert len(fake.jobs) == 4


def test_a_teacher_made_by_somebody_else_is_left_alone_with_its_students(fake, place):
    """A `run` on some machine: no task of SLURM's to wait for."""
    holder = {"host": "elsewhere", "pid": 1, "started": "5"}
    (place.directory(place.teacher) / "claim-0001").write_text(json.dumps(holder))
    sending.send(place)
    assert titles(fake) == ["0-1"]


def test_a_failed_teacher_sends_nobody(fake, place):
    place.fail(place.teacher)
    sending.send(place)
    assert titles(fake) == ["0-1"]  # the baselines
    fake.move(FIRST, "COMPLETED")
    for spec in place.specs("vanilla"):
        place.fail(spec)
    assert sending.send(place) == []
    assert len(fake.jobs) == 1


def test_what_is_in_the_queue_is_not_sent_again(fake, place):
    sending.send(place)
    assert sending.send(place) == []
    fake.move(f"{FIRST}_1", "RUNNING", "n1")
    assert sending.send(place) == []


def test_what_left_the_queue_is_sent_again(fake, place):
    sending.send(place)
    fake.move(f"{FIRST}_1", "NODE_FAIL")
    fake.move(f"{SECOND}_1", "TIMEOUT")
    again = sending.send(place)
    assert titles(fake)[2:] == ["0-0", f"0-0 after {TEACHER_TASK}"]
    assert {run for sent in again for task in sent.tasks for run in task} == {
        spec.id for method in ("vanilla", "kd", "fitnet") for spec in place.specs(method)
    } & {run for sent in place.sent[:2] for run in sent.tasks[1]}


def test_the_jobs_of_an_array_are_plain_files(fake, place):
    place.write(slurm={"gpus": 0})
    first, second = sending.send(place, settings(save_minutes=3.0))
    assert sorted(p.name for p in second.folder.glob("task-*")) == ["task-0.json", "task-1.json"]
    job = Job.read(second.folder / "task-1.json")
    assert job.ids == second.tasks[1] == tuple(spec.id for spec in job.specs)
    assert job.teacher == place.teacher.directory(place.runs) / "weights.safetensors"
    assert (job.runs, job.data_root) == (place.runs, place.folder / "data")
    assert (job.device, job.save_minutes) == ("cpu", 3.0)
    assert job.code == first.code == second.code
    assert job.code is not None and set(job.code) == {"commit", "dirty", "changes"}


def test_the_script_works_on_the_arrays_folder_with_this_code(fake, place):
    (first, _) = sending.send(place)
    script = fake.jobs[0]["script"]
    assert f"{CHECKOUT / 'benchmark.py'} work {first.folder}" in script
    assert fake.jobs[0]["name"] == first.name == first.folder.name


def test_relative_paths_are_made_absolute(fake, place, monkeypatch):
    monkeypatch.chdir(place.folder)
    sending.send(Place(Path(".")))
    (first, *_) = place.sent
    assert first.matrix == str(place.matrix)
    assert Job.read(first.folder / "task-0.json").runs == place.runs


def test_cohorts_are_of_the_size_asked_for_and_balanced_by_cost(fake, place):
    place.write(trials=1, methods=["kd", "fitnet", "at", "rkd"])
    costs = {"kd": 900.0, "fitnet": 1.0, "at": 1.0, "rkd": 900.0}
    seconds = {spec.id: cost for m, cost in costs.items() for spec in place.specs(m)}
    seconds[place.teacher.id] = 60.0
    _, second = sending.send(place, settings(cohort_size=2, seconds=seconds))
    name = {spec.id: m for m in costs for spec in place.specs(m)}
    together = [{name[run] for run in task} for task in second.tasks]
    assert [len(task) for task in together] == [2, 2]
    assert all(len(task & {"kd", "rkd"}) == 1 for task in together)
    assert second.minutes == 30


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cluster", "queued", "expected"),
    [
        ({}, {}, 0, Limits(1001, 1440, None)),
        ({}, {"config": {"MaxArraySize": 20}}, 0, Limits(20, 1440, None)),
        ({"max_array_size": 5}, {}, 0, Limits(5, 1440, None)),
        ({"partition": "short"}, {}, 0, Limits(1001, 30, None)),
        ({"partition": "endless"}, {}, 0, Limits(1001, None, None)),
        ({"partition": "short"}, {"defaults": {"short": "10:00"}}, 0, Limits(1001, 30, None, 10)),
        ({"max_jobs": 10}, {}, 0, Limits(1001, 1440, 10)),
        ({"max_jobs": 10}, {}, 3, Limits(1001, 1440, 7)),
        ({"max_jobs": 2}, {}, 3, Limits(1001, 1440, 0)),
        ({}, {"associations": [["g", "", "8", ""]]}, 3, Limits(1001, 1440, 5)),
        ({"max_jobs": 4}, {"associations": [["g", "", "8", ""]]}, 3, Limits(1001, 1440, 1)),
        ({"max_jobs": 9}, {"associations": [["g", "", "8", ""]]}, 3, Limits(1001, 1440, 5)),
    ],
    ids=range(12),
)
def test_limits(fake, tmp_path, options, cluster, queued, expected):
    if queued:
        about = {"options": SlurmOptions(), "minutes": 5, "code": tmp_path}
        sbatch.send(tmp_path, name="other", tasks=queued, **about)
    fake.set(**cluster)
    assert preview.limits(SlurmOptions(**options)) == expected


def test_arrays_are_cut_to_what_the_cluster_takes(fake, place):
    fake.set(config={"MaxArraySize": 2})
    sending.send(place)
    assert titles(fake) == ["0-1", "0-0", f"0-1 after {TEACHER_TASK}"]


@pytest.mark.parametrize(
    ("room", "sent"),
    [(1, ["0-0"]), (3, ["0-2"]), (4, ["0-2", f"0-0 after {TEACHER_TASK}"])],
)
def test_what_the_users_limit_leaves_out_the_next_submit_sends(fake, place, room, sent):
    sending.send(place, settings(options=SlurmOptions(max_jobs=room)))
    assert titles(fake) == sent
    sending.send(place)
    runs = [run for entry in place.sent for task in entry.tasks for run in task]
    assert len(runs) == len(set(runs)) == 7
    assert sending.send(place, settings(options=SlurmOptions(max_jobs=5))) == []  # it is full
    assert all(job["after"] in ("", TEACHER_TASK) for job in fake.jobs)


# ---- dependencies that SLURM drops ---------------------------------------------------------------


def test_students_dropped_for_their_teachers_end_are_noticed(fake, place):
    first, second = sending.send(place)
    assert dropping.dropped([first, second]) == []
    fake.move(TEACHER_TASK, "FAILED")
    assert dropping.dropped([first, second]) == [second]
    assert dropping.dropped([first]) == dropping.dropped([]) == []
