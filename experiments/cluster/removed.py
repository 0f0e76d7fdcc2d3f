"""Jobs of runs that are no longer in the matrix: it was edited, or its file moved, since they went.

A run that was removed, or got another id by an edited option, is in no list that is made from the
matrix. Its job is found by what was submitted: ``array.json`` names the matrix's file.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import slurm
from experiments.cluster import questions, submitted
from experiments.cluster.questions import QueueState, Task, state_of
from experiments.cluster.submitted import SubmittedArray
from experiments.plan.plan import Plan
from experiments.wording import form, plural
from experiments.worker.job import task_file
from results import files


@dataclass(frozen=True)
class Removed:
    """An array task of which no run is in the matrix any more, and what SLURM says of it.

    ``is_moved``: the matrix file that it was sent from is not there any more.
    """

    task: Task
    runs: tuple[str, ...]
    matrix: str
    is_moved: bool
    state: QueueState | None = None

    @property
    def is_queued(self) -> bool:
        return self.state is not None and self.state.state not in ("", questions.SILENT)

    @property
    def is_mine(self) -> bool:
        return self.task.is_mine


def find(plan: Plan) -> list[Removed]:
    """All array tasks of runs that ``plan``, which must be of the whole matrix, has no more.

    One question to each cluster, if there are any. Where it does not answer, ``state`` says so.
    """
    arrays = _sent_from(plan, _asked(plan.workspace.runs)) if slurm.is_here() else []
    known = _known(plan)
    found = [one for array in arrays if array.job for one in _of_array(array, known)]
    answers = questions.ask(one.task for one in found)
    return [
        Removed(one.task, one.runs, one.matrix, one.is_moved, state_of(one.task, answers))
        for one in found
    ]


def arrays_of_removed(plan: Plan) -> list[SubmittedArray]:
    """The arrays that were sent from the plan's matrix for some runs that it no longer has.

    Or from a matrix file that is not there any more.
    """
    known = _known(plan)
    arrays = _sent_from(plan, submitted.load_here(plan.workspace.runs))
    return [array for array in arrays if any(_removed_runs(array, known))]


def _removed_runs(array: SubmittedArray, known: set[str]) -> Iterator[str]:
    for i, runs in enumerate(array.tasks):
        if not known.issuperset(runs) and not _is_probe(array, i, known):
            yield from (run for run in runs if run not in known)


def _of_array(array: SubmittedArray, known: set[str]) -> Iterator[Removed]:
    """The tasks of an array of which no run is in the matrix any more."""
    is_moved = not Path(array.matrix).exists()
    for i, runs in enumerate(array.tasks):
        if known.isdisjoint(runs) and not _is_probe(array, i, known):
            yield Removed(Task.of(array, i), runs, array.matrix, is_moved)


def _asked(runs: Path) -> list[SubmittedArray]:
    """The arrays to ask about; all where SLURM does not say which are its own: it will be silent
    about the rest as well, and its silence is an answer."""
    try:
        return submitted.load_here(runs)
    except slurm.SlurmError:
        return submitted.load(runs)


def _sent_from(plan: Plan, arrays: Iterable[SubmittedArray]) -> list[SubmittedArray]:
    """Those that were sent from the plan's matrix file, or from one that is not there now.

    None where a plugin is broken: its runs are in the matrix, but their ids cannot be made.
    """
    here = os.path.realpath(plan.source)
    found: list[SubmittedArray] = []
    if plan.left_out:
        return found
    for array in arrays:
        if os.path.realpath(array.matrix) == here or not Path(array.matrix).exists():
            found.append(array)
    return found


def _known(plan: Plan) -> set[str]:
    """The ids of the matrix's runs; for a plan of probes, with those of their students."""
    students = plan.origin.expansion.runs if plan.origin else ()
    return plan.expansion.names | {spec.id for spec in students}


def _is_probe(array: SubmittedArray, index: int, students: set[str]) -> bool:
    """Whether a task probes students of this matrix on another data set (`--transfer`)."""
    sources = {source for runs in _sources(array, index) for source in [runs.get("run")]}
    return bool(sources) and sources <= students


def _sources(array: SubmittedArray, index: int) -> list[dict[str, Any]]:
    """What the runs of a task are probes of, from its jobs' files; empty if they cannot be read."""
    named = [array.folder / task_file(index), *array.folder.glob(f"task-{index}-*.json")]
    found = []
    for path in named:
        try:
            specs = json.loads(files.read_bytes(path)).get("specs", [])
            found += [spec["source"] for spec in specs if spec.get("source")]
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            continue  # not there, or nothing that we have written
    return [source for source in found if isinstance(source, dict)]


# ---- words: pure ---------------------------------------------------------------------------------


def lines(found: Sequence[Removed], cancel: str) -> list[str]:
    """What `status` and `cancel` say about those in the queue; ``cancel`` is that command line."""
    queued = [one for one in found if one.is_queued]
    edited = [one for one in queued if not one.is_moved]
    moved = [one for one in queued if one.is_moved]
    said = []
    if edited:
        what = f"{plural(len(edited), 'job')} of runs no longer in the matrix"
        said.append(f"{what}: {_listed(edited)}; to cancel: {cancel} --removed")
    if moved:
        ids = [one.task.id for one in moved]
        places = ", ".join(dict.fromkeys(one.matrix for one in moved))
        what = f"{plural(len(moved), 'job')} of a matrix file that is not there any more ({places})"
        said.append(f"{what}: {_listed(moved)}; to cancel: {cancel} --jobs {' '.join(ids)}")
    return said


def _listed(found: Sequence[Removed]) -> str:
    """ "2 PENDING, 1 RUNNING (100_0, 100_1, 100_2), 1 of them ada's"."""
    counts = Counter(one.state.state for one in found if one.state)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    ids = [one.task.id for one in found]
    shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
    others = Counter(one.task.user for one in found if not one.is_mine)
    whose = "".join(f", {n} of them {form(n, 'is', 'are')} {user}'s" for user, n in others.items())
    return f"{states} ({shown}){whose}"
