"""What follows along a chain from the state of one of its links."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.rundir.states import State, Status
from experiments.rundir.teachers import after_teachers, behind
from results.schema import Record, TeacherUsed, Weights
from tests.experiments import tiny

DONE, TODO, FAILED, STALE, BLOCKED, NA, RUNNING = (
    State.DONE, State.TODO, State.FAILED, State.STALE, State.BLOCKED, State.UNSUPPORTED,
    State.RUNNING,
)  # fmt: skip
FIRST = tiny.spec("vanilla").model_copy(update={"student": "resnet14"})


def student(*teachers: RunSpec, trial: int = 0) -> RunSpec:
    members = tuple(TeacherSpec(name=t.student, run=t.id) for t in teachers)
    teacher = members[0] if len(members) == 1 else TeacherSpec(name="team", members=members)
    return tiny.spec("kd").model_copy(update={"teacher": teacher, "trial": trial})


MIDDLE = student(FIRST)
LAST = student(MIDDLE)
CHAIN = (FIRST, MIDDLE, LAST)


def states(*given: str, specs: tuple[RunSpec, ...] = CHAIN) -> list[Status]:
    """The statuses of a chain whose links are in these states by themselves, in any order."""
    own = [Status(spec, state) for spec, state in zip(specs, given, strict=True)]
    found = after_teachers({s.spec.id: s for s in reversed(own)})
    assert list(found) == [s.spec.id for s in reversed(own)]
    return [found[spec.id] for spec in specs]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((DONE, DONE, TODO), (DONE, DONE, TODO)),
        ((TODO, TODO, TODO), (TODO, TODO, TODO)),
        ((RUNNING, TODO, TODO), (RUNNING, TODO, TODO)),
        ((FAILED, TODO, TODO), (FAILED, BLOCKED, BLOCKED)),
        ((STALE, TODO, TODO), (STALE, BLOCKED, BLOCKED)),
        ((DONE, FAILED, TODO), (DONE, FAILED, BLOCKED)),
        ((FAILED, DONE, TODO), (FAILED, DONE, TODO)),
        ((FAILED, RUNNING, TODO), (FAILED, RUNNING, TODO)),
        ((DONE, NA, TODO), (DONE, NA, NA)),
        ((DONE, NA, FAILED), (DONE, NA, NA)),
        ((DONE, NA, DONE), (DONE, NA, DONE)),
        ((DONE, NA, STALE), (DONE, NA, STALE)),
    ],
)
def test_a_chain(given, expected):
    assert tuple(s.state for s in states(*given)) == expected


def test_the_reason_names_the_link_at_the_root():
    _, middle, last = found = states(FAILED, TODO, TODO)
    assert middle.detail == f"its teacher ({FIRST}): failed"
    assert last.detail == f"its teacher ({MIDDLE}): blocked: {middle.detail}"
    known = {s.spec.id: s for s in found}
    assert [list(behind(s, known)) for s in found] == [[], [FIRST.id], [FIRST.id]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((TODO, FAILED), BLOCKED),
        ((RUNNING, FAILED), BLOCKED),
        ((DONE, NA), NA),
        ((DONE, TODO), TODO),
    ],
)
def test_one_member_of_several_is_enough(given, expected):
    other = FIRST.model_copy(update={"trial": 1})
    for members in ((FIRST, other), (other, FIRST)):
        team = student(*members)
        assert states(*given, TODO, specs=(*members, team))[2].state == expected


def finished(spec: RunSpec, weights: str, learned_from: str | None = None) -> Status:
    used = TeacherUsed(name="resnet14", sha256=learned_from) if learned_from else None
    record = Record.model_construct(weights=Weights(sha256=weights), teacher=used)
    return Status(spec, DONE, record=record)


def test_what_learned_from_outdated_weights_is_stale_along_the_chain():
    chain = [finished(FIRST, "new"), finished(MIDDLE, "m", "old"), finished(LAST, "l", "m")]
    first, middle, last = after_teachers({s.spec.id: s for s in chain}).values()
    assert [s.state for s in (first, middle, last)] == [DONE, STALE, STALE]
    assert middle.detail == "its teacher has been trained again since"
    assert last.detail == f"its teacher ({MIDDLE}) is stale: {middle.detail}"


def test_who_learned_from_weights_that_are_damaged_now_stays_done():
    damaged = replace(finished(MIDDLE, "m", "f"), state=STALE, damage="are gone")
    chain = [finished(FIRST, "f"), damaged, finished(LAST, "l", "m")]
    found = after_teachers({s.spec.id: s for s in chain}).values()
    assert [s.state for s in found] == [DONE, STALE, DONE]
