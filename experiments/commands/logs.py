"""`logs`: what happened to one run."""

from __future__ import annotations

import argparse
import os
from collections import deque
from pathlib import Path

from experiments.commands.arguments import positive
from experiments.commands.common import Verbs, add_runs_flag, add_verb

_MOST = 16 * 2**20  # bytes of a log's end that are read


def logs(args: argparse.Namespace) -> int:
    """Show what happened to one run: its error, its last epochs, and the end of its jobs' logs."""
    from experiments.rundir.layout import find

    directory = find("logs", args.runs, args.run)
    print(f"{directory}: {_state(directory)}")
    run = directory.name.partition("-")[2]
    own = [directory / "error.txt", directory / "history.csv"]
    for path in [*own, *_job_logs(args.runs.absolute(), run)]:
        if path.is_file():
            print(f"\n==> {path}\n{_last(path, args.lines)}")
    return 0


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


def _job_logs(runs: Path, run: str) -> list[Path]:
    """The logs of all jobs that were to train a run, oldest first."""
    from experiments.cluster import submitted

    arrays = ((sent, sent.task_of(run)) for sent in submitted.load(runs) if sent.job)
    return [sent.log(task) for sent, task in arrays if task is not None]


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
