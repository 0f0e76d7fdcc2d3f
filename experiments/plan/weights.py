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
from experiments.matrix.run_spec import RunSpec
from experiments.memo import Memo
from experiments.rundir.layout import weights_of
from experiments.rundir.status import State, Status
from experiments.rundir.teachers import after_teachers, behind
from models.checkpoints.hashing import sha256

Statuses = Mapping[str, Status]
_SETTLED = (State.DONE, State.UNSUPPORTED)  # who needs no teacher any more
_OF_STUDENT = "its student's weights"


def of_teachers(statuses: Statuses, runs: Path, memo: Memo) -> dict[str, Status]:
    """The statuses, knowing the weights of the teachers among them.

    A done teacher that unfinished students need is stale where its weights are missing or not those
    that its result names, with the reason in ``damage``; its students are blocked, and theirs. To
    be trained again it needs its own teacher, which then is looked at, too.
    """
    found, damaged = dict(statuses), dict[str, str]()
    open_ = [s for s in statuses.values() if s.state not in _SETTLED]
    while open_:
        needed = (run for status in open_ for run in read(status.spec))
        damage = _damaged(needed, found, runs, memo)
        found |= {run: _stale(statuses[run], why) for run, why in damage.items()}
        damaged |= damage
        open_ = [statuses[run] for run in damage]
    for run, status in statuses.items():
        why = next((damaged[need] for need in status.spec.needs if need in damaged), "")
        if why and status.state == State.TODO:
            found[run] = _blocked(status, f"its teacher's weights {why}")
    return after_teachers(found) if damaged else found


def of_sources(probes: Statuses, students: Statuses, runs: Path, memo: Memo) -> dict[str, Status]:
    """The statuses of probes, knowing the weights of the students that they read."""
    open_ = [s for s in probes.values() if s.state not in _SETTLED]
    damaged = _damaged((run for s in open_ for run in read(s.spec)), students, runs, memo)
    blocked = {
        s.spec.id: _blocked(s, f"{_OF_STUDENT} {damaged[run]}")
        for s in open_
        for run in read(s.spec)
        if s.state == State.TODO and run in damaged
    }
    return {**probes, **blocked}


def damaged_sources(
    probes: Statuses, students: Statuses, runs: Path, memo: Memo
) -> dict[str, Status]:
    """The finished students whose weights unfinished probes need and that are damaged, as stale."""
    open_ = (s for s in probes.values() if s.state not in _SETTLED)
    damaged = _damaged((run for s in open_ for run in read(s.spec)), students, runs, memo)
    return {run: _stale(students[run], damage) for run, damage in damaged.items()}


def read(spec: RunSpec) -> tuple[str, ...]:
    """The ids of the runs whose weights a run reads: of its teachers, or of the probed student."""
    return (spec.source.run,) if spec.source else spec.needs


def lines(statuses: Statuses) -> list[str]:
    """What is damaged and how many runs it blocks: a line for each teacher, or probed student."""
    blocked = [s for s in statuses.values() if s.state == State.BLOCKED]
    waiting = Counter(run for s in blocked for run in behind(s, statuses))
    waiting.update(s.spec.source.run for s in blocked if s.spec.source)
    probed = {read(s.spec)[0]: s.detail for s in blocked if s.detail.startswith(_OF_STUDENT)}
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
