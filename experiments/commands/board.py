"""A plan's leaderboard: which record stands in which cell, and its caption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
from experiments.cluster import queue_status
from experiments.commands import teacher_scores, tuned
from experiments.commands.departures import departing_note, departures_of, exceptions
from experiments.commands.pivot import families_of
from experiments.commands.reference import Joined, Source, join
from experiments.commands.teacher_scores import arrow
from experiments.errors import InputError
from experiments.matrix import transfer
from experiments.matrix.expansion import Entry
from experiments.matrix.pairs import fits
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.schema import DatasetEntry
from experiments.plan.plan import Plan
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status
from models.registry import near
from results import board_file, measure_tables, predictions
from results.cells import Cell
from results.leaderboard import Leaderboard, leaderboard
from results.schema import Measures, Record
from results.statistics import LEVEL


def board_of(
    plan: Plan,
    references: Sequence[Source] = (),
    baseline: str | None = None,
    level: float = LEVEL,
    statuses: Mapping[str, Status] | None = None,
) -> Leaderboard:
    """The leaderboard of a plan, as far as its runs are done, and rows of other finished runs.

    ``baseline``: the row to compare with; default: the student alone, if it is one.
    ``statuses`` of all its runs, where they have been read.
    """
    statuses = queue_status.statuses(plan) if statuses is None else statuses
    entries = plan.expansion.entries
    other = departures_of(plan)
    cells = [replace(_cell(e, statuses), departs=other[e.label]) for e in entries]
    # Who is on other data has measured the teacher on them.
    alike_first = sorted(entries, key=lambda entry: bool(other[entry.label]))
    joined = join(entries, cells, statuses, references)
    block = plan.matrix.transfer
    about = [transfer.note(block.bn_mode)] if plan.origin and block else []
    board = leaderboard(
        joined.cells,
        {**joined.teachers, **teacher_scores.of_pairs(alike_first, statuses)},
        dataset=dataset_label(tuned.of_rows(plan.matrix)),
        recipe=plan.matrix.recipe.summary(),
        exceptions=[*exceptions(plan.matrix, plan.expansion), *joined.exceptions],
        notes=[
            *about,
            *departing_note(other),
            *_accepted(plan),
            *_stale(statuses),
            *teacher_scores.of_assistants(entries, statuses),
            *joined.notes,
        ],
        validation_notes=_given_teachers(plan),
        baseline=_baseline(entries, joined, baseline, other),
        level=level,
    )
    tuning = tuned.tuning_of(plan, statuses)
    board = replace(board, families=families_of(plan), tuning=tuning)
    pairs = len(plan.matrix.pairs)
    return replace(board, all_pairs=pairs) if len(board.pairs) < pairs else board


def _baseline(
    entries: Sequence[Entry],
    joined: Joined,
    asked: str | None,
    other: Mapping[str, Sequence[str]],
) -> str | None:
    """The label of the row that is compared with; one of the table's own recipe and data."""
    if asked is None:
        alone = (e.label for e in entries if _trained_by(e) == "vanilla" and not other[e.label])
        return next(alone, joined.baseline)
    named = {entry.label: _trained_by(entry) for entry in entries}
    row = row_named(asked, {cell.method: named.get(cell.method, "") for cell in joined.cells})
    if other.get(row):
        listed = ", ".join(other[row])
        raise InputError(f"--baseline {asked}: {row} has {listed}: expected the table's own")
    return row


def row_named(asked: str, rows: Mapping[str, str]) -> str:
    """The first row that ``--baseline`` means; ``rows``: label -> its method."""
    for row, method in rows.items():
        if fits(row, asked) or fits(method or row, asked):
            return row
    raise InputError(f"--baseline {asked}: no row of this table: {near(asked, rows)}")


def with_measures(
    board: Leaderboard, plan: Plan, references: Sequence[Source], names: Sequence[str]
) -> Leaderboard:
    """The leaderboard with these measures (`measure_tables.MEASURES`) of its runs.

    They lie in the directory of a run, or in its line of a board file.
    """
    places: dict[str, Path] = {}
    known: dict[str, Record] = {}
    for source in references:
        places |= source.places
        known |= _on_board(source.path)
    places |= {spec.id: spec.directory(plan.workspace.runs) for spec in plan.expansion.runs}
    known |= _on_board(plan.workspace.runs)
    cells = tuple(_measured(cell, known, places) for cell in board.cells)
    return measure_tables.measured(replace(board, cells=cells), names)


def with_known_measures(board: Leaderboard, plan: Plan) -> Leaderboard:
    """The leaderboard with every measure that one of its runs has.

    Records of a board file have theirs already, see `Plan.statuses`.
    """
    runs = plan.workspace.runs
    on_board = board_file.is_board_file(runs)
    specs = () if on_board else plan.expansion.runs
    places = {spec.id: spec.directory(runs) for spec in specs}
    cells = tuple(_measured(cell, {}, places) for cell in board.cells)
    return every_measure(replace(board, cells=cells))


