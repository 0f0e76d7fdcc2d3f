"""Which runs become jobs and in which order, where runs wait for runs that wait themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.matrix.expansion import Choice
from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.plan import jobs, needs
from experiments.rundir.status import State, Status
from experiments.worker.job import Job
from tests.experiments import tiny

TODO, DONE, LOST, RUNNING, PENDING = (
    State.TODO, State.DONE, State.LOST, State.RUNNING, State.PENDING
)  # fmt: skip


def taught(by: RunSpec, method: str = "kd", trial: int = 0, **more: object) -> RunSpec:
    teacher = TeacherSpec(name=by.student, run=by.id)
    update = {"teacher": teacher, "trial": trial, **more}
    return tiny.spec(method).model_copy(update=update)


ALONE = tiny.spec("vanilla")
TEACHER = ALONE.model_copy(update={"student": "resnet14"})
MIDDLE = taught(TEACHER, student="resnet14")
LAST = taught(MIDDLE)
OTHER = taught(TEACHER, "at")
FOUND = [taught(TEACHER, "dkd", trial=n) for n in range(3)]  # what a choice is made from
CHOSEN = taught(TEACHER, "dkd", choice="0123456789")
CHOICE = Choice("0123456789", "DKD", ("a pair",), ({}, {}, {}), tuple((s.id,) for s in FOUND))
BOTH = LAST.model_copy(
    update={
        "teacher": TeacherSpec(
            name="both", members=(TeacherSpec(name="resnet14", run=TEACHER.id), LAST.teacher)
        )
    }
)
NAMES = {
    TEACHER.id: "teacher", MIDDLE.id: "middle", LAST.id: "last", OTHER.id: "other",
    ALONE.id: "alone", CHOSEN.id: "chosen", BOTH.id: "both",
} | {spec.id: f"found {n}" for n, spec in enumerate(FOUND)}  # fmt: skip
SPECS = {spec.id: spec for spec in (TEACHER, MIDDLE, LAST, OTHER, ALONE, CHOSEN, BOTH, *FOUND)}


def planned(
    states: dict[str, str], under_way: tuple[str, ...] = (), **more: object
) -> list[jobs.Task]:
    """The tasks of runs in these states, by name."""
    run_of = {name: run for run, name in NAMES.items()}
    template = Job((), Path("runs"), Path("data"), {}, None, ())
    return jobs.tasks(
        [Status(SPECS[run_of[name]], state) for name, state in states.items()],
        template,
        {"both": Path("somewhere")},
        None,
        under_way=[run_of[name] for name in under_way],
        needs_end=needs.of_choices([CHOICE]),
    )


def shown(tasks: list[jobs.Task]) -> list[str]:
    """ "kd at < teacher": the runs of each task, and what it waits for; "~" for an end."""
    found = []
    for task in tasks:
        runs = " ".join(NAMES[spec.id] for spec in task.job.specs)
        after = "".join(f" < {NAMES[run]}" for run in task.after)
        found.append(runs + after + "".join(f" ~ {NAMES[run]}" for run in task.after_end))
    return found


CHAIN = ["teacher", "middle < teacher", "last < middle"]


@pytest.mark.parametrize(
    ("states", "under_way", "expected"),
    [
        ({"teacher": TODO, "middle": TODO, "last": TODO}, (), CHAIN),
        ({"last": TODO, "middle": LOST, "teacher": TODO}, (), CHAIN),
        ({"teacher": DONE, "middle": TODO, "last": TODO}, (), CHAIN[1:]),
        ({"teacher": DONE, "middle": DONE, "last": TODO}, (), CHAIN[2:]),
        ({"teacher": TODO, "middle": DONE, "last": TODO}, (), ["teacher", "last < middle"]),
        # who is trained elsewhere cannot be waited for, nor can those who wait for it
        ({"teacher": RUNNING, "middle": TODO, "last": TODO}, (), []),
        ({"teacher": PENDING, "middle": TODO, "last": TODO}, ("teacher",), CHAIN[1:]),
        ({"teacher": DONE, "middle": RUNNING, "last": TODO, "alone": TODO}, (), ["alone"]),
        ({"teacher": State.FAILED, "middle": TODO, "last": TODO}, (), []),
        # nobody is kept by what others wait for
        (
            {"alone": TODO, "last": TODO, "other": TODO, "middle": TODO, "teacher": TODO},
            (),
            [*CHAIN[:2], "alone", "other < teacher", "last < middle"],
        ),
        (
            {"both": TODO, "middle": TODO, "teacher": TODO},
            (),
            [*CHAIN[:2], "both < teacher < middle"],
        ),
        (
            {"both": TODO, "middle": TODO, "teacher": DONE},
            (),
            [CHAIN[1], "both < teacher < middle"],
        ),
    ],
)
def test_a_chain(states, under_way, expected):
    assert shown(planned(states, under_way)) == expected


SEARCHED = ["found 0 < teacher", "found 1 < teacher", "found 2 < teacher"]
ENDS = " ~ found 0 ~ found 1 ~ found 2"


@pytest.mark.parametrize(
    ("states", "under_way", "expected"),
    [
        ([TODO, TODO, TODO], (), [*SEARCHED, "other < teacher", f"chosen < teacher{ENDS}"]),
        (
            [DONE, TODO, State.FAILED],
            (),
            [SEARCHED[1], "other < teacher", "chosen < teacher ~ found 1"],
        ),
        ([DONE, DONE, State.BLOCKED], (), ["chosen other < teacher"]),
        ([DONE, DONE, RUNNING], (), ["other < teacher"]),
        ([DONE, DONE, PENDING], ("found 2",), ["other < teacher", "chosen < teacher ~ found 2"]),
    ],
)
def test_a_choice_waits_for_the_end_of_what_it_is_made_from(states, under_way, expected):
    found = dict(zip(("found 0", "found 1", "found 2"), states, strict=True))
    tasks = planned({"teacher": DONE, "chosen": TODO, "other": TODO, **found}, under_way)
    assert shown(tasks) == expected


def test_a_chosen_run_that_others_learn_from_comes_behind_the_search():
    """It is a job that others wait for, and waits itself."""
    student = taught(CHOSEN)
    statuses = [Status(spec, TODO) for spec in (student, CHOSEN, *FOUND, TEACHER)]
    template = Job((), Path("runs"), Path("data"), {}, None, ())
    tasks = jobs.tasks(statuses, template, {}, None, needs_end=needs.of_choices([CHOICE]))
    order = [spec for task in tasks for spec in task.job.specs]
    assert order == [TEACHER, *FOUND, CHOSEN, student]


def test_jobs_that_others_wait_for_say_so():
    """They wait for results that other processes train; a teacher shares its job with nobody."""
    states = {"teacher": TODO, "middle": TODO, "last": TODO, "found 0": TODO, "chosen": TODO}
    marks = {
        NAMES[task.job.specs[0].id]: (task.job.awaited, task.alone) for task in planned(states)
    }
    assert marks == {
        "teacher": (True, True),
        "middle": (True, True),
        "found 0": (True, False),
        "last": (False, False),
        "chosen": (False, False),
    }


def test_a_middle_student_and_its_student_read_their_teachers_weights():
    files = [task.job.teacher for task in planned({"teacher": TODO, "middle": TODO, "last": TODO})]
    where = [spec.directory(Path("runs")) / "weights.safetensors" for spec in (TEACHER, MIDDLE)]
    assert files == [None, *where]
