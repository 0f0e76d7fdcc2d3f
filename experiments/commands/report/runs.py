"""`report`: every run of a board, done or not, and what its files say."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experiments.commands.board import measured_record
from experiments.plan.plan import Plan
from experiments.rundir import start_log
from experiments.rundir.layout import ERROR, WEIGHTS
from experiments.rundir.status import State, Status
from results import board_file, files
from results.leaderboard import Leaderboard
from results.records import HISTORY
from results.report.content import TEACHER, Run
from results.schema import Record, Start

History = Callable[[str], str]


# ---- of a matrix ---------------------------------------------------------------------------------


def of_plan(plan: Plan, statuses: Mapping[str, Status], board: Leaderboard) -> list[Run]:
    """Every run of the board once, its pair the first one; then the teachers trained for it.

    Not the runs of searches, nor the teachers trained for these: they have no test accuracy.
    """
    runs = plan.workspace.runs
    found: dict[str, Run] = {}
    for entry, cell in zip(plan.expansion.entries, board.cells, strict=True):
        if entry.spec.id not in found:
            status = statuses[entry.spec.id]
            found[entry.spec.id] = _of_status(status, runs, cell.pair, cell.method, cell.record)
    for spec in plan.expansion.teachers:
        if spec.id not in found and not spec.dataset.is_of_search:
            found[spec.id] = _teacher(statuses[spec.id], runs)
    return list(found.values())


def _teacher(status: Status, runs: Path) -> Run:
    record, on_board = status.record, board_file.is_board_file(runs)
    if record is not None:
        directory = None if on_board else status.spec.directory(runs)
        record = measured_record(record, record.measures, directory)
    return _of_status(status, runs, status.spec.pair, TEACHER, record)


def _of_status(status: Status, runs: Path, pair: str, label: str, record: Record | None) -> Run:
    spec, on_board = status.spec, board_file.is_board_file(runs)
    directory = spec.directory(runs)
    is_done, may_have_begun = record is not None, status.state != State.UNSUPPORTED
    looks = may_have_begun and not (is_done or on_board)
    return Run(
        id=spec.id,
        pair=pair,
        label=label,
        trial=spec.trial,
        state=status.state,
        reason=status.detail,
        epoch=status.epoch,
        epochs=spec.recipe.epochs,
        spec=record.spec if record else spec.dump(),
        record=record,
        starts=record.starts if record else _starts(directory) if looks else (),
        error=_error(directory) if looks else "",
        directory="" if on_board else str(directory),
        weights=str(directory / WEIGHTS) if is_done and not on_board else "",
    )


def _starts(directory: Path) -> tuple[Start, ...]:
    """The log of starts; entries that are not understood are left out."""
    try:
        logged = start_log.read(directory)
    except OSError:  # it is being removed, or the disk refuses: the run is shown without
        return ()
    starts = []
    for entry in logged:
        with contextlib.suppress(ValidationError):  # of another version
            starts.append(Start.model_validate(entry))
    return tuple(starts)


def _error(directory: Path) -> str:
    return _text(directory / ERROR)


def _text(path: Path) -> str:
    """A file's text; empty where there is none, or none any more."""
    try:
        return files.text(path, "replace")
    except OSError:
        return ""


# ---- of a board file -----------------------------------------------------------------------------


def of_record(record: Record, pair: str, label: str) -> Run:
    """A finished run of a board file."""
    spec = record.spec
    epochs = _whole((spec.get("recipe") or {}).get("epochs"))
    return Run(
        id=record.run,
        pair=pair,
        label=label,
        trial=_whole(spec.get("trial")),
        state=State.DONE,
        epoch=epochs,
        epochs=epochs,
        spec=spec,
        record=record,
        starts=record.starts,
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


# ---- histories -----------------------------------------------------------------------------------


def history_of(runs: Path, found: Iterable[Run]) -> History:
    """Run id -> the text of its history, read when it is asked for; "" where there is none."""
    if board_file.is_board_file(runs):
        texts = functools.cache(lambda: board_file.histories(runs))
        return lambda run: texts().get(run, "")
    places = {run.id: Path(run.directory) for run in found}
    return lambda run: _text(places[run] / HISTORY) if run in places else ""
