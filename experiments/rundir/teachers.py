"""What the states of its teachers' runs mean for a run, along chains of any length. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import replace

from experiments.rundir.states import State, Status


def after_teachers(statuses: Mapping[str, Status]) -> dict[str, Status]:
    """The statuses, each knowing those of its teachers, which know those of theirs."""
    found: dict[str, Status] = {}

    def settled(run: str) -> Status:
        if run not in found:
            teachers = [settled(need) for need in statuses[run].spec.needs if need in statuses]
            found[run] = functools.reduce(_after_teacher, teachers, statuses[run])
        return found[run]

    return {run: settled(run) for run in statuses}


def behind(status: Status, statuses: Mapping[str, Status]) -> Iterator[str]:
    """The teachers' runs that a blocked run waits for in vain: at the root, not blocked either."""
    for run in status.spec.needs:
        teacher = statuses.get(run)
        if teacher and teacher.state == State.BLOCKED:
            yield from behind(teacher, statuses)
        elif teacher and teacher.state != State.DONE:
            yield run


def _after_teacher(status: Status, teacher: Status) -> Status:
    """The status of a run, knowing that of a teacher's run."""
    about = f"its teacher ({teacher.spec})"
    if status.state == State.DONE:
        return _outdated(status, teacher)
    if status.state == State.UNSUPPORTED:
        return status  # for a reason of its own, or for that of another teacher
    if teacher.state == State.UNSUPPORTED and status.state != State.STALE:
        return replace(status, state=State.UNSUPPORTED, detail=f"{about}: {teacher.detail}")
    if status.state != State.TODO:
        return status
    if teacher.state == State.RUNNING:
        return replace(status, detail="its teacher is being trained elsewhere")
    if teacher.state in (State.FAILED, State.STALE):
        return replace(status, state=State.BLOCKED, detail=f"{about}: {teacher.state}")
    if teacher.state == State.BLOCKED:
        return replace(status, state=State.BLOCKED, detail=f"{about}: blocked: {teacher.detail}")
    return status


def _outdated(status: Status, teacher: Status) -> Status:
    """The status of a finished run: stale where it learned from weights that count no more."""
    if _learned_from_another(status, teacher):
        return replace(status, state=State.STALE, detail="its teacher has been trained again since")
    # A teacher's own result may be outdated in that way; see `plan.weights` for those with damage.
    if teacher.state == State.STALE and teacher.record and not teacher.damage:
        detail = f"its teacher ({teacher.spec}) is stale: {teacher.detail}"
        return replace(status, state=State.STALE, detail=detail)
    return status


def _learned_from_another(student: Status, teacher: Status) -> bool:
    """Whether the weights a student's record names are not those of its teacher's record."""
    if student.record is None or teacher.record is None:
        return False
    used, made = _weights_used(student, teacher.spec.id), teacher.record.weights.sha256
    return None not in (used, made) and used != made


def _weights_used(student: Status, run: str) -> str | None:
    """The sha256 of a teacher's weights that a student's record names; of an ensemble a member's.

    Records of runs of earlier code may know a member by another id: it is found by its place.
    """
    recorded, planned = student.record and student.record.teacher, student.spec.teacher
    if not recorded or not planned:
        return None
    if not planned.members:
        return recorded.sha256
    places = [part.run for part in planned.parts]
    members = recorded.members
    return members[places.index(run)].sha256 if len(members) == len(places) else None
