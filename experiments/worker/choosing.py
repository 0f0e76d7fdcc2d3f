"""Runs in place of a job's placeholders, by the results of the search as they are on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import distillers
from experiments.matrix import tuning
from experiments.matrix.expansion import Choice
from experiments.matrix.run_spec import RunSpec
from experiments.rundir.layout import ERROR
from experiments.rundir.outcome import is_divergence
from experiments.worker.job import Job
from results import files, records

Answer = int | str  # the number of a configuration, or why none can be chosen


@dataclass(frozen=True)
class Settled:
    """A job without placeholders.

    stood_for  the id of a run -> the placeholder that the job had for it
    refused    placeholders whose choice cannot be made, and why
    """

    job: Job
    stood_for: Mapping[str, RunSpec]
    refused: tuple[tuple[RunSpec, str], ...] = ()


def settled(job: Job, answers: Mapping[str, Answer]) -> Settled:
    """The job with what was chosen; ``answers``: of `chosen`. Its plugins are imported."""
    specs: dict[str, RunSpec] = {}  # by id: two placeholders may stand for the same run
    stood_for: dict[str, RunSpec] = {}
    refused: list[tuple[RunSpec, str]] = []
    for spec in job.specs:
        if spec.choice is None:
            specs.setdefault(job.id_of(spec), spec)
            continue
        found = _run_of(spec, job, answers)
        if isinstance(found, str):
            refused.append((spec, found))
        else:
            specs.setdefault(found.id, found)
            stood_for.setdefault(found.id, spec)
    made = replace(job, specs=tuple(specs.values()), ids=tuple(specs), choices=())
    return Settled(made, stood_for, tuple(refused))


def _run_of(spec: RunSpec, job: Job, answers: Mapping[str, Answer]) -> RunSpec | str:
    """The run that a placeholder stands for, or why it cannot be said."""
    answer = answers.get(spec.choice or "", "its choice is not in its job; submit again")
    if isinstance(answer, str):
        return answer
    try:
        today = spec.id
    except distillers.MethodError as error:  # nobody registers its method any more
        return str(error)
    if today != job.id_of(spec):
        return f"the code changed since it was planned: today its id is {today}; submit again"
    choice = next(choice for choice in job.choices if choice.id == spec.choice)
    return tuning.with_options(spec, choice, {choice.id: answer})


def chosen(job: Job) -> dict[str, Answer]:
    """What is chosen for each choice of a job, as the disk says now; or why nothing can be."""
    cells = {spec.choice: spec.directory(job.runs).parent for spec in job.specs if spec.choice}
    return {
        choice.id: _answer(choice, cells[choice.id]) for choice in job.choices if choice.id in cells
    }


def _answer(choice: Choice, cell: Path) -> Answer:
    """``cell``: where the placeholder is; the runs of the search lie there, or in other pairs'."""
    places = dict(_places(cell))
    scores: dict[str, float] = {}
    for run in dict.fromkeys(run for runs in choice.runs for run in runs):
        score = _score(places[run]) if run in places else None
        if score is None:
            return f"its choice: run {run} of the search has no result; see `status`, then `retry`"
        scores[run] = score
    number = tuning.choose(choice, scores)
    assert number is not None  # all have scores
    return number


def _places(cell: Path) -> Iterator[tuple[str, Path]]:
    """The runs of a method on all pairs of a data set, by id."""
    for pair in cell.parent.parent.glob(f"*/{cell.name}"):
        for name in os.listdir(pair):
            yield name.partition("-")[2], pair / name


def _score(directory: Path) -> float | None:
    """A run's accuracy on the held-out part; `tuning.LOST` if it diverged, None without an end."""
    record = records.read(directory)
    if record is not None:
        return record.top1
    try:
        error = files.text(directory / ERROR, "replace").partition("\n")[0]
    except (FileNotFoundError, files.OddFile):
        return None
    return tuning.LOST if is_divergence(error) else None