def every_measure(board: Leaderboard) -> Leaderboard:
    """The leaderboard with the columns of all measures that its records have."""
    found = [cell.record.measures for cell in board.cells if cell.record and cell.record.measures]
    names = [
        name for name in measure_tables.MEASURES if any(getattr(m, name) is not None for m in found)
    ]
    return measure_tables.measured(board, names)


def _on_board(path: Path) -> dict[str, Record]:
    """The records of a board file with their measures; none of a directory."""
    return board_file.read(path, measures=True) if board_file.is_board_file(path) else {}


def _measured(cell: Cell, known: Mapping[str, Record], places: Mapping[str, Path]) -> Cell:
    record = cell.record
    if record is None:
        return cell
    if record.run in known:
        measured = measured_record(record, known[record.run].measures, None)
    else:
        measured = measured_record(record, record.measures, places.get(record.run))
    return replace(cell, record=measured)


def measured_record(record: Record, found: Measures | None, directory: Path | None) -> Record:
    """The record with the measures found, or those in its directory, if they belong to it."""
    if found is None and directory is not None:
        found = predictions.read_measures(directory)
    belongs = found if found and predictions.belong(record, found) else None
    return record.model_copy(update={"measures": belongs})


def _trained_by(entry: Entry) -> str:
    """The method of an entry's student."""
    return entry.spec.source.method if entry.spec.source else entry.spec.method


def _cell(entry: Entry, statuses: Mapping[str, Status]) -> Cell:
    status = statuses[entry.spec.id]
    is_done = status.state == State.DONE or bool(status.damage)  # a result counts without weights
    return Cell(
        arrow(entry.pair),
        entry.label,
        entry.spec.trial,
        record=status.record if is_done else None,
        reason=None if is_done else status.detail or None,
        state=State.DONE if is_done else State.TODO if is_waiting(status) else status.state,
        run=entry.spec.id,
        spec=_described(entry.spec),
    )


def _described(spec: RunSpec) -> dict[str, Any]:
    """What a table of trials says about a run. Not ``spec.dump()``: that takes much longer."""
    return {
        "dataset": {"name": spec.dataset.name},
        "teacher": {"name": spec.teacher.name} if spec.teacher else None,
        "student": spec.student,
        "method": spec.method,
        "options": spec.options,
        "source": {"method": spec.source.method} if spec.source else None,
    }


def is_waiting(status: Status) -> bool:
    """Whether a probe is blocked only until its student has been trained."""
    coming = tuple(f": {state}" for state in (*NOT_STARTED, *ACTIVE))
    return status.state == State.BLOCKED and status.detail.endswith(coming)


def dataset_label(entry: DatasetEntry) -> str:
    """The data set's label, with everything that makes it another one."""
    parts = [entry.options.get("label") or entry.name]
    if entry.subset:
        parts.append(f"subset of {entry.subset} training images")
    if entry.validation:
        parts.append(f"{entry.validation:g} held out for validation")
    known = entry.name in datasets.names()  # else of a board file, by other code
    told = {
        key: value
        for key, value in entry.options.items()
        if not (known and datasets.is_placement(entry.name, key))
    }
    return ", ".join([*parts, *(f"{key} {value}" for key, value in told.items())])


def _accepted(plan: Plan) -> list[str]:
    """How many runs were made by earlier code that a user accepted as equal, by what changed."""
    files = Counter(earlier.detail for earlier in plan.accepted.values())
    return [
        f"{number} run{'s' * (number > 1)} accepted although {file} after their training"
        for file, number in files.items()
    ]


def _stale(statuses: Mapping[str, Status]) -> list[str]:
    stale = [s for s in statuses.values() if s.state == State.STALE and not s.damage]
    if not stale:
        return []
    first = f"{stale[0].spec}: {stale[0].detail}"
    if len(stale) == 1:
        return [f"1 stored run is stale and left out: {first}"]
    return [f"{len(stale)} stored runs are stale and left out, e.g. {first}"]


def _given_teachers(plan: Plan) -> list[str]:
    """A warning about teachers from files, where some training images are held out.

    Teachers that are trained here are runs on the same part of the data as their students.
    """
    specs = [entry.spec.teacher for entry in plan.expansion.entries]
    teachers = (part for spec in specs if spec for part in spec.parts)
    given = list(dict.fromkeys(teacher.name for teacher in teachers if teacher.sha256))
    if not given or not tuned.of_rows(plan.matrix).validation:
        return []
    which = f"teachers {', '.join(given)} were" if len(given) > 1 else f"teacher {given[0]} was"
    return [
        f"The given {which} not trained here and may have seen the held-out images: the accuracies "
        f"of students on them may then be too high."
    ]
