"""What the disk says about every run of a matrix; nothing is written."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments.matrix.run_spec import RunSpec, is_current
from experiments.rundir import claims, epochs, start_log, stored_spec
from experiments.rundir.layout import BLOCKED, CHECKPOINT, ERROR
from experiments.rundir.states import ACTIVE as ACTIVE  # whoever reads statuses finds them here
from experiments.rundir.states import NOT_STARTED as NOT_STARTED
from experiments.rundir.states import STATES, State, Status
from experiments.rundir.teachers import after_teachers
from results import board_file, files, records
from results.garbage import no_collection
from results.schema import Record

_LONGEST_REASON = 500  # characters of an error.txt, whose first line may be anything
Seen = dict[str, Status]  # run id -> what its directory said
WhyNot = Callable[[Mapping[str, Status]], Mapping[str, str]]  # run id -> reason


def read_statuses(
    specs: Iterable[RunSpec],
    runs: Path,
    why_not: WhyNot = lambda statuses: {},
    stale: Mapping[str, str] = MappingProxyType({}),
    measures: bool = False,
    seen: Seen | None = None,
) -> dict[str, Status]:
    """Run id -> status. ``why_not`` says which of them are impossible; what is done is not.

    ``stale`` gives the reason for runs that have finished only under other code, unless they have
    been begun again since.

    ``runs`` is the directory of the runs, or a board file with the records of finished ones; these
    have their measures only if asked for. A run that is to do is blocked while a teacher of it,
    among ``specs``, is failed, stale or blocked itself.

    ``seen`` holds runs whose directories are not read again, and gets those that are: whoever looks
    more than once removes from it what may have changed.
    """
    seen = {} if seen is None else seen
    with no_collection():
        if board_file.is_board_file(runs):
            board = board_file.read(runs, measures)
            statuses = {spec.id: _recorded(spec, board.get(spec.id)) for spec in specs}
        else:
            statuses = {spec.id: seen.get(spec.id) or read_status(spec, runs) for spec in specs}
            seen.update(statuses)
    for run in stale.keys() & statuses.keys():
        status = statuses[run]
        if status.state == State.TODO and not status.spec.directory(runs).exists():
            statuses[run] = replace(status, state=State.STALE, detail=stale[run])
    for run, reason in why_not(statuses).items():
        if statuses[run].state not in (State.DONE, State.STALE):
            statuses[run] = Status(statuses[run].spec, State.UNSUPPORTED, reason)
    return after_teachers(statuses)


def _recorded(spec: RunSpec, record: Record | None) -> Status:
    """The state of a run of which there is a record, or nothing at all."""
    if record is None:
        return Status(spec, State.TODO)
    if not is_current(record.spec, spec):
        return _stale(spec, record.spec)
    return Status(spec, State.DONE, epoch=spec.recipe.epochs, record=record)


def _stale(spec: RunSpec, stored: Mapping[str, Any]) -> Status:
    return Status(spec, State.STALE, _difference(stored, spec.dump()))


def read_status(spec: RunSpec, runs: Path) -> Status:
    """One run's state from its directory.

    In as few requests as possible: a network disk takes its time for each.
    """
    directory = spec.directory(runs)
    record = records.read(directory)
    if record is not None:
        return _recorded(spec, record)
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return Status(spec, State.TODO)
    if records.RESULT in names:  # unreadable, or published since the first look
        record = records.read(directory)
        if record is not None:
            return _recorded(spec, record)
    stored = _other_spec(directory, names, spec)
    if stored is not None and not is_current(stored, spec):
        return _stale(spec, stored)
    return _unfinished(spec, directory, names)


def _unfinished(spec: RunSpec, directory: Path, names: Sequence[str]) -> Status:
    """The state of a run without a result; ``names`` is what is in its directory."""
    initial, epoch = _epochs_saved(directory, names)
    problem = _problem(directory) if records.RESULT in names else ""
    begun = start_log.read(directory) if start_log.FILE in names else []
    found = Status(spec, State.RUNNING, epoch=epoch, initial=initial, problem=problem)
    if any(name.startswith("claim-") for name in names) and is_claimed(directory):
        return replace(found, seconds_left=_seconds_left(directory, begun, found))
    if ERROR in names:
        return replace(found, state=State.FAILED, detail=_first_line(directory / ERROR))
    crashes = len(start_log.crashed(begun))
    blocked = _first_line(directory / BLOCKED) if BLOCKED in names else ""
    detail = f"blocked when it was last tried: {blocked}" if blocked else ""
    detail = "result.json was unreadable" if records.RESULT in names else detail
    return replace(found, state=State.TODO, detail=detail, crashes=crashes, blocked=blocked)


def _first_line(path: Path) -> str:
    return _cut(_text(path).partition("\n")[0])


def _problem(directory: Path) -> str:
    """What is wrong with a result, with its path; the run is trained again."""
    path = directory / records.RESULT
    gone = "is a link to nothing" if path.is_symlink() else "is new"
    return _cut(f"{path}: {records.problem(directory) or gone}")


def _cut(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def is_claimed(directory: Path) -> bool:
    """Whether somebody is working on the run in this directory."""
    claim = claims.newest(directory)
    return claim is not None and claims.is_alive(claim)


def _other_spec(directory: Path, names: Sequence[str], spec: RunSpec) -> dict[str, Any] | None:
    """What spec.yaml holds, unless it is ``spec`` to the letter (parsing takes milliseconds)."""
    if stored_spec.FILE not in names:
        return None
    text = stored_spec.text(directory)
    return None if text is None or text == spec.as_yaml() else stored_spec.parsed(text)


def _epochs_saved(directory: Path, names: Sequence[str]) -> tuple[int, int]:
    """Epochs of the initial and of the main stage: the first come on top of the recipe's."""
    if CHECKPOINT not in names or "history.csv" not in names:
        return 0, 0
    return epochs.counted(_text(directory / "history.csv"))


