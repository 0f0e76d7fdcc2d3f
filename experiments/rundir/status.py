"""What the disk says about every run of a matrix. Reads only."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from experiments.matrix.run_spec import RunSpec, is_current
from experiments.rundir import claims, start_log
from experiments.rundir.layout import CHECKPOINT
from results import records

# libyaml's loader is ten times faster than the one in Python, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class State:
    """What a run's status can be; the values are what people read in `status`."""

    DONE = "done"
    RUNNING = "running"
    PENDING = "pending"  # in SLURM's queue (see `cluster.queue_status`)
    TODO = "to do"
    LOST = "lost"  # its job ended without finishing it; `submit` and `run` resume it
    BLOCKED = "blocked"
    FAILED = "failed"
    STALE = "stale"
    UNSUPPORTED = "n/a"


STATES = tuple(value for name, value in vars(State).items() if name.isupper())  # in this order
NOT_STARTED = (State.TODO, State.LOST)  # nobody works on it; `run` and `submit` start it
ACTIVE = (State.RUNNING, State.PENDING)


@dataclass(frozen=True)
class Status:
    """A run and its state; ``detail`` is the error, the reason or what is stale.

    ``crashes`` counts the starts since the last progress that ended before one step was saved;
    ``seconds_left`` goes by the epochs since the present start.
    """

    spec: RunSpec
    state: str
    detail: str = ""
    epoch: int = 0  # epochs done and saved
    record: dict[str, Any] | None = None
    crashes: int = 0
    seconds_left: float | None = None


WhyNot = Callable[[Mapping[str, Status]], Mapping[str, str]]  # run id -> reason


def read_statuses(
    specs: Iterable[RunSpec], runs: Path, why_not: WhyNot = lambda found: {}
) -> dict[str, Status]:
    """Run id -> status. ``why_not`` says which of them cannot be; what is done can.

    A run that is to do is blocked while its teacher, among ``specs``, is failed or stale.
    """
    with _no_search_for_cycles():
        found = {spec.id: read_status(spec, runs) for spec in specs}
    for run, reason in why_not(found).items():
        if found[run].state not in (State.DONE, State.STALE):
            found[run] = Status(found[run].spec, State.UNSUPPORTED, reason)
    return {run: _after_teacher(entry, found) for run, entry in found.items()}


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Records have none, and looking at thousands of them time and again takes a tenth of all."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _after_teacher(entry: Status, found: Mapping[str, Status]) -> Status:
    run = entry.spec.teacher.run if entry.spec.teacher else None
    teacher = found.get(run or "")
    if teacher is None:
        return entry
    if entry.state == State.DONE and teacher.record and _learned_from_another(entry, teacher):
        return replace(entry, state=State.STALE, detail="its teacher has been trained again since")
    if entry.state == State.TODO and teacher.state == State.RUNNING:
        return replace(entry, detail="its teacher is being trained elsewhere")
    if entry.state != State.TODO or teacher.state not in (State.FAILED, State.STALE):
        return entry
    return replace(
        entry, state=State.BLOCKED, detail=f"its teacher ({teacher.spec}): {teacher.state}"
    )


def _learned_from_another(student: Status, teacher: Status) -> bool:
    """Whether the weights a student's record names are not those of its teacher's record."""
    used = ((student.record or {}).get("teacher") or {}).get("sha256")
    made = ((teacher.record or {}).get("weights") or {}).get("sha256")
    return None not in (used, made) and used != made


def read_status(spec: RunSpec, runs: Path) -> Status:
    """One run's state from its directory."""
    directory = spec.directory(runs)
    record, names = _look(directory)
    stored = record["spec"] if record else _other_spec(directory, names, spec)
    if stored is not None and not is_current(stored, spec):
        return Status(spec, State.STALE, _difference(stored, spec.dump()))
    if record is not None:
        return Status(spec, State.DONE, epoch=spec.recipe.epochs, record=record)
    epoch = _epochs_saved(directory, names)
    begun = start_log.read(directory) if start_log.FILE in names else []
    if any(name.startswith("claim-") for name in names) and is_claimed(directory):
        left = _seconds_left(directory, begun, epoch, spec.recipe.epochs)
        return Status(spec, State.RUNNING, epoch=epoch, seconds_left=left)
    if "error.txt" in names:
        error = _text(directory / "error.txt")
        return Status(spec, State.FAILED, error.partition("\n")[0], epoch)
    broken = "result.json was unreadable" if records.RESULT in names else ""
    return Status(spec, State.TODO, broken, epoch, crashes=len(start_log.crashed(begun)))


def _look(directory: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The record of a run that is done; of any other, what is in its directory.

    In as few requests as can be: a network disk takes its time for each.
    """
    record = records.read(directory)
    if record is not None:
        return record, []
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return None, []
    published = records.read(directory) if records.RESULT in names else None  # since the first look
    return published, names


def is_claimed(directory: Path) -> bool:
    """Whether somebody is working on the run in this directory."""
    claim = claims.newest(directory)
    return claim is not None and claims.is_alive(claim)


def _other_spec(directory: Path, names: Sequence[str], spec: RunSpec) -> dict[str, Any] | None:
    """What spec.yaml holds, unless it is ``spec`` to the letter (parsing takes milliseconds)."""
    if "spec.yaml" not in names:
        return None
    try:
        text = _text(directory / "spec.yaml")
        stored = None if text == spec.as_yaml() else yaml.load(text, _LOADER)
    except (UnicodeDecodeError, yaml.YAMLError):
        return None
    return stored if isinstance(stored, dict) else None


def _epochs_saved(directory: Path, names: Sequence[str]) -> int:
    """Epochs of the main stage: those of an initial stage come on top of the recipe's."""
    if CHECKPOINT not in names or "history.csv" not in names:
        return 0
    lines = _text(directory / "history.csv").splitlines()
    return sum(line.startswith("main,") for line in lines)


def _text(path: Path) -> str:
    """Empty where the file has gone since its directory was listed."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _seconds_left(
    directory: Path, begun: Sequence[Mapping[str, Any]], epoch: int, epochs: int
) -> float | None:
    """At the pace since the present start; None before it has finished an epoch."""
    if not begun or not epoch:
        return None
    here = epoch + 1 - begun[-1].get("epoch", epoch + 1)
    if here < 1:
        return None
    started = datetime.strptime(begun[-1]["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    saved = (directory / "history.csv").stat().st_mtime
    per_epoch = (saved - started) / here
    return max(0.0, per_epoch * (epochs - epoch) - (time.time() - saved))


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


def probe_statuses(found: Mapping[str, Status], before: Mapping[str, Status]) -> dict[str, Status]:
    """The states of probes, knowing those of the students they are about."""
    return {run: _after(status, before) for run, status in found.items()}


def _after(status: Status, before: Mapping[str, Status]) -> Status:
    assert status.spec.source is not None  # expand
    trained = before[status.spec.source.run]
    if trained.state == State.UNSUPPORTED:
        return replace(status, state=State.UNSUPPORTED, detail=trained.detail)
    if status.state == State.DONE and trained.record:
        used = ((status.record or {}).get("source") or {}).get("sha256")
        if used != trained.record["weights"]["sha256"]:
            return replace(
                status, state=State.STALE, detail="its student has been trained again since"
            )
    if status.state == State.TODO and trained.state != State.DONE:
        return replace(
            status, state=State.BLOCKED, detail=f"its student ({trained.spec}): {trained.state}"
        )
    return status
