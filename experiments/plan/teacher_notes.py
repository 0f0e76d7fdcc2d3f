"""What is known of a matrix's teachers before anything learns from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from experiments.activity import activity
from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.matrix.variants import departures_of
from experiments.memo import Memo
from experiments.plan.plan import Plan
from experiments.plan.preflight import Examination, Given
from experiments.plan.summary import duration, teacher_label
from experiments.rundir.status import State, Status
from experiments.train import teacher_quality
from experiments.train.teacher_quality import Quality
from results import caveats
from results.schema import Record

LONGEST = 120.0  # seconds that a test may take while people wait for a plan


def of(plan: Plan, statuses: Mapping[str, Status], measure: bool = True) -> list[str]:
    """Warnings and notes about the teachers of runs that are not done, a line each.

    ``measure``: given teachers are tested on this machine, where that is quick and not known from
    earlier; those whose accuracy the matrix states are compared with it before training.
    """
    open_runs = [
        s.spec for s in statuses.values() if s.state not in (State.DONE, State.UNSUPPORTED)
    ]
    accuracies: dict[str, float] = {}
    lines: list[str] = []
    for teacher in plan.given_teachers(open_runs):
        lines += _given(plan, teacher, measure, accuracies)
    lines += _trained(plan, {run for spec in open_runs for run in spec.needs}, statuses)
    return [*lines, *_below_students(plan, statuses, accuracies)]


def _given(
    plan: Plan, teacher: Given, measure: bool, accuracies: dict[str, float]
) -> Iterator[str]:
    """About a teacher of a file; its accuracy, once known, is put into ``accuracies``."""
    assert plan.data is not None  # a strict plan has its data
    name, memo = teacher.spec.name, Memo(plan.workspace.data)
    with activity(f"measuring teacher {name}"):
        recipe, device = plan.matrix.recipe, plan.workspace.device
        examination = Examination(teacher, plan.data, recipe, device, memo)
        found = examination.known()
        is_stated = teacher.entry.expected_accuracy is not None
        seconds = None if found or is_stated or not measure else examination.seconds()
        if seconds is not None and seconds <= LONGEST:
            found = examination.measured()
    pixels = examination.network.pixels
    if pixels:
        yield f"note: teacher {name} was trained on pixels with {pixels}: they are converted for it"
    yield from (f"note: teacher {name}: {_for_matrix(t)}" for t in examination.network.notes)
    yield from (f"warning: {text}" for text in examination.network.warnings)
    if found:
        accuracies[name] = found.top1
        yield from (f"warning: {t}" for t in teacher_quality.warnings(name, found, is_stated))
    elif measure and not is_stated:
        time = f" (it takes about {duration(seconds)} here)" if seconds else ""
        yield f"note: teacher {name} is tested when training starts{time}, not now"


def _for_matrix(note: str) -> str:
    """A note on a file; a matrix has no flags, so the tool that has them converts the file."""
    if "--" not in note:
        return note
    return f"{note} (in a matrix: tools/import_checkpoint.py with that flag and --to, for a file)"


def _trained(plan: Plan, runs: Collection[str], statuses: Mapping[str, Status]) -> Iterator[str]:
    """About teachers that have been trained here, from their results."""
    for spec in plan.expansion.teachers:
        record = statuses[spec.id].record
        if spec.id in runs and record is not None:
            found = _of_record(record, plan)
            name = f"{spec.student} ({teacher_label(spec)})" if spec.teacher else spec.student
            told = teacher_quality.warnings(name, found, is_trained_here=True)
            yield from (f"warning: {text}" for text in told)


def _of_record(record: Record, plan: Plan) -> Quality:
    assert plan.data is not None  # a strict plan has its data
    last, sizes = record.accuracy.last, plan.data.sizes
    return Quality(last.top1, last.loss, sizes["test"], plan.data.info.num_classes)


def _below_students(
    plan: Plan, statuses: Mapping[str, Status], given: Mapping[str, float]
) -> Iterator[str]:
    """About teachers below the student alone, where that is done."""
    entries: dict[str, list[RunSpec]] = {}
    # Rows of another recipe or other data have no student to compare with.
    other = departures_of(plan.of_students.matrix, plan.expansion.entries)
    for entry in plan.expansion.entries:
        if not other[entry.label]:
            entries.setdefault(entry.pair, []).append(entry.spec)
    for pair, specs in entries.items():
        records = [statuses[spec.id].record for spec in specs]
        alone = [r for r in records if r is not None and caveats.is_alone(r)]
        teachers = dict.fromkeys(spec.teacher for spec in specs if spec.teacher)
        found = (_accuracy(teacher, statuses, given) for teacher in teachers)
        accuracies = [accuracy for accuracy in found if accuracy is not None]
        if alone and accuracies:
            text = caveats.below_student(pair, accuracies, alone)
            yield from (f"warning: {line}" for line in text)


def _accuracy(
    teacher: TeacherSpec, statuses: Mapping[str, Status], given: Mapping[str, float]
) -> float | None:
    """Of a teacher that was trained or measured; an ensemble is measured when training starts."""
    if teacher.run is None:
        return given.get(teacher.name) if teacher.sha256 else None
    record = statuses[teacher.run].record if teacher.run in statuses else None
    return record.top1 if record else None
