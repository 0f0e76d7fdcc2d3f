"""A matrix with its data and teachers, and what earlier work left behind."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from pathlib import Path

import datasets
import distillers
import models
from experiments.cluster import submitted
from experiments.doctor.disk import Need
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.errors import InputError
from experiments.matrix.schema import Matrix
from experiments.plan.cost import predict_cost
from experiments.plan.plan import build_data, prepare
from experiments.plan.summary import census_line, duration
from experiments.plan.workspace import Workspace
from experiments.rundir import claims
from experiments.rundir.status import NOT_STARTED, Status, is_claimed
from results import records

REFUSALS = (
    InputError,
    datasets.DataError,
    distillers.MethodError,
    models.ModelError,
    records.RecordError,
)


# ---- the matrix ----------------------------------------------------------------------------------


def planned(source: str, table: Matrix, place: Workspace) -> tuple[Need, list[Finding]]:
    """A matrix checked as before a training: data, teachers' files, plugins, machine, methods.

    Returns what the rest of it will put on the disk, too.
    """
    try:
        plan = prepare(source, place)
        statuses = plan.statuses()
    except REFUSALS as error:
        return Need(), _refused(error, source, table, place)
    assert plan.data is not None  # a strict plan has its data
    about = [
        Finding(OK, "matrix", census_line(plan, statuses)),
        _described(plan.data, place),
    ]
    if plan.teacher_files:
        files = ", ".join(plan.teacher_files)
        about.append(Finding(OK, "teachers", f"{files}: files found, hashes and shapes right"))
    return _need(plan.data, statuses.values(), plan.workspace.device), about


def _refused(error: Exception, source: str, table: Matrix, place: Workspace) -> list[Finding]:
    """The refusal, and the data set for itself where something else is wrong."""
    found = Finding(FAIL, "matrix", str(error), "until then nothing of it can be trained")
    try:
        data = build_data(table, place.resolved(), source)
    except REFUSALS as refusal:
        return (
            [found] if str(refusal) == str(error) else [found, Finding(FAIL, "data", str(refusal))]
        )
    return [found, _described(data, place)]


def _described(data: datasets.Data, place: Workspace) -> Finding:
    info = data.info
    found = f"{info.name}: {info.train_size:,} training images, {info.num_classes} classes"
    return Finding(OK, "data", f"{found} (root {place.data})")


def _need(data: datasets.Data, statuses: Collection[Status], device: str) -> Need:
    cost = predict_cost(statuses, data, device, timed=False)
    return Need(sum(status.state in NOT_STARTED for status in statuses), cost.disk_bytes)


def plugins(paths: list[Path]) -> Finding:
    """Users' files, where no matrix loads them."""
    for path in paths:
        try:
            distillers.load_plugin(path.expanduser().absolute())
        except (distillers.MethodError, OSError) as error:
            mend = "see the example of a method in README.md; --debug does not hide the traceback"
            return Finding(FAIL, "plugins", f"{path}: {error}", mend)
    return Finding(OK, "plugins", f"{', '.join(map(str, paths))}: loaded")


# ---- what was left behind ------------------------------------------------------------------------


def left_behind(runs: Path) -> list[Finding]:
    """Submissions that were cut off, and runs whose worker is gone."""
    findings = [*_tokens(submitted.load(runs), _is_submitting(runs)), *_claims(_dead(runs))]
    return findings or [Finding(OK, "left behind", f"nothing in {runs}")]


def _is_submitting(runs: Path) -> bool:
    return is_claimed(runs / submitted.FOLDER)


def _tokens(entries: Iterable[submitted.SubmittedArray], busy: bool) -> list[Finding]:
    """Arrays that were about to be sent; whether they were, the next submit finds out."""
    open_ones = [sent for sent in entries if sent.job is None]
    if not open_ones:
        return []
    age = duration(max(0.0, time.time() - open_ones[0].time))
    found = f"{len(open_ones)} arrays without a job id, the oldest {age} old"
    if busy:
        return [Finding(WARN, "submissions", f"{found}: a submit is at work")]
    mend = "the submit was killed; the next `submit` adopts what SLURM has and sends the rest"
    return [Finding(WARN, "submissions", found, mend)]


def _claims(dead: list[Path]) -> list[Finding]:
    if not dead:
        return []
    found = f"{len(dead)} runs stand where their worker ended, e.g. {dead[0].parent}"
    mend = "`run` or `submit` goes on from what was saved; `status MATRIX` shows them"
    return [Finding(WARN, "unfinished runs", found, mend)]


def _dead(runs: Path) -> list[Path]:
    """The claims of runs without a result whose holders work no more."""
    newest: dict[Path, Path] = {}
    for path in sorted(runs.glob("*/*/*/*/claim-[0-9]*")):
        newest[path.parent] = path
    return [
        claim
        for folder, claim in newest.items()
        if not (folder / records.RESULT).exists() and not claims.is_alive(claim)
    ]
