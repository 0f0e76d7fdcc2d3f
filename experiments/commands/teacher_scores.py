"""The accuracies of a matrix's teachers, for its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from experiments.matrix.expansion import Entry
from experiments.matrix.pairs import ARROW
from experiments.rundir.status import Status
from results.cells import TeacherScores

Statuses = Mapping[str, Status]


def of_pairs(entries: Iterable[Entry], statuses: Statuses) -> dict[str, TeacherScores]:
    """The teachers by pair, of a chain its first one, whom all methods have in common.

    Accuracies as the students measured them, else from the teachers' own runs.
    """
    names: dict[str, str] = {}
    accuracies: dict[str, dict[str, float]] = {}  # by pair, then by the teacher's runs or weights
    for entry in entries:
        student = first_student(statuses[entry.spec.id], statuses)
        teacher = student.spec.teacher
        accuracy = None if teacher is None else _accuracy(student, statuses)
        if teacher is not None and accuracy is not None:
            pair = arrow(entry.pair)
            names[pair] = teacher.name
            accuracies.setdefault(pair, {}).setdefault(teacher.weights, accuracy)
    return {
        pair: TeacherScores(names[pair], tuple(values.values()))
        for pair, values in accuracies.items()
    }


def first_student(status: Status, statuses: Statuses) -> Status:
    """Who learns from the first teacher of a chain: its first assistant; else the run itself."""
    while status.spec.teacher and (above := statuses.get(status.spec.teacher.run or "")):
        if above.spec.teacher is None:
            break
        status = above
    return status


def of_assistants(entries: Iterable[Entry], statuses: Statuses) -> Iterator[str]:
    """The accuracies of the assistants of each chain, as far as they are trained, a line each."""
    found: dict[str, dict[str, list[Status]]] = {}  # by pair, then by whom they teach
    for entry in entries:
        teacher = entry.spec.teacher
        assistant = statuses.get(teacher.run or "") if teacher else None
        if assistant and assistant.spec.teacher and assistant.record:
            runs = found.setdefault(arrow(entry.pair), {}).setdefault(entry.label, [])
            runs += [] if assistant in runs else [assistant]
    for pair, by_label in found.items():
        shown = {label: ", ".join(map(_percent, runs)) for label, runs in by_label.items()}
        name = next(iter(by_label.values()))[0].spec.student
        if len(set(shown.values())) == 1 and len(shown) > 1:
            yield f"{pair}: the assistant {name} has {next(iter(shown.values()))}"
        else:
            listed = ", ".join(f"{text} ({label})" for label, text in shown.items())
            yield f"{pair}: the assistant {name} has {listed}"


def _percent(status: Status) -> str:
    return f"{status.record.top1:.2f} %" if status.record else "–"


def _accuracy(student: Status, statuses: Statuses) -> float | None:
    """Of a student's teacher, as the student measured it, else from the teacher's own run."""
    used = student.record.teacher if student.record else None
    if used and used.accuracy is not None:
        return float(used.accuracy)
    teacher = student.spec.teacher
    own = statuses.get(teacher.run or "") if teacher else None
    return own.record.top1 if own and own.record else None


def arrow(pair: str) -> str:
    """A pair as tables print it."""
    return pair.replace(ARROW, " → ")
