"""Find files that nobody needs any more: leftovers of runs, folders of ended jobs, code copies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from experiments import slurm
from experiments.cluster import questions, queue_status, removed, submission, submitted
from experiments.cluster.questions import Task
from experiments.cluster.submitted import SubmittedArray
from experiments.plan.plan import Plan
from experiments.rundir import start_log
from experiments.rundir.layout import CHECKPOINT
from experiments.rundir.status import ACTIVE, State, Status, is_claimed


def left_over(plan: Plan, is_whole: bool = False) -> list[Path]:
    """Every file and folder that can be removed, each once.

    ``is_whole``: the plan is of the whole matrix, so that runs that it lacks were removed from it:
    folders of their jobs are left over, too, once these have ended.
    """
    runs, view = plan.workspace.runs, queue_status.look(plan)
    queue_status.note_silence(view)
    paths = [path for status in view.statuses.values() for path in _left_in(status, runs)]
    # Where SLURM does not answer, no folder of a job is; and it is not asked again and again.
    ended = [] if view.silent else list(_ended_jobs(plan, view.statuses, is_whole))
    return list(dict.fromkeys([*paths, *ended, *_unused(runs, ended)]))


def of_removed(plan: Plan) -> set[Path]:
    """Folders of arrays that were sent from this matrix for runs that it no longer has."""
    try:
        return {array.folder for array in removed.arrays_of_removed(plan)}
    except slurm.SlurmError:
        return set()


def _left_in(status: Status, runs: Path) -> Iterator[Path]:
    """What is useless in and beside a run's directory."""
    directory = status.spec.directory(runs)
    yield from directory.parent.glob(f"{directory.name}.stale-*")  # put there by --redo-stale
    if status.state in ACTIVE or not directory.is_dir() or is_claimed(directory):
        return
    yield from directory.glob("*.broken*")
    yield from directory.glob(".*.tmp")
    if status.state == State.DONE:
        yield from directory.glob("claim-[0-9]*")
        yield from (p for p in (directory / CHECKPOINT, directory / start_log.FILE) if p.exists())


def _ended_jobs(plan: Plan, statuses: Mapping[str, Status], is_whole: bool) -> Iterator[Path]:
    """Folders of this matrix's arrays that no job will read any more.

    Without results on disk, only SLURM can say so, and only of the user's own jobs: a cluster may
    hide those of others.
    """
    done = {run for run, status in statuses.items() if status.state == State.DONE}
    edited = of_removed(plan) if is_whole else set()
    entries = [
        (sent, {run for task in sent.tasks for run in task})
        for sent in _arrays(plan.workspace.runs)
        if sent.job
    ]
    entries = [(a, ids) for a, ids in entries if ids <= set(statuses) or a.folder in edited]
    over = _over(sent for sent, _ in entries)
    for sent, ids in entries:
        ended = over.get(sent.folder)
        if ended or (ended is None and ids <= done):
            yield sent.folder


def _arrays(runs: Path) -> list[SubmittedArray]:
    """The arrays that SLURM can be asked about; none where it does not answer: they stay.

    All where there is no SLURM: what is done needs no job.
    """
    if not slurm.is_here():
        return submitted.load(runs)
    try:
        return submitted.load_here(runs)
    except slurm.SlurmError:
        return []


def _over(arrays: Iterable[SubmittedArray]) -> dict[Path, bool]:
    """Folder -> whether all tasks of its array have ended; no entry where SLURM does not say."""
    if not slurm.is_here():
        return {}
    tasks = {a.folder: [Task.of(a, i) for i in range(len(a.tasks))] for a in arrays}
    answers = questions.ask(task for theirs in tasks.values() for task in theirs)
    found = {}
    for folder, theirs in tasks.items():
        states = [questions.state_of(task, answers) for task in theirs]
        known = [state.state for state in states if state and state.state != questions.SILENT]
        if any(known) or len(known) == len(states):
            found[folder] = not any(known)
    return found


def _unused(runs: Path, ended: list[Path]) -> Iterator[Path]:
    """Copies of the code that no job uses any more, and what a killed `submit` left unfinished."""
    folder = runs / submitted.FOLDER
    used = {sent.snapshot for sent in submitted.load(runs) if sent.folder not in ended}
    yield from (copy for copy in folder.glob("code-*") if str(copy) not in used)
    yield from folder.glob(".code-*")
    yield from (path for path in folder.glob("kd-*") if not (path / submitted.ENTRY).exists())


def no_submit(runs: Path) -> contextlib.AbstractContextManager[object]:
    """Hold the submit lock, unless nothing was ever submitted for these runs."""
    if not (runs / submitted.FOLDER).exists():
        return contextlib.nullcontext()
    return submission.submit_lock(runs, print)


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what cannot be looked at counts nothing."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.lstat().st_size if file.is_file() else 0
    return total
