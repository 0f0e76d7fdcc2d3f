"""From tasks to SLURM arrays: what stands together, for how long, and what is cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.cluster.arrays import TIME_CLASSES, Array, admitted, arrays
from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.plan.jobs import Task
from experiments.worker.job import Job
from tests.experiments import tiny

A, B = "run-of-a", "run-of-b"  # teachers that are trained here
GIVEN = TeacherSpec(name="resnet14", sha256="0" * 64)


def spec(trial: int, teacher: TeacherSpec | None = None) -> RunSpec:
    made = tiny.spec("kd" if teacher else "vanilla")
    return made.model_copy(update={"trial": trial, "teacher": teacher})


def task(*specs: RunSpec) -> Task:
    taught = next((s.teacher for s in specs if s.teacher), None)
    job = Job(specs, Path("runs"), Path("data"), {}, None, ())
    return Task(job, (taught.run,) if taught and taught.run else ())


def students(of: str | TeacherSpec, count: int, first: int = 0) -> list[Task]:
    taught = TeacherSpec(name="resnet14", run=of) if isinstance(of, str) else of
    return [task(spec(first + i, taught)) for i in range(count)]


def made(tasks: Iterable[Task], to_come=(), seconds=60.0, size=1000, **more) -> list[Array]:
    predicted = seconds if callable(seconds) else lambda _: seconds
    return arrays(tasks, to_come, predicted, size, **more)


def trials(found: Iterable[Array]) -> list[list[int]]:
    """Per array the trials of its runs, which name them here."""
    return [[s.trial for t in array.tasks for s in t.job.specs] for array in found]


def flat(lists: list[list[int]]) -> list[int]:
    return [item for part in lists for item in part]


# ---- groups --------------------------------------------------------------------------------------


def test_nothing_to_do():
    assert made([]) == []


def test_an_array_per_teacher_in_the_order_of_the_tasks():
    tasks = [task(spec(0)), *students(A, 2, 1), *students(B, 2, 3), *students(GIVEN, 1, 5)]
    found = made([*tasks, *students(A, 1, 6)], to_come=[A, B])
    assert trials(found) == [[0], [1, 2, 6], [3, 4], [5]]
    assert [array.after for array in found] == [(), (A,), (B,), ()]


def test_a_teacher_that_is_done_needs_no_waiting():
    found = made([*students(A, 1, 0), *students(B, 1, 1)], to_come=[B])
    assert [array.after for array in found] == [(), (B,)]


def test_students_of_several_finished_teachers_stay_apart():
    """Their jobs have nothing in common: one teacher's trouble is not the other's."""
    assert trials(made([*students(A, 1, 0), *students(B, 1, 1)])) == [[0], [1]]


def test_an_array_per_time_class():
    seconds = {0: 60.0, 1: 60.0, 2: 36000.0, 3: 50.0}
    found = made(students(GIVEN, 4), seconds=lambda s: seconds[s.trial])
    assert trials(found) == [[0, 1, 3], [2]]
    assert [array.minutes for array in found] == [15, 1440]


def test_what_nobody_knows_the_time_of_is_an_array_of_its_own():
    found = made(students(GIVEN, 3), seconds=lambda s: None if s.trial == 1 else 60.0)
    assert trials(found) == [[0, 2], [1]]
    assert [(array.minutes, array.seconds) for array in found] == [(15, 120.0), (None, None)]


def test_one_unknown_run_makes_its_whole_task_unknown():
    (found,) = made([task(spec(0), spec(1))], seconds=lambda s: 60.0 if s.trial else None)
    assert (found.minutes, found.seconds) == (None, None)


def test_where_nothing_is_known_the_partitions_default_is_asked_for_by_name():
    """So that the signal before the limit comes late enough."""
    (found,) = made(students(GIVEN, 2), seconds=None, default=5)
    assert (found.minutes, found.seconds) == (5, None)
    (found,) = made(students(GIVEN, 2), default=5)
    assert found.minutes == 15
    (found,) = made(students(GIVEN, 2), seconds=None, default=5, time=90)
    assert found.minutes == 90


def test_its_runs():
    (found,) = made([task(spec(0), spec(1)), task(spec(2))])
    assert found.runs == [spec(i).id for i in range(3)]


# ---- graphs --------------------------------------------------------------------------------------


def awaiting(first: int, after: tuple[str, ...] = (), after_end: tuple[str, ...] = ()) -> Task:
    """A job of one run, its trial ``first``, that waits for these runs."""
    return replace(task(spec(first)), after=after, after_end=after_end)


def test_a_chain_is_an_array_for_each_link():
    middle = spec(1).id
    tasks = [task(spec(0)), awaiting(1, (spec(0).id,)), awaiting(2, (middle,))]
    found = made(tasks, to_come=[spec(n).id for n in range(3)])
    assert [array.after for array in found] == [(), (spec(0).id,), (middle,)]
    for room in range(4):
        sent, left = admitted(found, room)
        assert (flat(trials(sent)), left) == (list(range(room)), 3 - room)


def test_who_waits_for_one_of_several_waits_for_all():
    (found,) = made([awaiting(0, (A, B, "done"))], to_come=[A, B])
    assert found.after == (A, B)


def test_ends_of_the_same_arrays_are_waited_for_in_one_array():
    """Whose jobs they are does not matter: SLURM waits for the array as a whole."""
    ids = [spec(n).id for n in range(3)]
    seconds = {2: 36000.0}
    tasks = [
        *(task(spec(n)) for n in range(3)),  # 0 and 1 make one array, 2 another
        awaiting(3, after_end=(ids[0],)),
        awaiting(4, after_end=(ids[1],)),
        awaiting(5, after_end=(ids[1], ids[2])),
        awaiting(6, after_end=("elsewhere",)),
        awaiting(7, (A,), (ids[0], "elsewhere")),
    ]
    found = made(
        tasks, [A, *ids], lambda s: seconds.get(s.trial, 60.0), under_way={"elsewhere": "90_1"}
    )
    assert trials(found) == [[0, 1], [2], [3, 4], [5], [6], [7]]
    assert [array.after_end for array in found[2:]] == [
        (ids[0], ids[1]),
        (ids[1], ids[2]),
        ("elsewhere",),
        (ids[0], "elsewhere"),
    ]
    assert [array.after for array in found] == [(), (), (), (), (), (A,)]


def test_students_of_several_ensembles_stay_apart():
    members = [TeacherSpec(name="resnet14", run=run) for run in (A, B, "c")]
    teams = [TeacherSpec(name="a+b", members=(members[0], m)) for m in members[1:]]
    tasks = [task(spec(n, team)) for n, team in enumerate(teams)]
    assert trials(made(tasks)) == [[0], [1]]


# ---- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [(1, 1, [1]), (20, 20, [20]), (21, 20, [20, 1]), (45, 20, [20, 20, 5]), (3, 1, [1, 1, 1])],
)
def test_no_array_is_larger_than_the_cluster_takes(count, size, lengths):
    found = made(students(A, count), to_come=[A], size=size)
    assert [len(array.tasks) for array in found] == lengths
    assert flat(trials(found)) == list(range(count))
    assert {array.after for array in found} == {(A,)}
    assert [array.seconds for array in found] == [60.0 * length for length in lengths]


# ---- time limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "minutes"),
    [
        (0.0, 15),
        (400.0, 15),  # 1.5 × 6:40 + 5 = 15
        (401.0, 30),
        (1000.0, 30),
        (1001.0, 60),
        (3600.0, 120),
        (86400.0, 2880),
        (1e9, TIME_CLASSES[-1]),
    ],
)
def test_the_limit_is_the_class_that_holds_the_prediction_with_its_margin(seconds, minutes):
    (found,) = made([task(spec(0))], seconds=seconds)
    assert found.minutes == minutes


def test_a_cohort_takes_as_long_as_its_runs_together():
    (found,) = made([task(*(spec(i) for i in range(8)))], seconds=400.0)
    assert (found.seconds, found.minutes) == (3200.0, 120)


@pytest.mark.parametrize(
    ("seconds", "more", "minutes"),
    [
        (60.0, {"time": 7}, 7),
        (None, {"time": 7}, 7),
        (1e6, {"time": 7}, 7),
        (3600.0, {"longest": 100}, 100),
        (3600.0, {"longest": 1000}, 120),
        (60.0, {"longest": 10}, 10),
        (1e9, {"longest": 20000}, TIME_CLASSES[-1]),
        (None, {"longest": 100}, None),
        (60.0, {"time": 200, "longest": 100}, 200),  # SLURM refuses that, and says why
    ],
    ids=str,
)
def test_a_persons_limit_and_the_partitions(seconds, more, minutes):
    (found,) = made([task(spec(0))], seconds=seconds, **more)
    assert found.minutes == minutes


def test_one_given_time_is_one_class():
    assert len(made(students(A, 4), seconds=lambda s: 1e4 * s.trial, time=60)) == 1


def test_a_partitions_limit_joins_the_classes_above_it():
    seconds = {0: 3600.0, 1: 36000.0, 2: 60.0}
    found = made(students(A, 3), seconds=lambda s: seconds[s.trial], longest=30)
    assert trials(found) == [[0, 1], [2]]


# ---- what the user may have in the queue -----------------------------------------------------


@pytest.mark.parametrize(
    ("room", "lengths", "left_out"),
    [
        (None, [1, 3, 2], 0),
        (99, [1, 3, 2], 0),
        (6, [1, 3, 2], 0),
        (5, [1, 3, 1], 1),
        (4, [1, 3], 2),
        (3, [1, 2], 3),
        (1, [1], 5),
        (0, [], 6),
    ],
    ids=str,
)
def test_cut_to_what_is_admitted(room, lengths, left_out):
    planned = made([task(spec(0)), *students(A, 3, 1), *students(B, 2, 4)], to_come=[A, B])
    sent, over = admitted(planned, room)
    assert [len(array.tasks) for array in sent] == lengths
    assert over == left_out
    assert flat(trials(sent)) == list(range(6 - left_out))
    assert [array.after for array in sent] == [(), (A,), (B,)][: len(sent)]


def test_nothing_is_admitted_of_nothing():
    assert admitted([], 0) == ([], 0)
