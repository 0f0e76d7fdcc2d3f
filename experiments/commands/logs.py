"""`logs`: what happened to one run."""

from __future__ import annotations

import argparse
from collections import deque
from pathlib import Path

from experiments.cluster import submitted
from experiments.commands.common import (
    Verbs,
    add_verb,
    positive,
)
from experiments.environment import CHECKOUT
from experiments.rundir.layout import find
from experiments.rundir.status import State, is_claimed
from results import records


def logs(args: argparse.Namespace) -> int:
    """What became of one run: its error, its last epochs, and the end of its jobs' logs."""
    directory = find("logs", args.runs, args.run)
    print(f"{directory}: {_state(directory)}")
    for name in ("error.txt", "history.csv"):
        _show(directory / name, args.lines)
    run = directory.name.partition("-")[2]
    for log in _logs(args.runs.absolute(), run):
        _show(log, args.lines)
    return 0


def _state(directory: Path) -> str:
    if records.read(directory) is not None:
        return State.DONE
    if is_claimed(directory):
        return State.RUNNING
    return State.FAILED if (directory / "error.txt").exists() else "not done"


def _logs(runs: Path, run: str) -> list[Path]:
    """The logs of all jobs that were to make a run, oldest first."""
    entries = ((sent, sent.task_of(run)) for sent in submitted.load(runs) if sent.job)
    paths = (sent.log(task) for sent, task in entries if task is not None)
    return [path for path in paths if path.exists()]


def _show(path: Path, lines: int) -> None:
    if path.exists():
        with path.open(errors="replace") as file:
            last = deque(file, maxlen=lines)
        print(f"\n==> {path}\n{''.join(last).rstrip()}")


def add_logs_arguments(verb: argparse.ArgumentParser) -> None:
    """One run, and how much of it."""
    verb.add_argument("run", help="a run's id (as status shows it), or its directory")
    verb.add_argument("--runs", type=Path, default=CHECKOUT / "runs", help="where runs are kept")
    verb.add_argument("--lines", type=positive, default=40, help="of each log, from its end")


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_logs_arguments(add_verb(verbs, "logs", logs))
