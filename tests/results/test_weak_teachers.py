"""A table says where a teacher is worse than the student alone, by more than noise."""

from __future__ import annotations

import pytest

from results import caveats
from results.cells import Cell
from tests.results.example import record

TEACHER = {"name": "resnet56", "accuracy": 70.0, "sha256": "a" * 64}


def cells(teacher: float, *alone: float, samples: int = 10_000, **changes) -> list[Cell]:
    """A pair with a student alone per trial, and one run of KD from a teacher of that accuracy."""
    found = []
    for trial, top1 in enumerate(alone):
        made = record(top1, run=f"alone-{trial}", spec={"method": "vanilla"} | changes)
        found.append(Cell("A -> B", "Student alone", trial, made))
    used = TEACHER | {"accuracy": teacher}
    taught = record(80.0, run="kd", spec={"method": "kd", "teacher": {}}, teacher=used)
    found.append(Cell("A -> B", "KD", 0, taught))
    for cell in found:
        object.__setattr__(
            cell.record, "accuracy", cell.record.accuracy.model_copy(update={"samples": samples})
        )
    return found


def said(*arguments, **changes) -> list[str]:
    lines = caveats.warnings(cells(*arguments, **changes))
    return [line for line in lines if "worse than the student alone" in line]


def test_clearly_worse():
    assert said(60.0, 70.0, 71.0) == [
        "A -> B: the teacher (60.00 %) is worse than the student alone (70.50 %, n = 2)"
    ]
    assert said(60.0, 70.0) == [
        "A -> B: the teacher (60.00 %) is worse than the student alone (70.00 %)"
    ]


@pytest.mark.parametrize(
    ("teacher", "alone", "samples"),
    [
        (72.0, [70.0, 71.0], 10_000),  # better
        (70.0, [70.5, 71.0], 10_000),  # within the noise of 10,000 images
        (60.0, [70.0], 50),  # … of 50
        (60.0, [55.0, 85.0], 10_000),  # … of the trials
        (60.0, [70.0], None),  # how many images is not recorded: nothing is claimed
        (60.0, [], 10_000),
    ],
)
def test_nothing_is_claimed(teacher, alone, samples):
    assert said(teacher, *alone, samples=samples) == []


def test_other_students_without_a_teacher_are_not_the_student_alone():
    assert said(60.0, 70.0, method="tf_nkd") == []
    assert said(60.0, 70.0, source={"run": "x"}) == []


def test_teachers_that_saw_other_pixels_are_other_teachers():
    first, second = cells(75.0)[0], cells(75.0)[0]
    other = second.record.model_copy(
        update={
            "run": "other",
            "teacher": second.record.teacher.model_copy(update={"normalisation": {"mean": [0.5]}}),
        }
    )
    lines = caveats.warnings([first, Cell("A -> B", "AT", 0, other)])
    weights = "aaaaaaaa, aaaaaaaa on other pixels"
    assert f"A -> B: students of different teachers (weights {weights})" in lines