def _text(path: Path, errors: str = "replace") -> str:
    """Empty where the file has gone since its directory was listed, or is none."""
    try:
        return files.text(path, errors)
    except (FileNotFoundError, files.OddFile):
        return ""


def _seconds_left(
    directory: Path, begun: Sequence[Mapping[str, Any]], status: Status
) -> float | None:
    """At the pace since the present start; None before it has finished an epoch."""
    here = epochs.since(status.initial, status.epoch, begun[-1]) if begun else None
    if here is None:
        return None
    try:
        started = datetime.strptime(begun[-1]["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):  # a start that nobody here has logged
        return None
    try:
        saved = (directory / "history.csv").stat().st_mtime
    except FileNotFoundError:  # removed since it was read
        return None
    per_epoch = (saved - started) / here
    return max(0.0, per_epoch * status.epochs.left - (time.time() - saved))


def _difference(stored: Mapping[str, Any], today: Mapping[str, Any], prefix: str = "") -> str:
    """The first key in which a stale run differs: "options.weight was 100.0, is 200.0"."""
    for key in sorted({*stored, *today}):
        before, now = stored.get(key), today.get(key)
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            return _difference(before, now, f"{prefix}{key}.")
        return f"{prefix}{key} was {before!r}, is {now!r}"
    return "the same today"


def count_states(statuses: Iterable[Status]) -> dict[str, int]:
    """How many runs are in each state, in the order of STATES, zeros left out."""
    counts = Counter(s.state for s in statuses)
    return {state: counts[state] for state in STATES if counts[state]}


def probe_statuses(
    probes: Mapping[str, Status], students: Mapping[str, Status]
) -> dict[str, Status]:
    """The states of probes, knowing those of the students they are about."""
    return {run: _after_student(status, students) for run, status in probes.items()}


def _after_student(probe: Status, students: Mapping[str, Status]) -> Status:
    assert probe.spec.source is not None  # expand
    student = students[probe.spec.source.run]
    if student.state == State.UNSUPPORTED:
        return replace(probe, state=State.UNSUPPORTED, detail=student.detail)
    if probe.record and probe.state == State.DONE and student.record:
        used = probe.record.source.sha256 if probe.record.source else None
        if used != student.record.weights.sha256:
            detail = "its student has been trained again since"
            return replace(probe, state=State.STALE, detail=detail)
    if probe.state == State.TODO and student.state != State.DONE:
        detail = f"its student ({student.spec}): {student.state}"
        return replace(probe, state=State.BLOCKED, detail=detail)
    return probe
