"""`logs`: what happened to one run."""

from __future__ import annotations

import argparse
import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.arguments import positive
from experiments.commands.common import Verbs, add_runs_flag, add_verb
from experiments.errors import InputError
from experiments.wording import plural

if TYPE_CHECKING:
    from experiments.cluster.questions import Answers, Task

_MOST = 16 * 2**20  # bytes of a log's end that are read


def logs(args: argparse.Namespace) -> int:
    """Show what happened to one run: its error, its last epochs, and the end of its jobs' logs.

    A run that never began is found by what was submitted for it.
    """
    from experiments import slurm
    from experiments.cluster import questions
    from experiments.rundir.layout import BLOCKED, ERROR
    from experiments.rundir.status import State

    directory, run, tasks = _found(args.runs, args.run)
    state = _state(directory) if directory else "never began"
    answers = None if state == State.DONE or not slurm.is_here() else questions.ask(tasks)
    if state == State.RUNNING and directory and answers and _is_lost(directory, tasks, answers):
        state = State.LOST
    print(f"{directory or run}: {state}")
    if state != State.DONE:
        for task in tasks:
            print(_line(task, answers))
    own = [directory / name for name in (ERROR, BLOCKED, "history.csv")] if directory else []
    for path in [*own, *(task.log for task in tasks if task.log)]:
        if path.is_file():
            print(f"\n==> {path}\n{_last(path, args.lines)}")
    return 0


def _found(runs: Path, asked: str) -> tuple[Path | None, str, list[Task]]:
    """A run's directory (None if it never began), its id, and the jobs that were to train it.

    Raises InputError for no run, and for the beginning of several.
    """
    from experiments.rundir import layout

    begin = asked.rstrip("/…")  # as tables shorten ids
    sent = _sent(runs.absolute())
    submitted_ids = {run for run in sent if run.startswith(begin)}
    try:
        directory: Path | None = layout.find("logs", runs, asked)
    except InputError:
        if not submitted_ids or layout.called(runs, begin):
            raise
        directory = None
    ids = submitted_ids | ({directory.name.partition("-")[2]} if directory else set())
    if len(ids) > 1 and directory != Path(asked):
        some = ", ".join(sorted(ids)[:3])
        count = plural(len(ids), "run")
        raise InputError(f"logs {asked}: {count} begin like this, e.g. {some}")
    run = directory.name.partition("-")[2] if directory else ids.pop()
    return directory, run, sent.get(run, [])


def _sent(runs: Path) -> dict[str, list[Task]]:
    """Run id -> the array tasks that were to train it, oldest first."""
    from experiments.cluster import submitted
    from experiments.cluster.questions import Task

    found: dict[str, list[Task]] = {}
    for array in submitted.load(runs):
        for i, ids in enumerate(array.tasks if array.job else ()):
            for run in ids:
                found.setdefault(run, []).append(Task.of(array, i))
    return found


def _is_lost(directory: Path, tasks: Sequence[Task], answers: Answers) -> bool:
    """Whether a run's claim is a task's that SLURM knows to be over."""
    from experiments.cluster import questions
    from experiments.rundir import claims

    claim = claims.newest(directory)
    address = claims.address_of(claim) if claim else None
    holders = [questions.state_of(task, answers) for task in tasks if task.address == address]
    return any(state is not None and not state.state for state in holders)


def _line(task: Task, answers: Answers | None) -> str:
    """What SLURM says of a job, and why it has no log if it has none."""
    from experiments.cluster import job_lines, job_words, questions

    state = questions.state_of(task, answers) if answers else None
    if state is None:
        words = f"job {task.id}: SLURM says nothing about it here"
    elif state.state == questions.SILENT:
        words = f"job {task.id}: SLURM does not answer ({state.reason})"
    elif state.state:
        words = job_words.present(task.id, state.state, state.reason)
    else:
        cause = job_words.cause(state.end)
        words = job_words.ended(task.id, state.end) + (f": {cause}" if cause else "")
        if task.log and not task.log.exists():
            words += f"; {job_lines.log(task.log)}"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(task.time))
    return f"{words} (sent {when} by {task.user})"


def _last(path: Path, lines: int) -> str:
    """The last lines of a log; of a very long one as far as they are in its last megabytes."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST))
        last = deque(file.read().decode(errors="replace").splitlines(), maxlen=lines)
    return "\n".join(last).rstrip()


def _state(directory: Path) -> str:
    from experiments.rundir.status import State, is_claimed
    from results import records

    if records.read(directory) is not None:
        return State.DONE
    if is_claimed(directory):
        return State.RUNNING
    return State.FAILED if (directory / "error.txt").exists() else "not done"


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "logs", logs)
    verb.set_defaults(loads_torch=False)
    verb.add_argument(
        "run", help="a run's id (as status shows it), its directory or the name of that"
    )
    add_runs_flag(verb)
    verb.add_argument(
        "--lines", type=positive, default=40, help="show this many lines of each log (default: 40)"
    )
