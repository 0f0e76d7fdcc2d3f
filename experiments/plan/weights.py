"""Whether the weights of finished runs that others are to read are what their results name.

A purge of a scratch disk, a full disk or a bad copy takes or cuts them, and the result stays. Only
what unfinished runs need is looked at: every time whether it is there, and its content once for
the same file (path, size, time of change, inode).
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from experiments.activity import activity
from experiments.memo import Memo
from experiments.rundir.layout import weights_of
from experiments.rundir.status import State, Status
from models.checkpoints.hashing import sha256

Statuses = Mapping[str, Status]
_SETTLED = (State.DONE, State.UNSUPPORTED)  # who needs no teacher any more
_OF_STUDENT = "its student's weights"


def of_teachers(statuses: Statuses, runs: Path, memo: Memo) -> dict[str, Status]:
    """The statuses, knowing the weights of the teachers among them.

    A done teacher that unfinished students need is stale where its weights are missing or not those
    that its result names, with the reason in ``damage``; its students are blocked.
    """
    open_ = [s for s in statuses.values() if s.state not in _SETTLED]
    damaged = _damaged(map(read_by, open_), statuses, runs, memo)
    found = dict(statuses)
    for run, damage in damaged.items():
        found[run] = _stale(statuses[run], damage)
    for status in open_:
        damage = damaged.get(read_by(status), "")
        if damage and status.state == State.TODO:
            found[status.spec.id] = _blocked(status, f"its teacher's weights {damage}")
    return found


def of_sources(probes: Statuses, students: Statuses, runs: Path, memo: Memo) -> dict[str, Status]:
    """The statuses of probes, knowing the weights of the students that they read."""
    open_ = [s for s in probes.values() if s.state not in _SETTLED]
    damaged = _damaged(map(read_by, open_), students, runs, memo)
    blocked = {
        s.spec.id: _blocked(s, f"{_OF_STUDENT} {damaged[read_by(s)]}")
        for s in open_
        if s.state == State.TODO and read_by(s) in damaged
    }
    return {**probes, **blocked}


def damaged_sources(
    probes: Statuses, students: Statuses, runs: Path, memo: Memo
) -> dict[str, Status]:
    """The finished students whose weights unfinished probes need and that are damaged, as stale."""
    open_ = (s for s in probes.values() if s.state not in _SETTLED)
    damaged = _damaged(map(read_by, open_), students, runs, memo)
    return {run: _stale(students[run], damage) for run, damage in damaged.items()}


def read_by(status: Status) -> str:
    """The id of the run whose weights a run reads, teacher or probed student; empty without one."""
    if status.spec.source:
        return status.spec.source.run
    return (status.spec.teacher.run or "") if status.spec.teacher else ""


def lines(statuses: Statuses) -> list[str]:
    """What is damaged and how many runs it blocks: a line for each teacher, or probed student."""
    blocked = [s for s in statuses.values() if s.state == State.BLOCKED]
    waiting = Counter(map(read_by, blocked))
    probed = {read_by(s): s.detail for s in blocked if s.detail.startswith(_OF_STUDENT)}
    about = {run: f"{s.spec}: {s.detail}" for run, s in statuses.items() if s.damage}
    return [f"{text} ({waiting[run]} blocked)" for run, text in {**about, **probed}.items()]


def _stale(status: Status, damage: str) -> Status:
    return replace(status, state=State.STALE, detail=f"its weights {damage}", damage=damage)


def _blocked(status: Status, detail: str) -> Status:
    return replace(status, state=State.BLOCKED, detail=detail)


def _damaged(needed: Iterable[str], finished: Statuses, runs: Path, memo: Memo) -> dict[str, str]:
    """Run id -> what is wrong with its weights, of the done ones among ``needed``."""
    wanted = {run: finished[run] for run in dict.fromkeys(needed) if run in finished}
    done = {run: status for run, status in wanted.items() if status.state == State.DONE}
    if not done:
        return {}
    with activity("checking the weights that others are to learn from"):
        found = {run: _problem(status, runs, memo) for run, status in done.items()}
    return {run: problem for run, problem in found.items() if problem}


def _problem(status: Status, runs: Path, memo: Memo) -> str:
    """What is wrong with a done run's weights, as the end of "its weights …"; empty if nothing."""
    assert status.record is not None  # it is done
    path = weights_of(status.spec.directory(runs))
    try:
        actual = _digest(path, memo)
    except (FileNotFoundError, NotADirectoryError):
        return f"are gone: {path}"
    except OSError as error:
        return f"cannot be read: {path}: {error.strerror or error}"
    if actual == status.record.weights.sha256:
        return ""
    return f"are not those that its result names (cut, or overwritten): {path}"


def _digest(path: Path, memo: Memo) -> str:
    """The sha256 of a file, remembered; that of nothing for what is no file."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return ""
    key = {
        "path": str(path),
        "size": found.st_size,
        "mtime": found.st_mtime_ns,
        "inode": found.st_ino,
    }
    known = memo.known("weights", key)
    if isinstance(known, str):
        return known
    actual = sha256(path)
    memo.store("weights", key, actual)
    return actual
