"""The commands about what is left behind: logs, retry, clean."""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from results import records

from . import census, cli, cluster, ledger, slurm, starts, submission
from .census import Status
from .checkpoints import CHECKPOINT
from .errors import InputError, beside
from .ledger import Sent
from .workspace import Plan


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


def find(verb: str, runs: Path, run: str) -> Path:
    """A run's directory by its path, its id, or the id's beginning; ``verb`` is who asks."""
    if Path(run).is_dir() and (Path(run) / "spec.yaml").exists():
        return Path(run)
    found = sorted(p for p in runs.glob(f"*/*/*/*-{run}*") if ".stale-" not in p.name)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{verb} {run}: {len(found)} runs begin like this, e.g. {found[0]}")
    raise InputError(
        f"{verb} {run}: no such run in {runs}{beside(Path(run))}; `status MATRIX --each` lists ids"
    )


def _state(directory: Path) -> str:
    if records.read(directory) is not None:
        return census.DONE
    if census.is_claimed(directory):
        return census.RUNNING
    return census.FAILED if (directory / "error.txt").exists() else "not done"


def _logs(runs: Path, run: str) -> list[Path]:
    """The logs of all jobs that were to make a run, oldest first."""
    entries = ((sent, sent.task_of(run)) for sent in ledger.load(runs) if sent.job)
    paths = (sent.log(task) for sent, task in entries if task is not None)
    return [path for path in paths if path.exists()]


def _show(path: Path, lines: int) -> None:
    if path.exists():
        with path.open(errors="replace") as file:
            last = deque(file, maxlen=lines)
        print(f"\n==> {path}\n{''.join(last).rstrip()}")


# ---- retry ---------------------------------------------------------------------------------------


def retry(args: argparse.Namespace) -> int:
    """Put the errors of failed runs aside: the next run or submit goes on with them."""
    found = cli.planned(args, strict=False)
    states = {census.FAILED} | ({census.STALE} if args.redo_stale else set())
    count = cli.reset(found, states)
    print(f"{count} runs will be tried again by the next `run` or `submit`")
    return 0


# ---- clean ---------------------------------------------------------------------------------------


def clean(args: argparse.Namespace) -> int:
    """Say what nobody needs any more, and remove it after a yes."""
    found = cli.planned(args, strict=False)
    paths = _left_over(found)
    if not paths:
        print("nothing to remove")
        return 0
    sizes = [_size(path) for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        print(f"{size / 1e6:10.2f} MB  {path}")
    print(f"{sum(sizes) / 1e6:10.2f} MB in all; results, weights and histories of the runs stay")
    if not cli.may_go_on(args, "remove?"):
        return 1
    with _no_submit(found.workspace.runs):
        still = set(_left_over(found))  # somebody may have begun to need it
        for path in still.intersection(paths):
            _remove(path)
    print(f"removed {len(still.intersection(paths))} files and folders")
    return 0


def _no_submit(runs: Path) -> contextlib.AbstractContextManager[object]:
    """Nothing is sent meanwhile; where nothing ever was, there is nothing to wait for."""
    if not (runs / ledger.FOLDER).exists():
        return contextlib.nullcontext()
    return submission.alone(runs, print)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _left_over(found: Plan) -> list[Path]:
    """Everything that can go, each once."""
    runs, statuses = found.workspace.runs, cluster.look(found)
    paths = [path for status in statuses.values() for path in _left_in(status, runs)]
    ended = list(_ended_jobs(runs, statuses))
    return list(dict.fromkeys([*paths, *ended, *_unused(runs, ended)]))


def _left_in(status: Status, runs: Path) -> Iterator[Path]:
    """What is of no use in and beside a run's directory."""
    directory = status.spec.directory(runs)
    yield from directory.parent.glob(f"{directory.name}.stale-*")  # --redo-stale has put them there
    if status.state in census.BUSY or not directory.is_dir() or census.is_claimed(directory):
        return
    yield from directory.glob("*.broken*")
    yield from directory.glob(".*.tmp")
    if status.state == census.DONE:
        yield from directory.glob("claim-[0-9]*")
        yield from (p for p in (directory / CHECKPOINT, directory / starts.FILE) if p.exists())


def _ended_jobs(runs: Path, statuses: Mapping[str, Status]) -> Iterator[Path]:
    """Folders of arrays of this matrix that no job will read any more.

    SLURM must say so: one that does not answer, or that hides another person's jobs, does not.
    """
    done = {run for run, status in statuses.items() if status.state == census.DONE}
    entries = [
        (sent, {run for task in sent.tasks for run in task}) for sent in ledger.load_here(runs)
    ]
    entries = [(sent, ids) for sent, ids in entries if sent.job and ids <= set(statuses)]
    queued = _queued(sent for sent, _ in entries)
    for sent, ids in entries:
        known = queued is not None and sent.user == slurm.user()
        if sent.job not in (queued or ()) and (known or ids <= done):
            yield sent.folder


def _queued(entries: Iterable[Sent]) -> set[str] | None:
    """Which arrays are in the queue; None if nobody knows."""
    try:
        tasks = slurm.queue(str(sent.job) for sent in entries) if slurm.is_here() else None
    except slurm.SlurmError:
        return None
    return None if tasks is None else {task.partition("_")[0] for task in tasks}


def _unused(runs: Path, ended: list[Path]) -> Iterator[Path]:
    """Copies of the code that no job runs from any more; what a killed `submit` left half made."""
    folder = runs / ledger.FOLDER
    used = {sent.snapshot for sent in ledger.load(runs) if sent.folder not in ended}
    yield from (copy for copy in folder.glob("code-*") if str(copy) not in used)
    yield from folder.glob(".code-*")
    yield from (path for path in folder.glob("kd-*") if not (path / ledger.ENTRY).exists())


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
